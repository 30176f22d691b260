"""What protects the speed of a training step: counts of operations, asserted exactly."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Callback, Trainer
from torch.utils._python_dispatch import TorchDispatchMode

from emoji_gpt2 import EmojiDataModule, EmojiGPT2
from emoji_gpt2.batch import Batch
from emoji_gpt2.tokenizer import candidate_tokens
from tests.conftest import TINY

N_LAYER = TINY["n_layer"]
SYNCS = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "unique")
"""Operations for which the host waits for a GPU."""


class Counts(TorchDispatchMode):
    """Counts operations, and keeps the shapes that matrix products have."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()
        self.products: list[tuple[int, ...]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count, and do it."""
        name = func.overloadpacket.__name__
        self.calls[name] += 1
        out = func(*args, **(kwargs or {}))
        if name in ("mm", "addmm"):
            self.products.append(tuple(out.shape))
        return out


class CountStep(Callback):
    """Counts one batch that is not logged."""

    def __init__(self) -> None:
        self.counts = Counts()
        self.batch: Batch | None = None
        self.gradients_left = 0

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Batch, batch_idx: int) -> None:
        if trainer.global_step == 1:
            self.batch = batch
            self.counts.__enter__()

    def on_train_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        if batch is self.batch:
            self.counts.__exit__(None, None, None)
        self.gradients_left += sum(p.grad is not None for p in module.parameters())


@pytest.fixture(scope="module")
def step(tmp_path_factory: pytest.TempPathFactory) -> tuple[CountStep, EmojiGPT2]:
    """A step in training, at 8 rows of other lengths."""
    folder: Path = tmp_path_factory.mktemp("counts")
    rows = [f"{'word ' * (n % 5 + 1)}{n},🍕" for n in range(32)]
    (folder / "rows.csv").write_text("\n".join(["text,emoji", *rows]) + "\n", encoding="utf-8")
    data = EmojiDataModule(
        str(folder / "rows.csv"), 8, val_fraction=0, test_fraction=0, cache_dir=str(folder)
    )
    model = EmojiGPT2(config=TINY)
    counter = CountStep()
    Trainer(
        max_steps=3,
        limit_val_batches=0,
        accelerator="cpu",
        gradient_clip_val=1.0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        callbacks=[counter],
    ).fit(model, data)
    return counter, model


def test_the_host_never_waits_in_a_step(step: tuple[CountStep, EmojiGPT2]) -> None:
    calls = step[0].counts.calls
    assert {name: calls[name] for name in SYNCS if calls[name]} == {}


def test_the_tied_embedding_is_read_once_and_has_one_gradient(
    step: tuple[CountStep, EmojiGPT2],
) -> None:
    calls = step[0].counts.calls
    assert calls["embedding"] == 2  # tokens with candidates, and positions
    assert calls["embedding_dense_backward"] == 2
    assert calls["tanh"] == calls["pow"] == 0  # GELU is one operation
    assert calls["gelu"] == calls["gelu_backward"] == N_LAYER


def test_only_supervised_positions_are_projected_on_candidates_only(
    step: tuple[CountStep, EmojiGPT2],
) -> None:
    counter, model = step
    assert counter.batch is not None
    supervised, n_candidates = (
        len(counter.batch.positions_N),
        len(candidate_tokens(model.tokenizer)),
    )
    assert supervised == 16  # an emoji and the end of text for each of 8 rows
    wide = [s for s in counter.counts.products if max(s) >= n_candidates]
    width = TINY["n_embd"]
    # the scores; in the backward pass, the gradient of the candidates' rows
    assert sorted(wide) == sorted([(supervised, n_candidates), (n_candidates, width)])


def test_gradients_are_freed_by_the_end_of_each_step(step: tuple[CountStep, EmojiGPT2]) -> None:
    assert step[0].gradients_left == 0
