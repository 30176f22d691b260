"""Validate and test one model on tables of many sizes; a rank of two is a process of this.

LOCAL_RANK=1 MASTER_ADDR=127.0.0.1 MASTER_PORT=29500 \
    python -m tests.distributed.evaluation data.csv folder '{"devices": 2, "strategy": "ddp"}'
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer

from emoji_gpt2.data.datamodule import EmojiDataModule
from emoji_gpt2.model.module import EmojiGPT2

Metrics = dict[str, float]


def evaluate(data: Path, tables: list[Path], **options: Any) -> dict[str, Metrics]:
    """Return all metrics of each table, by its name, evaluated as validation and as test data."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = EmojiGPT2(config={"n_layer": 1, "n_embd": 16, "n_head": 2}, dropout=0.0)
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        use_distributed_sampler=False,
        default_root_dir=data.parent,
        **options,
    )
    found = {}
    for table in tables:
        rows = EmojiDataModule(
            str(data),
            val_path=str(table),
            test_path=str(table),
            cache_dir=str(data.parent / "cache"),
        )
        metrics: Metrics = {}
        for evaluation in (trainer.validate, trainer.test):
            metrics |= evaluation(model, rows, verbose=False)[0]
        found[table.stem] = metrics
    return found


def main() -> None:
    data, folder, options = sys.argv[1:]
    tables = sorted(Path(folder).glob("held_out_*.csv"))
    found = evaluate(Path(data), tables, **json.loads(options))
    path = Path(folder) / f"rank_{os.environ['LOCAL_RANK']}.json"
    path.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
