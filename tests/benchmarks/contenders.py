"""The contenders of ``bench_train.py``; each runs as a process and prints one line of JSON.

    python -m tests.benchmarks.contenders ours-bf16-32 --rows rows.csv --steps 40

A row is a text with its emoji. ``notebook``, ``hf`` and ``trl`` see "text emoji" as GPT-2's own
BPE cuts it; ``bare`` and ``ours`` see one token per emoji. ``bare`` is a plain PyTorch loop that
does the same as ``ours``: what is between them is what the Trainer costs.
"""

import argparse
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from lightning.pytorch import Callback, Trainer
from torch.optim import AdamW
from transformers import (
    DataCollatorForLanguageModeling,
    GPT2Config,
    GPT2LMHeadModel,
    GPT2Tokenizer,
    TrainerCallback,
)

from emoji_gpt2 import EmojiDataModule, EmojiGPT2
from emoji_gpt2.batch import Batch
from emoji_gpt2.model.optim import decay_groups
from emoji_gpt2.tokenizer import builtin_gpt2_tokenizer, eos_id
from tests.benchmarks.floor import Work, matrix_rate

WARM_UP = 3
LEARNING_RATE = 1e-4
CLIP = 1.0
PACKED = 512
"""Tokens of a packed sequence: about as many rows as a batch of 32."""


class Step(NamedTuple):
    """One timed optimizer step."""

    seconds: float
    rows: float
    tokens: float


class Context(NamedTuple):
    """What a contender is given."""

    rows: pd.DataFrame
    path: Path
    config: dict[str, Any]
    device: str
    steps: int
    batch: int
    bf16: bool

    @property
    def total(self) -> int:
        """Optimizer steps, the warm-up's included."""
        return self.steps + WARM_UP


Run = Callable[[Context], list[Step]]


class _HFClock(TrainerCallback):  # type: ignore[misc]
    """Times the steps of Transformers' Trainer."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        self.start = time.perf_counter()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds.append(time.perf_counter() - self.start)


def _hf_arguments(context: Context, batch: int, folder: str) -> dict[str, Any]:
    return {
        "output_dir": folder,
        "per_device_train_batch_size": batch,
        "max_steps": context.total,
        "learning_rate": LEARNING_RATE,
        "max_grad_norm": CLIP,
        "bf16": context.bf16,
        "use_cpu": context.device == "cpu",
        "report_to": [],
        "save_strategy": "no",
        "logging_steps": 10_000,
        "disable_tqdm": True,
        "seed": 0,
    }


def _hf_model(context: Context) -> tuple[GPT2LMHeadModel, GPT2Tokenizer]:
    torch.manual_seed(0)
    tokenizer = builtin_gpt2_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    return GPT2LMHeadModel(GPT2Config(**context.config)), tokenizer


def _texts(context: Context) -> list[str]:
    return [f"{text} {emoji}" for text, emoji in context.rows.itertuples(index=False)]


def _steps(seconds: list[float], rows: float, tokens_of_row: float) -> list[Step]:
    return [Step(s, rows, rows * tokens_of_row) for s in seconds]


def _transformers(context: Context, padded_to: int | None) -> list[Step]:
    from transformers import Trainer as HFTrainer
    from transformers import TrainingArguments

    model, tokenizer = _hf_model(context)
    real = [len(ids) for ids in tokenizer(_texts(context))["input_ids"]]
    padding = {"padding": "max_length", "max_length": padded_to} if padded_to else {}
    encoded = tokenizer(_texts(context), truncation=bool(padded_to), **padding)
    ids, masks = encoded["input_ids"], encoded["attention_mask"]
    data = [{"input_ids": i, "attention_mask": m} for i, m in zip(ids, masks, strict=True)]
    clock = _HFClock()
    with tempfile.TemporaryDirectory() as folder:
        HFTrainer(
            model=model,
            args=TrainingArguments(**_hf_arguments(context, context.batch, folder)),
            train_dataset=data,
            data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),
            callbacks=[clock],
        ).train()
    return _steps(clock.seconds, context.batch, statistics.mean(real))


def notebook(context: Context) -> list[Step]:
    """Transformers' Trainer, each row padded to 1,024 tokens, loss on all of them."""
    return _transformers(context, min(1024, GPT2Config(**context.config).n_positions))


def hf(context: Context) -> list[Step]:
    """Transformers' Trainer as run_clm has it: padded to a batch's longest row, loss on all."""
    return _transformers(context, None)


def _trl(context: Context, packing: bool) -> list[Step]:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    model, tokenizer = _hf_model(context)
    pairs = context.rows.itertuples(index=False)
    rows = [{"prompt": text, "completion": f" {emoji}"} for text, emoji in pairs]
    real = statistics.mean(len(i) + 1 for i in tokenizer(_texts(context))["input_ids"])  # and eos
    clock = _HFClock()
    batch = 1 if packing else context.batch
    with tempfile.TemporaryDirectory() as folder:
        arguments = _hf_arguments(context, batch, folder) | {
            "packing": packing,
            "max_length": PACKED,
            "completion_only_loss": True,
            "gradient_checkpointing": False,  # slower; the others do without
        }
        if packing:  # others need flash attention
            arguments |= {"packing_strategy": "wrapped"}
        SFTTrainer(
            model=model,
            args=SFTConfig(**arguments),
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
            callbacks=[clock],
        ).train()
    return _steps(clock.seconds, PACKED / real if packing else batch, real)


def trl(context: Context) -> list[Step]:
    """TRL's SFTTrainer on prompts and completions, loss on the completions."""
    return _trl(context, packing=False)


def trl_packed(context: Context) -> list[Step]:
    """The same with rows packed one after another into sequences of ``PACKED`` tokens."""
    return _trl(context, packing=True)


class _LightningClock(Callback):
    """Times each batch from the end of the one before, the loading included."""

    def __init__(self, eos: int) -> None:
        self.eos = eos
        self.steps: list[Step] = []

    def on_train_start(self, *args: Any) -> None:
        self.last = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.steps.append(_step(now - self.last, batch, self.eos))
        self.last = time.perf_counter()


def _step(seconds: float, batch: Batch, eos: int) -> Step:
    return Step(seconds, len(batch.first_B), int((batch.ids_BT != eos).sum()))


def _our_parts(context: Context) -> tuple[EmojiDataModule, EmojiGPT2]:
    torch.manual_seed(0)
    cache = str(context.path.parent / "cache")
    data = EmojiDataModule(
        str(context.path), context.batch, cache_dir=cache, val_fraction=0, test_fraction=0
    )
    return data, EmojiGPT2(config=context.config, learning_rate=LEARNING_RATE)


def ours(context: Context, compiled: bool = False) -> list[Step]:
    """EmojiGPT2 on an EmojiDataModule in Lightning's Trainer, as the command line runs it."""
    data, module = _our_parts(context)
    if compiled:
        module.model.transformer.compile(dynamic=True)
    clock = _LightningClock(eos_id(module.tokenizer))
    with tempfile.TemporaryDirectory() as folder:
        Trainer(
            accelerator="cpu" if context.device == "cpu" else "gpu",
            devices=1,
            precision="bf16-mixed" if context.bf16 else "32-true",
            max_steps=context.total,
            gradient_clip_val=CLIP,
            default_root_dir=folder,
            enable_checkpointing=False,
            use_distributed_sampler=False,
            callbacks=[clock],
        ).fit(module, data)
    return clock.steps


def ours_compiled(context: Context) -> list[Step]:
    """The same with the blocks compiled."""
    return ours(context, compiled=True)


def bare(context: Context) -> list[Step]:
    """A plain loop over the same batches with the same forward pass, loss and optimizer."""
    data, module = _our_parts(context)
    data.prepare_data()
    data.setup("fit")
    module.to(context.device).train()
    eos = eos_id(module.tokenizer)
    optimizer = AdamW(decay_groups(module.model, 0.01), lr=LEARNING_RATE, fused=True)
    steps, last = [], time.perf_counter()
    for batch in _endless(data):
        moved = Batch(*(t.to(context.device) if isinstance(t, torch.Tensor) else t for t in batch))
        with torch.autocast(context.device, torch.bfloat16, enabled=context.bf16):
            nats, count = module.loss(module(moved.ids_BT, moved.positions_N), moved)
            loss = nats / count
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad()
        if context.device == "cuda":
            torch.cuda.synchronize()
        now = time.perf_counter()
        steps.append(_step(now - last, batch, eos))
        last = time.perf_counter()
        if len(steps) == context.total:
            return steps
    raise AssertionError("an endless iterator ended")


def _endless(data: EmojiDataModule) -> Iterator[Batch]:
    loader = data.train_dataloader()
    while True:
        yield from loader


class Contender(NamedTuple):
    """What is run, in which precision and batch, and for how many timed steps."""

    run: Run
    batch: int
    bf16: bool
    steps: int
    devices: tuple[str, ...] = ("cpu", "cuda")


CONTENDERS = {
    "notebook-fp32-1": Contender(notebook, 1, False, 2),
    "hf-bf16-32": Contender(hf, 32, True, 12),
    "trl-bf16-32": Contender(trl, 32, True, 12),
    "trl-packed-bf16-32": Contender(trl_packed, 32, True, 12),
    "bare-bf16-32": Contender(bare, 32, True, 60),
    "ours-bf16-32": Contender(ours, 32, True, 60),
    "bare-bf16-256": Contender(bare, 256, True, 14),
    "ours-bf16-256": Contender(ours, 256, True, 14),
    "hf-bf16-1024": Contender(hf, 1024, True, 20, ("cuda",)),
    "trl-bf16-1024": Contender(trl, 1024, True, 20, ("cuda",)),
    "ours-bf16-1024": Contender(ours, 1024, True, 20, ("cuda",)),
    "ours-compiled-bf16-1024": Contender(ours_compiled, 1024, True, 20, ("cuda",)),
}


def summary(name: str, context: Context, steps: list[Step]) -> dict[str, Any]:
    """Return what one run measured; for our own maths also the share of the matrix rate."""
    timed = steps[WARM_UP:]
    seconds, rows, tokens = (sum(column) for column in zip(*timed, strict=True))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if context.device == "cuda":
        peak = torch.cuda.max_memory_allocated() / 2**20
    result = {
        "rows_per_s": rows / seconds,
        "tokens_per_s": tokens / seconds,
        "peak_mb": peak,
        "ms_per_step": 1000 * seconds / len(timed),
    }
    if name.startswith(("ours", "bare")):
        work = Work(GPT2Config(**context.config), tokens / len(timed), 2 * rows / len(timed))
        rate = matrix_rate(work, context.device, context.bf16)
        result["matrix_share"] = work.operations / (seconds / len(timed)) / rate
        result["matrix_gflops"] = rate / 1e9
    return result


def main() -> None:
    """Run one contender and print what it measured."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=CONTENDERS)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--config", default="{}")
    args = parser.parse_args()
    chosen = CONTENDERS[args.name]
    context = Context(
        pd.read_csv(args.rows, dtype=str, keep_default_na=False),
        args.rows,
        json.loads(args.config),
        args.device,
        args.steps,
        chosen.batch,
        chosen.bf16,
    )
    measured = summary(args.name, context, chosen.run(context))
    sys.stdout.write(f"\n{json.dumps(measured)}\n")


if __name__ == "__main__":
    main()
