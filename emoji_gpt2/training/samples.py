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
        on_device = batch.to(pl_module.device)
        predicted, _ = pl_module.predict_step(on_device, 0, top_k=self.top_k)
        title = f"epoch {trainer.current_epoch}, step {trainer.global_step}"
        rows = [_line(title, "predicted".ljust(3 * self.top_k - 1), "wanted")]
        rows += _rows(pl_module, batch, predicted)
        _show(trainer, "\n".join(rows))


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


def _show(trainer: Trainer, text: str) -> None:
    if not trainer.is_global_zero:
        return
    if trainer.progress_bar_callback is not None:
        trainer.progress_bar_callback.print(text)
    else:
        rank_zero_info(text)


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
        mine: dict[int, tuple[list[int], list[float]]] = {}
        for (tokens_BK, shares_BK), rows in zip(predictions, batch_indices[0], strict=True):
            answers = zip(tokens_BK.tolist(), shares_BK.float().tolist(), strict=True)
            mine |= dict(zip(rows, answers, strict=True))
        ranks = [mine]
        if trainer.world_size > 1:
            ranks = [{} for _ in range(trainer.world_size)]
            dist.all_gather_object(ranks, mine)
        if trainer.is_global_zero:
            assert isinstance(pl_module, EmojiGPT2)
            found = {row: answer for part in ranks for row, answer in part.items()}
            rows = sorted(found)
            self._write([dataset.texts[i] for i in rows], [found[i] for i in rows], pl_module)

    def _write(
        self, texts: list[str], found: list[tuple[list[int], list[float]]], pl_module: EmojiGPT2
    ) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            top_k = len(found[0][0]) if found else 0
            numbers = range(1, top_k + 1)
            writer.writerow(["text", *(f"{c}_{n}" for n in numbers for c in ("emoji", "prob"))])
            for text, (tokens, probabilities) in zip(texts, found, strict=True):
                pairs = zip(tokens, probabilities, strict=True)
                cells = [(pl_module.tokenizer.decode(t), f"{p:.4f}") for t, p in pairs]
                writer.writerow([text, *(cell for pair in cells for cell in pair)])
        rank_zero_info(f"{len(found):,} predictions are in {self.path}")
