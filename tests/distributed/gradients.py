"""Record the gradients that the optimizer gets in one epoch; a rank of two is a process of this.

LOCAL_RANK=1 MASTER_ADDR=127.0.0.1 MASTER_PORT=29500 \
    python -m tests.distributed.gradients data.csv folder '{"devices": 2, "strategy": "ddp"}'
"""

import json
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import grad_norm
from torch import Tensor
from torch.optim import Optimizer

from emoji_gpt2.batch import Batch
from emoji_gpt2.data.datamodule import EmojiDataModule
from emoji_gpt2.model.module import EmojiGPT2

Gradients = dict[str, Tensor]


class KeepGradients(Optimizer):
    """Keep what an optimizer would step with, clipped if it is, and step nowhere.

    The weights stay the same, so that a step's gradient depends on its rows alone and steps of
    several runs can be compared at float32's precision.
    """

    def __init__(self, model: torch.nn.Module, kept: list[Gradients]) -> None:
        self._names, parameters = zip(*model.named_parameters(), strict=True)
        self._kept = kept
        super().__init__(parameters, {"lr": 0.0})

    def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override]
        loss = closure()
        parameters = self.param_groups[0]["params"]
        pairs = zip(self._names, parameters, strict=True)
        self._kept.append({name: parameter.grad.clone() for name, parameter in pairs})
        return loss


class Recorded(EmojiGPT2):
    """A tiny model with the optimizer above in place of its own; it can be fitted many times.

    Its hooks are its own, and call nobody else's.
    """

    def __init__(self) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            super().__init__(config={"n_layer": 1, "n_embd": 16, "n_head": 2}, dropout=0.0)
        self.kept: list[Gradients] = []

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        self.log("mine", loss)
        return loss

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        self.log_dict(grad_norm(self, norm_type=2))

    def on_train_start(self) -> None:
        pass

    def configure_optimizers(self) -> Optimizer:
        self.kept = []
        return KeepGradients(self.model, self.kept)


class SeenRows(Callback):
    """The numbers of ``examples`` of this rank in each micro-batch."""

    def __init__(self) -> None:
        self.seen: list[list[int]] = []

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, EmojiGPT2)
        rows = batch.ids_BT[: len(batch.first_B)]
        texts = [pl_module.tokenizer.decode(ids) for ids in rows.tolist()]
        self.seen.append([int(re.findall(r"number (\d+)", str(text))[0]) for text in texts])


@dataclass
class Epoch:
    """What one epoch gave to the optimizer.

    Args:
        steps: The gradients of each optimizer step by parameter.
        rows: The numbers of this rank's rows in each micro-batch.
    """

    steps: list[Gradients]
    rows: list[list[int]]


class Recorder:
    """A model, and a table all of whose rows it is trained on.

    Args:
        data: The table.
        folder: Where the cache is.
    """

    def __init__(self, data: Path, folder: Path) -> None:
        self.folder = folder
        self.model = Recorded()
        self.data = EmojiDataModule(
            str(data), val_fraction=0, test_fraction=0, cache_dir=str(folder / "cache")
        )

    def epoch(self, batch_size: int = 8, **options: Any) -> Epoch:
        """Train for the first epoch, each time from the same weights; ``options`` are a trainer's.

        The order of the rows is the same each time: that of the trainer's epoch 0.
        """
        quiet: dict[str, Any] = {
            "accelerator": "cpu",
            "devices": 1,
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "use_distributed_sampler": False,
            "limit_val_batches": 0,
            "default_root_dir": self.folder,
        }
        seen = SeenRows()
        self.data.batch_size = batch_size
        Trainer(max_epochs=1, callbacks=[seen], **(quiet | options)).fit(self.model, self.data)
        return Epoch(self.model.kept, seen.seen)


def main() -> None:
    data, folder, options = sys.argv[1:]
    epoch = Recorder(Path(data), Path(folder)).epoch(**json.loads(options))
    torch.save((epoch.steps, epoch.rows), Path(folder) / f"rank_{os.environ['LOCAL_RANK']}.pt")


if __name__ == "__main__":
    main()
