"""Fine-tune GPT-2 from the command line or a notebook cell.

python -m emoji_gpt2.fit --config configs/quickstart.yaml
fine_tune_gpt2("emoji_df.csv", model_name="gpt2", output_dir="./results")
"""

import signal
import warnings
from functools import partial
from pathlib import Path
from typing import Any


def fine_tune_gpt2(
    data_path: str | None = None,
    model_name: str | None = "gpt2",
    output_dir: str = "./results",
    hub_model_name: str | None = None,
    max_epochs: int = 3,
    batch_size: int = 32,
    learning_rate: float = 3e-4,
    resume: bool = False,
) -> Path:
    """Fine-tune a GPT-2 on a table of texts and emoji, and return the folder of the best weights.

    It trains on the first GPU, in mixed precision if that is CUDA's, or on the CPU. When it is
    interrupted (the stop button of a notebook, Ctrl-C), it finishes the step, validates and returns
    the best weights so far.

    Args:
        data_path: What ``EmojiDataModule(path=...)`` takes; None is the built-in emoji table.
        model_name: Hub id or folder of a GPT-2; None trains a small one from scratch.
        output_dir: Where config.yaml, metrics, checkpoints and ``model/`` are written. With its
            config.yaml, ``python -m emoji_gpt2.fit --config`` runs the same.
        hub_model_name: USER/NAME of a Hub repository to push to, at each saved checkpoint and the
            best weights when done.
        max_epochs: Passes over the training rows.
        batch_size: Rows of an optimizer step.
        learning_rate: AdamW's highest.
        resume: Go on from ``output_dir``'s last.ckpt; the other arguments are those of the first
            call, or more ``max_epochs``.

    Raises:
        UserError: an argument or the data cannot be used; one line says why.
        KeyboardInterrupt: it was interrupted before the training began, or twice.
    """
    from emoji_gpt2.errors import local_path, printable_output
    from emoji_gpt2.files import MODEL
    from emoji_gpt2.training.run_folder import FirstBatch, claim

    printable_output()
    folder = local_path("output_dir", output_dir)
    options: dict[str, Any] = {
        "output_dir": str(folder),
        "seed_everything": 0,
        "trainer": {
            "max_epochs": max_epochs,
            "devices": 1,
            "precision": _precision(),
            "log_every_n_steps": 10,
        },
        "model": {
            "pretrained": model_name,
            "config": None if model_name else {"n_layer": 4, "n_embd": 256, "n_head": 4},
            "learning_rate": learning_rate,
        },
        "data": {"path": data_path, "batch_size": batch_size},
        "hub": {"repo_id": hub_model_name},
    }
    begun = FirstBatch(partial(_write_config, options, folder))
    with claim(folder, begun, resuming=resume, how_to_go_on="resume=True"):
        _train(options, folder, begun, resume=resume)
    return folder / MODEL


def _precision() -> str:
    import torch

    if not torch.cuda.is_available():
        return "32-true"
    fast = torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16-mixed" if fast else "16-mixed"


def _write_config(options: dict[str, Any], folder: Path) -> None:
    from lightning.pytorch.core.saving import save_hparams_to_yaml

    from emoji_gpt2.files import CONFIG, without_secrets

    data = {name: without_secrets(value) for name, value in options["data"].items()}
    options = options | {"data": data}
    save_hparams_to_yaml(str(folder / CONFIG), options)


def _train(options: dict[str, Any], folder: Path, begun: Any, *, resume: bool) -> None:
    from lightning.pytorch import Trainer, seed_everything

    from emoji_gpt2.data.datamodule import EmojiDataModule
    from emoji_gpt2.errors import MissingFileError, blaming
    from emoji_gpt2.files import LAST
    from emoji_gpt2.hub.callback import PushToHub
    from emoji_gpt2.model.module import EmojiGPT2
    from emoji_gpt2.training.checkpoints import BestCheckpoint
    from emoji_gpt2.training.run_folder import default_loggers, run_callbacks

    last = folder / LAST
    if resume and not last.is_file():
        wanted = f"a {LAST} in {str(folder)!r}"
        raise MissingFileError("resume", "True", wanted, "call it without resume")
    hub = PushToHub(**options["hub"])
    hub.output_dir = folder
    with blaming("hub_model_name", "hub.repo_id"):
        hub.preflight()
    seed_everything(options["seed_everything"], workers=True, verbose=False)
    data = EmojiDataModule(**options["data"], tokenizer=options["model"]["pretrained"])
    if resume:
        rate = options["model"]["learning_rate"]
        model = EmojiGPT2.load_from_checkpoint(last, map_location="cpu", learning_rate=rate)
    else:
        model = EmojiGPT2(**options["model"])
    trainer = Trainer(
        **options["trainer"],
        default_root_dir=folder,
        logger=default_loggers(folder),
        callbacks=[*run_callbacks(folder, BestCheckpoint(), notebook=True), begun, hub],
        use_distributed_sampler=False,
    )
    interrupt = signal.getsignal(signal.SIGINT)
    with warnings.catch_warnings():  # the folder is claimed: nothing of another run is in it
        warnings.filterwarnings("ignore", message=r"Checkpoint directory .* exists and is not")
        try:
            trainer.fit(model, data, ckpt_path=last if resume else None)
        except SystemExit as error:  # Lightning's, after a KeyboardInterrupt; it ignores others
            signal.signal(signal.SIGINT, interrupt)
            raise KeyboardInterrupt from error
