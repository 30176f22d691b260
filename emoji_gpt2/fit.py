"""Fine-tune GPT-2 from the command line or a notebook cell.

python -m emoji_gpt2.fit --config configs/quickstart.yaml
fine_tune_gpt2("emoji_df.csv", model_name="gpt2", output_dir="./results")
"""

import warnings
from pathlib import Path

from emoji_gpt2.cli import main


def fine_tune_gpt2(
    data_path: str | None = None,
    model_name: str | None = "gpt2",
    output_dir: str = "./results",
    hub_model_name: str | None = None,
    max_epochs: int = 3,
    batch_size: int = 32,
    learning_rate: float = 3e-4,
) -> Path:
    """Fine-tune a GPT-2 on a table of texts and emoji, and return the folder of the best weights.

    Args:
        data_path: What ``EmojiDataModule(path=...)`` takes; None is the built-in emoji table.
        model_name: Hub id or folder of a GPT-2; None trains a small one from scratch.
        output_dir: Where config, metrics, checkpoints and ``model/`` are written.
        hub_model_name: USER/NAME of a Hub repository to push to, at each saved checkpoint and the
            best weights when done.
        max_epochs: Passes over the training rows.
        batch_size: Rows of an optimizer step.
        learning_rate: AdamW's highest.

    Raises:
        UserError: an argument or the data cannot be used; one line says why.
    """
    from lightning.pytorch import Trainer, seed_everything

    from emoji_gpt2.allocator import reuse_freed_memory
    from emoji_gpt2.checkpoints import BestCheckpoint
    from emoji_gpt2.data import EmojiDataModule
    from emoji_gpt2.export import MODEL
    from emoji_gpt2.hub import PushToHub
    from emoji_gpt2.module import EmojiGPT2
    from emoji_gpt2.run_folder import claim, default_loggers, run_callbacks

    folder = Path(output_dir).expanduser()
    claim(folder, resuming=False)
    hub = PushToHub(hub_model_name)
    hub.preflight("hub_model_name")
    seed_everything(0, verbose=False)
    reuse_freed_memory()
    data = EmojiDataModule(data_path, batch_size=batch_size, tokenizer=model_name)
    scratch = None if model_name else {"n_layer": 4, "n_embd": 256, "n_head": 4}
    model = EmojiGPT2(model_name, scratch, learning_rate=learning_rate)
    trainer = Trainer(
        max_epochs=max_epochs,
        default_root_dir=folder,
        logger=default_loggers(folder),
        callbacks=[*run_callbacks(folder, BestCheckpoint()), hub],
        devices=1,
        use_distributed_sampler=False,
        log_every_n_steps=10,
    )
    with warnings.catch_warnings():  # the folder is claimed: nothing of another run is in it
        warnings.filterwarnings("ignore", message=r"Checkpoint directory .* exists and is not")
        trainer.fit(model, data)
    return folder / MODEL


if __name__ == "__main__":
    main("fit")
