"""Collation and the sampler, against plain loops and exact counts."""

from itertools import chain
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from emoji_gpt2.batch import SoftTargets, collate
from emoji_gpt2.data.samplers import EvaluationSampler, LengthGroupedSampler, RankSampler

PAD = 0
tokens = st.integers(0, 9)  # few: pad and repeated tokens occur inside rows as well
rows_of_tokens = st.lists(
    st.tuples(
        st.lists(tokens, min_size=1, max_size=8),  # prompt
        st.lists(tokens, min_size=1, max_size=4),  # what is supervised
        st.lists(tokens, max_size=3),  # right answers
    ),
    min_size=1,
    max_size=6,
)


@given(rows_of_tokens)
def test_collate_equals_plain_loops(rows: list[tuple[list[int], list[int], list[int]]]) -> None:
    batch = collate(
        [
            (np.array(prompt + end, dtype=np.uint32), len(prompt), np.array(answers, np.int64))
            for prompt, end, answers in rows
        ],
        PAD,
    )
    width = max(len(prompt) + len(end) for prompt, end, _ in rows) - 1
    flat = batch.ids_BT.flatten().tolist()
    assert batch.ids_BT.shape == (len(rows), width)

    told = list(zip(batch.positions_N.tolist(), batch.labels_N.tolist(), strict=True))
    wanted, first = [], []
    for number, (prompt, end, _) in enumerate(rows):
        ids = prompt + end
        seen = flat[number * width : (number + 1) * width]
        assert seen == ids[:-1] + [PAD] * (width - len(ids) + 1)
        for place in range(len(ids)):
            if place == len(prompt) - 1:
                first.append(number * width + place)
            if place >= len(prompt):  # a token after the prompt is told by the one before it
                wanted.append((number * width + place - 1, ids[place]))
    assert told == wanted
    assert batch.first_B.tolist() == first
    assert set(first) <= set(batch.positions_N.tolist())

    for got, (_, _, answers) in zip(batch.answers_BK.tolist(), rows, strict=True):
        assert got[: len(answers)] == answers
        assert set(got[len(answers) :]) <= {-1}


def test_collate_gives_what_an_embedding_takes() -> None:
    ids = np.array([70000, 1, 2], dtype=np.uint32)
    batch = collate([(ids, 2, np.array([2], dtype=np.uint32))], PAD)
    kinds = {name: part.dtype for name, part in batch._asdict().items() if torch.is_tensor(part)}
    assert kinds.pop("soft_probs_M") == torch.float32
    assert set(kinds.values()) == {torch.int64}
    assert batch.ids_BT.tolist() == [[70000, 1]]
    ids[:] = 0  # a copy: the store's pages are read-only and shared
    assert batch.ids_BT.tolist() == [[70000, 1]]


def test_soft_targets_are_of_the_first_supervised_position_of_their_row() -> None:
    nothing = np.empty(0, np.int64)
    rows = [
        (np.array([1, 8, 21, 22, 0]), 2, nothing),  # two emoji
        (np.array([1, 2, 8, 23, 0]), 3, nothing),
        (np.array([8, 22, 0]), 1, nothing),
    ]
    soft = SoftTargets(
        np.array([0, 2]), np.array([2, 3]), np.array([21, 23, 22, 24, 21], np.uint16),
        np.array([0.5, 0.5, 0.5, 0.25, 0.25], np.float32),
    )  # fmt: skip
    batch = collate(rows, PAD, soft)
    told = batch.positions_N[batch.soft_indices_M].tolist()
    first = batch.first_B.tolist()
    assert told == [first[0]] * 2 + [first[2]] * 3
    assert batch.labels_N[batch.soft_indices_M].tolist() == [21, 21, 22, 22, 22]
    assert batch.soft_tokens_M.tolist() == [21, 23, 22, 24, 21]
    assert batch.soft_probs_M.tolist() == [0.5, 0.5, 0.5, 0.25, 0.25]
    assert collate(rows, PAD).soft_tokens_M.tolist() == []


def test_collate_of_no_rows_is_one_unsupervised_token() -> None:
    batch = collate([], PAD)
    assert batch.ids_BT.tolist() == [[PAD]]
    assert batch.positions_N.tolist() == batch.labels_N.tolist() == []
    assert (batch.answers_BK == -1).all()


lengths_lists = st.lists(st.integers(1, 40), max_size=120)
sizes = st.integers(1, 17)
worlds = st.integers(1, 5)
seeds = st.integers(0, 2**32)


def of_each_rank(sampler: RankSampler, world: int) -> list[list[list[int]]]:
    """The batches of each rank, of a sampler that was made before there were any."""
    all_ranks = []
    for rank in range(world):
        with patch("emoji_gpt2.data.samplers.rank_and_world_size", lambda rank=rank: (rank, world)):
            all_ranks.append([batch.tolist() for batch in sampler])
            assert len(sampler) == len(all_ranks[-1])
    return all_ranks


def batches_per_rank(
    lengths: list[int], size: int, seed: int, world: int, epoch: int = 0, accumulate: int = 1
) -> list[list[list[int]]]:
    sampler = LengthGroupedSampler(np.array(lengths, np.uint16), size, seed, accumulate)
    sampler.set_epoch(epoch)
    return of_each_rank(sampler, world)


@given(lengths_lists, sizes, seeds, worlds, st.integers(0, 3), st.integers(1, 4))
def test_every_row_once_in_the_same_global_steps_however_they_are_cut(
    lengths: list[int], size: int, seed: int, world: int, epoch: int, accumulate: int
) -> None:
    """Into batches that are accumulated, and these among any number of ranks."""
    [whole] = batches_per_rank(lengths, size * accumulate, seed, 1, epoch)
    assert sorted(chain.from_iterable(whole)) == list(range(len(lengths)))
    [alone] = batches_per_rank(lengths, size, seed, 1, epoch, accumulate)
    assert len(alone) % accumulate == 0  # whole optimizer steps
    steps = [alone[i : i + accumulate] for i in range(0, len(alone), accumulate)]
    assert [list(chain.from_iterable(parts)) for parts in steps] == whole
    ranks = batches_per_rank(lengths, size, seed, world, epoch, accumulate)
    for parts, batch in zip(zip(*ranks, strict=True), alone, strict=True):
        assert sorted(chain.from_iterable(parts)) == sorted(batch)
        sizes_of_parts = [len(part) for part in parts]
        assert sum(sizes_of_parts) <= size
        assert max(sizes_of_parts) - min(sizes_of_parts) <= 1


@given(lengths_lists, sizes, seeds, st.integers(0, 5))
def test_the_order_is_a_function_of_seed_and_epoch(
    lengths: list[int], size: int, seed: int, epoch: int
) -> None:
    once = batches_per_rank(lengths, size, seed, 1, epoch)
    np.random.seed(1)  # noqa: NPY002 -- the global state must not matter
    sampler = LengthGroupedSampler(np.array(lengths, np.uint16), size, seed)
    for _ in range(2):  # what was iterated before must not matter either
        list(sampler)
    sampler.set_epoch(epoch)
    assert [[batch.tolist() for batch in sampler]] == once


def test_neither_a_row_nor_a_length_has_a_fixed_place() -> None:
    """Short texts, long ones and the short step are anywhere in an epoch, with other companions."""
    lengths = [*range(1, 204)]
    epochs = [batches_per_rank(lengths, 8, 0, 1, epoch)[0] for epoch in range(300)]
    sizes = np.array([[len(batch) for batch in batches] for batches in epochs])
    means = np.array([[np.mean([lengths[i] for i in b]) for b in batches] for batches in epochs])
    assert set((sizes < 8).argmax(1)) == set(range(26))
    assert np.ptp(means.mean(0)) < 30  # standard error 3.4; places by length: over 150
    assert len({frozenset(batch) for batches in epochs for batch in batches}) > 0.99 * sizes.size
    [[*batches]] = batches_per_rank([5] * 64, 8, 0, 1)
    assert list(chain.from_iterable(batches)) != list(range(64))


def test_a_state_is_the_place_in_the_epoch_and_the_next_iteration_goes_on_there() -> None:
    """It comes between an epoch's numbers that trainers set, and before one that is made anew."""
    lengths = np.arange(20)
    first, second = (batches_per_rank(lengths.tolist(), 6, 0, 1, epoch)[0] for epoch in (1, 2))
    sampler = LengthGroupedSampler(lengths, 6, 0)
    for batches, trainers_epoch, wanted in ((2, 0, first[2:]), (2, 1, first[2:]), (4, 2, second)):
        sampler.load_state_dict({"epoch": 1, "batches": batches})
        sampler.set_epoch(trainers_epoch)
        sampler.start()
        assert [batch.tolist() for batch in sampler] == wanted


def useful_share(lengths: np.ndarray, batches: list[list[int]]) -> float:
    """Tokens of rows per token that is computed, padding included."""
    computed = sum(len(batch) * int(lengths[batch].max()) for batch in batches)
    return int(lengths.sum()) / computed


@pytest.mark.parametrize("rows", [4_000, 20_011])
def test_little_padding_at_real_lengths(rows: int) -> None:
    lengths = np.random.default_rng(7).poisson(9, rows) + 3
    [grouped] = batches_per_rank(lengths.tolist(), 32, 0, 1)
    order = np.random.default_rng(7).permutation(rows)
    at_random = [order[i : i + 32].tolist() for i in range(0, rows, 32)]
    assert useful_share(lengths, grouped) >= 0.97
    assert useful_share(lengths, at_random) < 0.75


def evaluation_batches(lengths: list[int], size: int, world: int) -> list[list[list[int]]]:
    """The batches of each rank."""
    return of_each_rank(EvaluationSampler(np.array(lengths, np.uint16), size), world)


@given(lengths_lists, sizes, worlds)
def test_evaluation_has_the_same_batches_on_any_number_of_ranks(
    lengths: list[int], size: int, world: int
) -> None:
    [alone] = evaluation_batches(lengths, size, 1)
    assert list(chain.from_iterable(alone)) == sorted(range(len(lengths)), key=lengths.__getitem__)
    ranks = evaluation_batches(lengths, size, world)
    assert len({len(batches) for batches in ranks}) == 1
    together = [batch for parts in zip(*ranks, strict=True) for batch in parts]
    assert [batch for batch in together if batch] == alone
    assert len(together) - len(alone) < world
