"""The command line: LightningCLI with a folder per run, strict flags and one-line errors.

    python -m emoji_gpt2 {fit,validate,test,predict} --help

``main("fit", MyModel)`` is the same for a model of your own.
"""

import logging
import sys
from argparse import SUPPRESS
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.cli import (
    LightningArgumentParser,
    LightningCLI,
    LRSchedulerTypeTuple,
    instantiate_class,
)
from lightning.pytorch.utilities import rank_zero_info
from torch.optim import Optimizer
from transformers.utils.logging import disable_progress_bar

from emoji_gpt2.data.datamodule import SOURCES, EmojiDataModule
from emoji_gpt2.errors import UserError, check, local_path, one_line, printable_output
from emoji_gpt2.files import CONFIG, without_secrets
from emoji_gpt2.hub.callback import PushToHub
from emoji_gpt2.model.module import EmojiGPT2
from emoji_gpt2.model.network import building_network_of
from emoji_gpt2.model.optim import unscale_before_clipping
from emoji_gpt2.model.pretrained import read_checkpoint
from emoji_gpt2.model.state import ARCHITECTURE
from emoji_gpt2.shipped import with_config_paths
from emoji_gpt2.training.checkpoints import BestCheckpoint
from emoji_gpt2.training.messages import ignore_warnings, messages
from emoji_gpt2.training.processes import (
    as_mistake,
    end_other_processes,
    first_of_node,
    first_of_run,
    print_error,
    reuse_freed_memory,
)
from emoji_gpt2.training.run_folder import (
    FirstBatch,
    claim,
    default_loggers,
    find_checkpoint,
    requeued_checkpoint,
    run_callbacks,
)
from emoji_gpt2.training.samples import WritePredictions

DEFAULT_OUTPUT_DIR = "checkpoints/run"
GONE = ("hub.tag", "hub.request_timeout", "hub.exit_wait")
"""What config.yaml of a run before 2026-11-27 has beside today's options."""
OF_OWN_OPTIMIZER = ("learning_rate", "weight_decay", "warmup_steps")
"""What of the model only its own optimizer and schedule follow."""


class StrictParser(LightningArgumentParser):
    """Lightning's parser that guesses no prefix and says an error in one line."""

    def _get_option_tuples(self, option_string: str) -> list[Any]:
        """Match no abbreviation: --trainer.max_epoch is a mistake, not max_epochs."""
        return []

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise a ``UserError``."""
        raise UserError(f"{message} (--help lists all)")


class EmojiCLI(LightningCLI):
    """``fit``, ``validate``, ``test`` and ``predict`` of EmojiGPT2 on an EmojiDataModule.

    Args:
        words: The subcommand and its flags.
        model_class: EmojiGPT2 or a subclass, whose own arguments become --model.* flags.
        notebook: Whether a notebook runs, which must not exit when it is interrupted.

    Raises:
        UserError: an option is wrong; one line says which.
    """

    def __init__(
        self,
        words: Sequence[str],
        model_class: type[EmojiGPT2] = EmojiGPT2,
        *,
        notebook: bool = False,
    ) -> None:
        self._words = with_config_paths(list(words))
        self._notebook = notebook
        self._checkpoint: dict[str, Any] | None = None
        self._begun = FirstBatch()
        with ExitStack() as self._held, messages(notebook=notebook):
            try:
                super().__init__(
                    model_class,
                    EmojiDataModule,
                    parser_class=StrictParser,
                    save_config_callback=None,  # FirstBatch writes it
                    seed_everything_default=0,
                    trainer_defaults={"use_distributed_sampler": False},
                    auto_configure_optimizers=False,
                )
            except Exception as error:
                mistake = as_mistake(error, before_training=not self._begun.trained)
                if mistake is None:
                    raise
                end_other_processes(getattr(self, "trainer", None))
                if mistake is error:
                    raise
                raise mistake from error

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
        for name in GONE:
            parser.add_argument(f"--{name}", help=SUPPRESS)
        parser.add_optimizer_args((Optimizer,))
        parser.add_lr_scheduler_args(LRSchedulerTypeTuple)
        if "model.pretrained" in parser.get_defaults():  # a subclass may have other arguments
            parser.link_arguments("model.pretrained", "data.tokenizer")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse the words."""
        for before, word in pairwise(["", *self._words]):
            option, _, value = word.rpartition("=")
            if value.startswith("#"):  # read as YAML, it is a comment, that is nothing at all
                argument = (option or before).lstrip("-")
                remedy = f"write ./{value} for a file, or give it in quotes in a --config file"
                raise UserError(argument, repr(value), "no # in front", remedy)
        self.config = parser.parse_args(self._words)
        for name in GONE:
            if self._options.pop(name) is not None:
                rank_zero_info(f"{name}: an option of older versions, not used")

    @property
    def _options(self) -> Any:
        return self.config[self.config.subcommand]

    @property
    def _folder(self) -> Path:
        return local_path("output_dir", self._options.output_dir)

    def _parse_ckpt_path(self) -> None:
        """Take the model of a checkpoint, and its hyper-parameters where no flag gives another."""
        options = self._options
        if not options.get("ckpt_path") and self.config.subcommand == "fit":
            options.ckpt_path = requeued_checkpoint(self._folder)
        if not options.get("ckpt_path"):
            if self.config.subcommand != "fit" and not options.model.get("pretrained"):
                raise UserError("ckpt_path", "none", "a checkpoint file, last or best", "give one")
            return
        options.ckpt_path = find_checkpoint(self._folder, options.ckpt_path)
        self._checkpoint = read_checkpoint(options.ckpt_path)
        if self.config.subcommand == "fit" and "optimizer_states" not in self._checkpoint:
            got = f"{options.ckpt_path!r}, which holds weights alone"
            wanted = "a whole checkpoint to go on from"
            raise UserError("ckpt_path", got, wanted, "take last.ckpt")
        for name, value in self._checkpoint["hyper_parameters"].items():
            if name not in options.model:
                continue
            given = options.model[name]
            if name not in ARCHITECTURE and self._is_flag(f"--model.{name}"):
                if given != value:
                    rank_zero_info(f"model.{name}: {given}, as the flag says ({value} was stored)")
                continue
            if given != value and name not in ARCHITECTURE:
                rank_zero_info(f"model.{name}: {value}, from the checkpoint (a flag would win)")
            options.model[name] = value

    def instantiate_classes(self) -> None:
        """Make model, data and trainer; a checkpoint decides what network the model has."""
        with building_network_of(self._checkpoint) if self._checkpoint else nullcontext():
            super().instantiate_classes()

    def _dump_config(self) -> None:
        """Dump what model and data module keep as hyper-parameters, and so nothing of the trainer.

        An option of a callback that jsonargparse cannot dump, such as a Timer's, would end the run.
        """
        whole, self.config = self.config, self.config.clone()
        self._options.trainer = self._parser(self.subcommand).get_defaults().trainer
        super()._dump_config()
        self.config = whole

    def _is_flag(self, name: str) -> bool:
        return any(
            word == name or word.startswith((f"{name}=", f"{name}.")) for word in self._words
        )

    def before_instantiate_classes(self) -> None:
        """Claim the output folder, once per node, before anything is written."""
        options = self._options
        if options.data.cache_dir:
            local_path("data.cache_dir", options.data.cache_dir)
        if self.config.subcommand == "fit" and first_of_node():
            _check_before_training(options)
            ckpt_path = options.get("ckpt_path")
            claimed = claim(
                self._folder,
                resuming=bool(ckpt_path)
                and Path(ckpt_path).parent.resolve() == self._folder.resolve(),
                lock=first_of_run(),
                how_to_go_on="resume=True" if self._notebook else "{ckpt_path} last",
            )
            self._held.enter_context(claimed)

    def before_fit(self) -> None:
        """Look for mistakes before other processes are started: a node says them once."""
        if isinstance(self.trainer.accelerator, CPUAccelerator):
            reuse_freed_memory()
        if first_of_node():
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
        if config["barebones"]:
            rank_zero_info("barebones: metrics, checkpoints and model/ are not written")
        elif config["logger"] in (None, True):
            config["logger"] = default_loggers(folder) if fitting else False
        callbacks = self._fit_callbacks(config) if fitting else []
        if not fitting:
            callbacks = [WritePredictions(folder / "predictions.csv")]
        return self._instantiate_trainer(config, callbacks)

    def _fit_callbacks(self, config: dict[str, Any]) -> list[Callback]:
        self._begun.write_config = self._config_writer()
        hub, best = (self._get(self.config_init, name) for name in ("hub", "checkpoint"))
        hub.output_dir = self._folder
        callbacks = run_callbacks(self._folder, best, notebook=self._notebook)
        if config["barebones"] or config["enable_checkpointing"] is False:
            callbacks = [one for one in callbacks if not isinstance(one, Checkpoint)]
        return [*callbacks, self._begun, hub]

    def _config_writer(self) -> Callable[[], Any] | None:
        """Return what writes config.yaml, without ``ckpt_path``, so that it starts a new run."""
        config = self._options.clone()
        config.pop("ckpt_path", None)
        for name in SOURCES:
            config.data[name] = without_secrets(config.data.get(name))
        try:
            text = self._parser(self.subcommand).dump(config, skip_none=False)
        except Exception as error:  # noqa: BLE001 - of whatever class an option's value is
            reason = error.__cause__ or error  # jsonargparse wraps it in many lines
            rank_zero_info(f"{CONFIG} cannot be written: {' '.join(str(reason).split())}")
            return None
        return partial((self._folder / CONFIG).write_text, text, encoding="utf-8")

    def _add_configure_optimizers_method_to_model(self, subcommand: str | None) -> None:
        """Let --optimizer and --lr_scheduler replace the model's, once it has parameters."""
        optimizer = self._get(self.config_init, "optimizer")
        scheduler = self._get(self.config_init, "lr_scheduler")
        unused = [n for n in OF_OWN_OPTIMIZER if optimizer and self._is_flag(f"--model.{n}")]
        if unused:
            rank_zero_info(f"--optimizer has options of its own: --model.{unused[0]} is not used")
        if optimizer or scheduler:
            given = _given_optimizers(self.model, optimizer, scheduler)
            setattr(self.model, "configure_optimizers", given)  # noqa: B010 - a method, for mypy


def _check_before_training(options: Any) -> None:
    """Refuse what Lightning would find in the middle of an epoch, or after what takes long."""
    trainer = options.trainer
    for name in ("accumulate_grad_batches", "check_val_every_n_epoch", "val_check_interval"):
        value = trainer[name]
        fine = isinstance(value, float) or not isinstance(value, int) or value >= 1
        check(f"trainer.{name}", value, fine=fine, wanted="1 or more")


def _given_optimizers(model: EmojiGPT2, optimizer: Any, scheduler: Any) -> Callable[[], Any]:
    def configure_optimizers() -> Any:
        made = _made("optimizer", model.parameters(), optimizer) or model.new_optimizer()
        unscale_before_clipping(made)
        schedule = _made("lr_scheduler", made, scheduler)
        return LightningCLI.configure_optimizers(model, made, schedule)

    return configure_optimizers


def _made(argument: str, of: Any, init: Any) -> Any:
    try:
        return instantiate_class(of, init) if init else None
    except (TypeError, ValueError) as error:  # such as a learning rate below 0
        raise UserError(argument, f"options that it refuses ({one_line(error)})") from error


def main(default_subcommand: str | None = None, model_class: type[EmojiGPT2] = EmojiGPT2) -> None:
    """Run the command line; a user's mistake is one line on standard error and exit status 2.

    Args:
        default_subcommand: What to do when the first argument names none.
        model_class: EmojiGPT2 or a subclass, whose own arguments become --model.* flags.
    """
    words = sys.argv[1:]
    if default_subcommand and (not words or words[0] not in LightningCLI.subcommands()):
        words = [default_subcommand, *words]
    printable_output()
    logging.basicConfig(format="%(message)s")
    disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.getLogger("emoji_gpt2").setLevel(logging.INFO)
    ignore_warnings()
    try:
        EmojiCLI(words, model_class)
    except UserError as error:
        print_error(error)
        raise SystemExit(2) from None
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):  # Lightning makes a 1 of Ctrl-C
            raise SystemExit(130) from None
        raise
    except KeyboardInterrupt:
        raise SystemExit(130) from None
