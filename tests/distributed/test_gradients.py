"""One optimizer step has one gradient, however its rows are cut into batches and over ranks.

33 rows of 1 to 9 emoji in steps of 8: one step has one row, so that its second micro-batch, or the
second rank, has none.
"""

import json
from copy import deepcopy

import pytest
import torch
from torch import Tensor

from emoji_gpt2.emoji.table import EmojiTable
from emoji_gpt2.model.module import EmojiGPT2
from tests.distributed.gradients import Epoch, Gradients, Recorder
from tests.distributed.runs import examples, finish, free_port, start, write_table

pytestmark = pytest.mark.slow

ROWS, CLIP = 33, 0.05


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Recorder:
    folder = tmp_path_factory.mktemp("gradients")
    return Recorder(write_table(folder / "data.csv", ROWS), folder)


@pytest.fixture(scope="module")
def wanted(recorder: Recorder) -> Epoch:
    """One batch of 8 rows a step, on one process."""
    return recorder.epoch()


def flat(gradients: Gradients) -> Tensor:
    """All parameters' gradients as one vector, in float64."""
    return torch.cat([gradients[name].double().flatten() for name in sorted(gradients)])


def difference(got: Gradients, wanted: Gradients) -> float:
    """The norm of the difference over the norm, of the parameter where it is largest."""
    assert got.keys() == wanted.keys()
    pairs = [(got[name].double(), wanted[name].double()) for name in wanted]
    return max(float((ours - theirs).norm() / theirs.norm()) for ours, theirs in pairs)


def reference(model: EmojiGPT2, numbers: list[int]) -> Gradients:
    """The mean over all supervised tokens of some rows, one row at a time, in float64."""
    network, tokenizer = deepcopy(model.model).double(), model.tokenizer
    network.zero_grad()
    end = str(tokenizer.eos_token)
    candidates = tokenizer.convert_tokens_to_ids([end, *EmojiTable.builtin()])
    nats, tokens = torch.zeros((), dtype=torch.float64), 0
    for text, emoji in (examples(ROWS)[number] for number in numbers):
        labels = tokenizer.convert_tokens_to_ids([*emoji, end])
        ids = tokenizer(text).input_ids + labels[:-1]
        p = network(torch.tensor([ids])).logits[0, -len(labels) :, candidates].softmax(1)
        for place, label in enumerate(labels):
            nats = nats - p[place, candidates.index(label)].log()
        tokens += len(labels)
    (nats / tokens).backward()
    return {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


def n_tokens(numbers: list[int]) -> int:
    """The supervised tokens of some rows."""
    return sum(len(examples(ROWS)[number][1]) + 1 for number in numbers)


def test_the_gradient_is_the_mean_over_the_supervised_tokens_of_a_step(
    recorder: Recorder, wanted: Epoch
) -> None:
    assert sorted(len(rows) for rows in wanted.rows) == [1, 8, 8, 8, 8]
    assert sorted(number for rows in wanted.rows for number in rows) == list(range(ROWS))
    for got, rows in zip(wanted.steps, wanted.rows, strict=True):
        assert difference(got, reference(recorder.model, rows)) < 1e-5


@pytest.mark.parametrize(
    ("precision", "limit"),
    # bfloat16 has 8 bits: products of other shapes round otherwise, by 1 / 256 each
    [("32-true", 1e-6), ("bf16-mixed", 3e-2)],
)
def test_accumulated_batches_give_the_same_gradients(
    precision: str, limit: float, recorder: Recorder
) -> None:
    wanted = recorder.epoch(precision=precision)
    got = recorder.epoch(batch_size=4, accumulate_grad_batches=2, precision=precision)
    steps = list(zip(got.rows[::2], got.rows[1::2], strict=True))
    assert [one + other for one, other in steps] == wanted.rows
    sizes = [(len(one), len(other)) for one, other in steps]
    assert sorted(sizes) == [(1, 0), (4, 4), (4, 4), (4, 4), (4, 4)]
    assert any(n_tokens(one) != n_tokens(other) for one, other in steps if other)
    for ours, theirs in zip(got.steps, wanted.steps, strict=True):
        assert difference(ours, theirs) < limit


def test_two_ranks_give_the_same_gradients(recorder: Recorder, wanted: Epoch) -> None:
    folder, port = recorder.folder, str(free_port())
    options = json.dumps({"devices": 2, "strategy": "ddp"})
    words = ["tests.distributed.gradients", str(folder / "data.csv"), str(folder), options]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    ranks = finish([start(words, folder, LOCAL_RANK=rank, **place) for rank in ("0", "1")])
    for rank, done in enumerate(ranks):
        assert done.status == 0, done.stderr[-3000:]
        steps, rows = torch.load(folder / f"rank_{rank}.pt", weights_only=True)
        assert rows == [whole[rank::2] for whole in wanted.rows]
        for ours, theirs in zip(steps, wanted.steps, strict=True):
            assert difference(ours, theirs) < 1e-6


@pytest.mark.parametrize(
    "way", [{}, {"batch_size": 4, "accumulate_grad_batches": 2}], ids=["1 x 8", "2 x 4"]
)
def test_the_mean_is_clipped_not_the_sum(
    way: dict[str, int], recorder: Recorder, wanted: Epoch
) -> None:
    got = recorder.epoch(gradient_clip_val=CLIP, **way)
    for clipped, rows in zip(got.steps, wanted.rows, strict=True):
        whole = reference(recorder.model, rows)
        norm = flat(whole).norm()
        assert norm > 2 * CLIP, "nothing to clip"
        scaled = {name: gradient * CLIP / norm for name, gradient in whole.items()}
        # torch's float32 norm of the embedding's 850,000 numbers is right to some 1e-5
        assert float(flat(clipped).norm()) == pytest.approx(CLIP, rel=1e-4)
        assert difference(clipped, scaled) < 1e-4
