"""When a run ends: the best weights as a Transformers folder, with the run's card.

Trainer(callbacks=[BestCheckpoint("out"), LastCheckpoint("out"), ExportBest("out/model")])
"""

import logging
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.strategies import FSDPStrategy
from lightning.pytorch.utilities import rank_zero_info

from emoji_gpt2.card.card import card
from emoji_gpt2.card.collect import Session, collect
from emoji_gpt2.model.checkpoint_io import holding_weights_of
from emoji_gpt2.model.export import save_transformers_folder
from emoji_gpt2.model.module import EmojiGPT2
from emoji_gpt2.training.checkpoints import BestCheckpoint

log = logging.getLogger(__name__)


class ExportBest(Checkpoint):
    """When fit is done, write the best checkpoint's weights as a Transformers folder.

    A ``Checkpoint``, so that Lightning calls it after those that save.

    Args:
        folder: Where to; it is replaced.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._session = Session()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._session = Session(trainer.global_step)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the metrics of this step."""
        self._session.remember(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the folder, with the run's card, on rank 0."""
        if not trainer.is_global_zero or getattr(trainer, "fast_dev_run", False):
            return
        assert isinstance(pl_module, EmojiGPT2)
        best = _best_checkpoint(trainer)
        if best is None:
            self._export(trainer, pl_module, trainer.global_step)
        else:
            with holding_weights_of(best, pl_module) as step:
                self._export(trainer, pl_module, step)
        source = f"of {Path(best).name}" if best else "at the end of training"
        rank_zero_info(f"The weights {source} are in {self.folder}, a Transformers folder.")

    def _export(self, trainer: Trainer, pl_module: EmojiGPT2, step: int) -> None:
        text, pictures = self._card(trainer, pl_module, step)
        for name, picture in pictures.items():
            (self.folder.parent / name).write_bytes(picture)
        save_transformers_folder(pl_module.model, pl_module.tokenizer, self.folder, text, pictures)

    def _card(
        self, trainer: Trainer, pl_module: EmojiGPT2, step: int
    ) -> tuple[str | None, dict[str, bytes]]:
        """Return the card and its pictures; the weights are worth more than a card that fails."""
        if isinstance(trainer.strategy, FSDPStrategy):
            return None, {}  # this rank alone could not ask its shards anything
        try:
            facts, pictures = collect(trainer, pl_module, self._session, self.folder, step)
            return card(facts), pictures
        except Exception:
            log.exception("The model card could not be written; a short one stands in for it.")
            return None, {}


def _best_checkpoint(trainer: Trainer) -> str | None:
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, BestCheckpoint) and Path(callback.best_model_path).is_file():
            return callback.best_model_path
    return None
