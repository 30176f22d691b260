"""Fine-tune GPT-2 from the command line or a notebook cell.

python -m emoji_gpt2.fit --config configs/quickstart.yaml
fine_tune_gpt2("emoji_df.csv", model_name="gpt2", output_dir="./results")
"""

import signal
import warnings
from pathlib import Path

IN_A_NOTEBOOK = (
    "--trainer.devices=1",
    "--trainer.log_every_n_steps=10",
    "--trainer.enable_model_summary=false",  # 15 lines, most of them zeros
)


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
        output_dir: Where config.yaml, metrics, checkpoints and ``model/`` are written; the command
            line runs the same with ``--config`` and that config.yaml.
        hub_model_name: USER/NAME on the Hub, to push to at each saved checkpoint and when done.
        max_epochs: Passes over the training rows.
        batch_size: Rows of an optimizer step.
        learning_rate: AdamW's highest.
        resume: Go on from ``output_dir``'s last.ckpt; the other arguments are those of the first
            call, or more ``max_epochs``.

    Raises:
        UserError: an argument or the data cannot be used; one line says why.
        KeyboardInterrupt: it was interrupted before the training began, or twice.
    """
    from emoji_gpt2.errors import blaming, local_path, printable_output
    from emoji_gpt2.files import MODEL

    printable_output()
    given = {
        "output_dir": output_dir,
        "ckpt_path": "last" if resume else None,
        "trainer.max_epochs": max_epochs,
        "trainer.precision": _precision(),
        "model.pretrained": model_name,
        "model.config": None if model_name else {"n_layer": 4, "n_embd": 256, "n_head": 4},
        "model.learning_rate": learning_rate,
        "data.path": data_path,
        "data.batch_size": batch_size,
        "hub.repo_id": hub_model_name,
    }
    words = [f"--{name}={value}" for name, value in given.items() if value is not None]
    with blaming("hub_model_name", "hub.repo_id"), blaming("resume", "ckpt_path"):
        _run(["fit", *words, *IN_A_NOTEBOOK])
    return local_path("output_dir", output_dir) / MODEL


def _run(words: list[str]) -> None:
    """Run the command line; an interrupt before the training is a KeyboardInterrupt."""
    from emoji_gpt2.training.cli import EmojiCLI
    from emoji_gpt2.training.messages import ignore_warnings

    interrupt = signal.getsignal(signal.SIGINT)
    with warnings.catch_warnings():
        ignore_warnings()
        try:
            EmojiCLI(words, notebook=True)
        except SystemExit as error:  # Lightning's, after a KeyboardInterrupt; it ignores others
            signal.signal(signal.SIGINT, interrupt)
            raise KeyboardInterrupt from error


def _precision() -> str:
    import torch

    if not torch.cuda.is_available():
        return "32-true"
    fast = torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16-mixed" if fast else "16-mixed"
