"""Callbacks that show and write predictions.

epoch 3, step 399                     predicted          wanted
  birthday party                      🎂 🎉 🎁           🎉 🥳
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from lightning.pytorch.strategies import FSDPStrategy
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor
from torch import distributed as dist

from emoji_gpt2.batch import Batch
from emoji_gpt2.data.loader import PromptDataset, RowDataset, RowLoader
from emoji_gpt2.model.module import EmojiGPT2
from emoji_gpt2.tokenizer import decode_text

TEXT_WIDTH = 36


class ShowSamples(Callback):
    """After each validation, print held-out texts with what is predicted and what is wanted.

    Args:
        texts: How many texts; they are the same each time.
        top_k: How many emoji to show of each.
    """

    def __init__(self, texts: int = 8, top_k: int = 3) -> None:
        self.texts = texts
        self.top_k = top_k

    @torch.no_grad()
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the table on rank 0; every rank takes part in the forward pass."""
        loader = trainer.val_dataloaders
        if trainer.sanity_checking or not isinstance(loader, RowLoader):
            return
        if isinstance(trainer.strategy, FSDPStrategy):
            return  # weights are whole within a step only
        assert isinstance(loader.dataset, RowDataset)
        assert isinstance(pl_module, EmojiGPT2)
        batch = loader.dataset.sample(self.texts)
        predicted_BK, _ = pl_module.predict_step(batch.to(pl_module.device), 0, top_k=self.top_k)
        title = f"epoch {trainer.current_epoch}, step {trainer.global_step}"
        lines = [_line(title, "predicted".ljust(3 * self.top_k - 1), "wanted")]
        lines += _rows(pl_module, batch, predicted_BK)
        if trainer.is_global_zero:
            bar = trainer.progress_bar_callback
            (bar.print if bar else rank_zero_info)("\n".join(lines))


def _rows(pl_module: EmojiGPT2, batch: Batch, predicted_BK: Tensor) -> list[str]:
    decode = pl_module.tokenizer.decode
    width = batch.ids_BT.shape[1]
    lines = []
    for row, (ids_T, best_K) in enumerate(zip(batch.ids_BT, predicted_BK, strict=True)):
        prompt = ids_T[: int(batch.first_B[row]) - row * width]
        wanted = [str(decode(token)) for token in batch.answers_BK[row].tolist() if token >= 0]
        guessed = [str(decode(token)) for token in best_K.tolist()]
        text = decode_text(pl_module.tokenizer, prompt.tolist())[: TEXT_WIDTH - 3]
        lines.append(_line(f"  {text}", " ".join(guessed), " ".join(wanted[:8])))
    return lines


def _line(text: str, predicted: str, wanted: str) -> str:
    return f"{text:<{TEXT_WIDTH}} {predicted}  {wanted}"


class WritePredictions(BasePredictionWriter):
    """Write what ``predict`` finds to a CSV: text, then each emoji with its probability.

    Args:
        path: The CSV file; it is replaced.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(write_interval="epoch")
        self.path = Path(path)

    def write_on_epoch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        predictions: Sequence[Any],
        batch_indices: Sequence[Any],
    ) -> None:
        """Put the ranks' predictions back in order and write them on rank 0."""
        dataset = getattr(trainer.predict_dataloaders, "dataset", None)
        if not isinstance(dataset, PromptDataset):
            return
        assert isinstance(pl_module, EmojiGPT2)
        decode = pl_module.tokenizer.decode
        mine: dict[int, list[str]] = {}
        for (tokens_BK, shares_BK), rows in zip(predictions, batch_indices[0], strict=True):
            for row, tokens, shares in zip(
                rows, tokens_BK.tolist(), shares_BK.tolist(), strict=True
            ):
                best = zip(tokens, shares, strict=True)
                mine[row] = [cell for t, p in best for cell in (str(decode(t)), f"{p:.4f}")]
        ranks = [mine]
        if trainer.world_size > 1:
            ranks = [{} for _ in range(trainer.world_size)]
            dist.all_gather_object(ranks, mine)
        if trainer.is_global_zero:
            found = {row: cells for part in ranks for row, cells in part.items()}
            self._write([[dataset.texts[row], *found[row]] for row in sorted(found)])

    def _write(self, rows: list[list[str]]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        numbers = range(1, len(rows[0]) // 2 + 1) if rows else ()
        with self.path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["text", *(f"{c}_{n}" for n in numbers for c in ("emoji", "prob"))])
            writer.writerows(rows)
        rank_zero_info(f"{len(rows):,} predictions are in {self.path}")
