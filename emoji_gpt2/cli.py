"""The command line: LightningCLI with a folder per run, strict flags and one-line errors.

python -m emoji_gpt2.fit --config configs/quickstart.yaml --trainer.max_epochs 3
python -m emoji_gpt2 {fit,validate,test,predict} --help
"""

import logging
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.cli import (
    LightningArgumentParser,
    LightningCLI,
    LRSchedulerTypeTuple,
    SaveConfigCallback,
    instantiate_class,
)
from lightning.pytorch.utilities import rank_zero_info
from torch.optim import Optimizer
from transformers.utils.logging import disable_progress_bar

from emoji_gpt2.allocator import reuse_freed_memory
from emoji_gpt2.checkpoints import BestCheckpoint
from emoji_gpt2.data import EmojiDataModule
from emoji_gpt2.errors import UserError
from emoji_gpt2.hub import PushToHub
from emoji_gpt2.metrics_file import SaveRowCount
from emoji_gpt2.module import EmojiGPT2
from emoji_gpt2.pretrained import read_checkpoint
from emoji_gpt2.run_folder import (
    CONFIG,
    claim,
    default_loggers,
    find_checkpoint,
    requeued_checkpoint,
    run_callbacks,
)
from emoji_gpt2.samples import WritePredictions

DEFAULT_OUTPUT_DIR = "checkpoints/run"
PREDICTIONS = "predictions.csv"
ARCHITECTURE = ("pretrained", "config", "freeze_layers", "lora_rank", "lora_alpha")
"""What of the model a checkpoint decides, whatever the flags and configs say."""


class StrictParser(LightningArgumentParser):
    """Lightning's parser that guesses no prefix and says an error in one line."""

    def _get_option_tuples(self, option_string: str) -> list[Any]:
        """Match no abbreviation: --trainer.max_epoch is a mistake, not max_epochs."""
        return []

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print one line and exit with 2."""
        line = " ".join(message.split())
        print(f"error: {line} (--help lists all)", file=sys.stderr)
        raise SystemExit(2)


class SaveRunConfig(SaveConfigCallback):
    """Write config.yaml when training begins, not before: a run that fails earlier leaves nothing.

    ``ckpt_path`` is left out, so that the file starts a new run.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Do nothing yet."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the file on rank 0."""
        if trainer.is_global_zero:
            config = self.config.clone()
            config.pop("ckpt_path", None)
            folder = Path(config["output_dir"]).expanduser()
            self.parser.save(config, folder / CONFIG, skip_none=False, overwrite=True)


class EmojiCLI(LightningCLI):
    """``fit``, ``validate``, ``test`` and ``predict`` of EmojiGPT2 on an EmojiDataModule.

    Args:
        default_subcommand: What to do when the first argument names none.
    """

    def __init__(self, default_subcommand: str | None = None) -> None:
        self._words = sys.argv[1:]
        if default_subcommand and (not self._words or self._words[0] not in super().subcommands()):
            self._words = [default_subcommand, *self._words]
        super().__init__(
            EmojiGPT2,
            EmojiDataModule,
            parser_class=StrictParser,
            save_config_callback=SaveRunConfig,
            seed_everything_default=0,
            trainer_defaults={"use_distributed_sampler": False},
            auto_configure_optimizers=False,
        )

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override] # theirs is static
        """Return the subcommand that was given, or all: each one's parser takes 0.1 s to make."""
        known = LightningCLI.subcommands()
        given = self._words[0] if self._words else ""
        return {given: known[given]} if given in known else known

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add --output_dir, --checkpoint.*, --hub.*, --optimizer and --lr_scheduler."""
        parser.add_argument(
            "--output_dir",
            default=DEFAULT_OUTPUT_DIR,
            type=str,
            help="Folder for all that the run writes: config, metrics, checkpoints, model.",
        )
        parser.add_lightning_class_args(BestCheckpoint, "checkpoint")
        parser.add_lightning_class_args(PushToHub, "hub")
        parser.add_optimizer_args((Optimizer,))
        parser.add_lr_scheduler_args(LRSchedulerTypeTuple)
        parser.link_arguments("model.pretrained", "data.tokenizer")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse the command line, with the default subcommand in front if it names none."""
        self.config = parser.parse_args(self._words)

    @property
    def _options(self) -> Any:
        return self.config[self.config.subcommand]

    @property
    def _folder(self) -> Path:
        return Path(self._options.output_dir).expanduser()

    def _parse_ckpt_path(self) -> None:
        """Take the model of a checkpoint, and its hyper-parameters where no flag gives another."""
        options = self._options
        if not options.get("ckpt_path") and self.config.subcommand == "fit":
            options.ckpt_path = requeued_checkpoint(self._folder)
        if not options.get("ckpt_path"):
            if self.config.subcommand != "fit" and not options.model.pretrained:
                raise UserError("--ckpt_path: got none, wanted a checkpoint file, last or best")
            return
        options.ckpt_path = find_checkpoint(self._folder, options.ckpt_path)
        stored = read_checkpoint(options.ckpt_path)["hyper_parameters"]
        for name, value in stored.items():
            given = options.model.get(name, value)
            if name not in ARCHITECTURE and self._is_flag(f"--model.{name}"):
                if given != value:
                    rank_zero_info(f"model.{name}: {given}, as the flag says ({value} was stored)")
                continue
            if given != value and name not in ARCHITECTURE:
                rank_zero_info(f"model.{name}: {value}, from the checkpoint (a flag would win)")
            options.model[name] = value

    def _is_flag(self, name: str) -> bool:
        return any(
            word == name or word.startswith((f"{name}=", f"{name}.")) for word in self._words
        )

    def before_instantiate_classes(self) -> None:
        """Claim the output folder, once per node, before anything is written."""
        options = self._options
        if self.config.subcommand == "fit" and _first_of_node():
            _check_before_training(options)
            ckpt_path = options.get("ckpt_path") or ""
            ours = Path(ckpt_path).parent.resolve() == self._folder.resolve()
            claim(self._folder, resuming=bool(ckpt_path) and ours)

    def before_fit(self) -> None:
        """Look for mistakes before other processes are started: a node says them once."""
        if isinstance(self.trainer.accelerator, CPUAccelerator):
            reuse_freed_memory()
        if _first_of_node():
            if not self._options.trainer.fast_dev_run:
                self._get(self.config_init, "hub").preflight()
            self.datamodule.prepare_data()

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Return a trainer whose loggers and callbacks write into the output folder."""
        folder = self._folder
        config = {**self._get(self.config_init, "trainer"), **kwargs}
        fitting = self.config.subcommand == "fit"
        if config["default_root_dir"] is None:
            config["default_root_dir"] = str(folder)
        if config["logger"] in (None, True):
            config["logger"] = default_loggers(folder) if fitting else False
        callbacks: list[Callback] = [WritePredictions(folder / PREDICTIONS)]
        if fitting and config["enable_checkpointing"] is not False:
            callbacks = run_callbacks(folder, self._get(self.config_init, "checkpoint"))
        elif fitting:
            callbacks = [SaveRowCount()]
        if fitting:
            callbacks.append(self._get(self.config_init, "hub"))
        try:
            return self._instantiate_trainer(config, callbacks)
        except ValueError as error:  # such as a strategy that the accelerator cannot run
            raise UserError(f"--trainer: {error}") from error

    def _add_configure_optimizers_method_to_model(self, subcommand: str | None) -> None:
        """Let --optimizer and --lr_scheduler replace the model's, once it has parameters."""
        optimizer = self._get(self.config_init, "optimizer")
        scheduler = self._get(self.config_init, "lr_scheduler")
        if optimizer or scheduler:
            given = _given_optimizers(self.model, optimizer, scheduler)
            setattr(self.model, "configure_optimizers", given)  # noqa: B010 - a method, for mypy


def _check_before_training(options: Any) -> None:
    """Refuse what would otherwise fail later, when the folder already holds files."""
    window = options.trainer.accumulate_grad_batches
    if window < 1:
        raise UserError(
            f"--trainer.accumulate_grad_batches: got {window}, wanted 1 or more; correct it"
        )
    size = (options.model.config or {}).get("vocab_size")
    if size is not None and not options.get("ckpt_path"):
        raise UserError(
            f"--model.config.vocab_size: got {size}, wanted none; the tokenizer decides"
        )


def _first_of_node() -> bool:
    """Return whether no other process of this node came before.

    Each node finds a mistake by itself and stops: if rank 0 alone did, the processes that
    Lightning's launcher started on other nodes would wait for it until the rendezvous times out.
    """
    ranks = (os.environ.get(name) for name in ("LOCAL_RANK", "SLURM_LOCALID"))
    return int(next(filter(None, ranks), 0)) == 0


def _given_optimizers(model: EmojiGPT2, optimizer: Any, scheduler: Any) -> Callable[[], Any]:
    def configure_optimizers() -> Any:
        made = (
            instantiate_class(model.parameters(), optimizer) if optimizer else model.new_optimizer()
        )
        schedule = instantiate_class(made, scheduler) if scheduler else None
        return LightningCLI.configure_optimizers(model, made, schedule)

    return configure_optimizers


def main(default_subcommand: str | None = None) -> None:
    """Run the command line; a user's mistake is one line on standard error and exit status 2."""
    logging.basicConfig(format="%(message)s")
    disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.getLogger("emoji_gpt2").setLevel(logging.INFO)
    # The folder is claimed already, and nothing of another run is in it.
    warnings.filterwarnings("ignore", message=r"Checkpoint directory .* exists and is not empty")
    # validate, test and predict need no checkpoint callbacks.
    warnings.filterwarnings("ignore", message=r"Be aware that when using `ckpt_path`")
    # A run may go on in another folder, or on another disk.
    warnings.filterwarnings("ignore", message=r"The dirpath has changed from")
    # --data.val_fraction 0 is meant.
    warnings.filterwarnings("ignore", message=r"Total length of `list` across ranks is zero")
    # Lightning 2.6 with torch 2.13; nothing that a user can do about it.
    warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\).*")
    try:
        EmojiCLI(default_subcommand)
    except (UserError, MisconfigurationException) as error:
        if _first_of_node():
            print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(2) from None
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):  # Lightning makes a 1 of Ctrl-C
            raise SystemExit(130) from None
        raise
    except KeyboardInterrupt:
        raise SystemExit(130) from None
