"""Ranking and generating in Python, beside a reference by hand."""

# ruff: noqa: F811 -- a fixture that is imported has the name of the parameter that asks for it

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import GPT2LMHeadModel

from emoji_gpt2 import EmojiGenerator, generate_emoji
from emoji_gpt2.errors import UserError
from tests.cli_runs import (
    UPSTREAM,
    trained_run,  # noqa: F401 -- a fixture
)
from tests.generation.reference import (
    EMOJI,
    TABLE,
    TEXTS,
    Plain,
    generator,  # noqa: F401 -- a fixture
    plain,  # noqa: F401 -- a fixture
)
from tests.hub.server import HubServer

pytestmark = UPSTREAM

# rank


def test_probabilities_are_those_of_plain_gpt2_over_all_emoji(
    generator: EmojiGenerator, plain: Plain
) -> None:
    """Each text alone there, in batches of one, two or all here."""
    wanted = [
        dict(zip(EMOJI, plain.logits(text)[1:].softmax(0).tolist(), strict=True)) for text in TEXTS
    ]
    for size in (1, 2, 64):
        ranked = generator.rank(TEXTS, top_k=len(EMOJI), batch_size=size)
        for row, of_text in zip(ranked, wanted, strict=True):
            assert sum(p for _, p in row) == pytest.approx(1, abs=1e-4)
            assert [p for _, p in row] == sorted((p for _, p in row), reverse=True)
            assert dict(row) == pytest.approx(of_text, rel=1e-3)
            assert row[0][0] == max(of_text, key=of_text.__getitem__)
    assert generator.rank(TEXTS) == [row[:5] for row in ranked]


def test_texts_are_normalised_as_in_training(generator: EmojiGenerator) -> None:
    assert generator.rank(["  PIZZA\t“pie” "]) == generator.rank(['pizza "pie"'])


@pytest.mark.parametrize(("call", "options"), [("rank", {}), ("generate", {"max_emoji": 1})])
def test_texts_of_like_length_share_a_batch_and_one_pass(
    generator: EmojiGenerator,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    options: dict[str, int],
) -> None:
    """What protects the speed: how many passes, how wide, and what is projected."""
    passes: list[tuple[int, ...]] = []
    projected: list[Tensor] = []
    forward = generator.model.transformer.forward

    def counted(*args: object, **options: object) -> object:
        passes.append(tuple(options["input_ids"].shape))  # type: ignore[attr-defined]
        assert options["use_cache"] is False
        return forward(*args, **options)

    def project(hidden_BD: Tensor, rows_VD: Tensor) -> Tensor:
        projected.append(rows_VD)
        return hidden_BD @ rows_VD.T

    monkeypatch.setattr(generator.model.transformer, "forward", counted)
    monkeypatch.setattr("emoji_gpt2.generation.generator.candidate_logits", project)
    texts = ["pizza " * 9, "pizza", "pizza " * 9, "pizza"]
    answers = getattr(generator, call)(texts, batch_size=2, **options)
    assert passes == [(2, 2), (2, 10)], "a token per word and <|emoji|>"
    for rows_VD in projected:
        assert len(rows_VD) == 1 + len(EMOJI)
        weight = generator.model.lm_head.weight
        assert rows_VD.untyped_storage().data_ptr() == weight.untyped_storage().data_ptr()
    best = [answer if call == "generate" else answer[0][0] for answer in answers]
    assert best == [generator.generate([text], max_emoji=1)[0] for text in texts], (
        "in the order of the texts"
    )


def test_emoji_tokens_that_do_not_follow_each_other(
    generator: EmojiGenerator, lent: GPT2LMHeadModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a GPT-2 to which somebody else had added tokens: the emoji are in another order."""
    ids = generator._candidate_ids
    swapped = ids.clone()
    swapped[[1, 2000]] = swapped[[2000, 1]]
    with torch.no_grad():
        weight = lent.lm_head.weight
        weight[swapped] = weight[ids].clone()
    monkeypatch.setattr(
        "emoji_gpt2.generation.generator.candidate_tokens", lambda _: swapped.tolist()
    )
    found = EmojiGenerator(lent, generator.tokenizer).rank(["pizza"], top_k=9)[0]
    wanted = generator.rank(["pizza"], top_k=9)[0]
    assert [e for e, _ in found] == [e for e, _ in wanted]
    assert [p for _, p in found] == pytest.approx([p for _, p in wanted], rel=1e-4)


# generate


@pytest.mark.parametrize("repeat", [False, True])
@pytest.mark.parametrize("max_emoji", [1, 2, 6])
def test_greedy_is_step_by_step_recomputation(
    generator: EmojiGenerator, plain: Plain, max_emoji: int, repeat: bool
) -> None:
    wanted = [plain.greedy(text, max_emoji, repeat) for text in TEXTS]
    for size in (2, 64):
        options = {"max_emoji": max_emoji, "repeat": repeat, "batch_size": size}
        assert generator.generate(TEXTS, **options) == wanted


def test_an_answer_holds_an_emoji_once_unless_asked_otherwise(generator: EmojiGenerator) -> None:
    options = {"max_emoji": 8, "temperature": 0.2, "top_k": 10, "seed": 0}

    def repeated(repeat: bool) -> int:
        answers = generator.generate(["pizza"] * 50, **options, repeat=repeat)
        split = [generator.table.split(answer) for answer in answers]
        assert max(map(len, split)) > 1
        return sum(len(set(answer)) < len(answer) for answer in split)

    assert repeated(False) == 0 < repeated(True)


class Scripted:
    """A sampler that takes given candidates, 0 is the end of text, and keeps what it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, steps: list[list[int]]) -> None:
        self.steps = iter(steps)
        self.asked: list[Tensor] = []
        monkeypatch.setattr("emoji_gpt2.generation.generator.Sampler", lambda *_: self)

    def __call__(self, logits_BV: Tensor) -> Tensor:
        self.asked.append(logits_BV)
        return torch.tensor(next(self.steps))


def test_a_row_that_ended_gets_no_more_emoji(
    generator: EmojiGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    Scripted(monkeypatch, [[1, 2, 3], [0, 5, 6], [7, 0, 8], [9, 9, 0], [9, 9, 9]])
    answers = generator.generate(["a", "b", "c"], max_emoji=5)
    assert answers == [EMOJI[0], EMOJI[1] + EMOJI[4], EMOJI[2] + EMOJI[5] + EMOJI[7]]


def test_an_answer_is_never_empty(generator: EmojiGenerator, lent: GPT2LMHeadModel) -> None:
    with torch.no_grad():  # the end of text scores above everything, whatever came before
        lent.transformer.ln_f.weight.zero_()
        lent.transformer.ln_f.bias.copy_(100 * lent.transformer.wte.weight[50256])
        lent.transformer.wte.weight[50256] *= 100
    ending = EmojiGenerator(lent, generator.tokenizer)
    for temperature in (0.0, 1.0):
        for answer in ending.generate(TEXTS, max_emoji=4, temperature=temperature):
            assert answer in EMOJI, "exactly one"


def test_answers_are_filled_up_with_the_best_other_first_emoji(
    generator: EmojiGenerator, plain: Plain
) -> None:
    """By hand: what the model gives until it ends, then its ranking without what is there."""
    table, short = generator.table, 0
    wanted = []
    for text in TEXTS:
        answer = table.split(plain.greedy(text, 5))
        short += len(answer) < 4
        for number in plain.logits(text)[1:].argsort(descending=True).tolist():
            if len(answer) < 4 and table.base(EMOJI[number]) not in map(table.base, answer):
                answer.append(EMOJI[number])
        wanted.append("".join(answer))
    assert short
    for size in (1, 64):
        found = generator.generate(TEXTS, max_emoji=5, min_emoji=4, batch_size=size)
        assert found == wanted
    alone = generator.generate(["pizza"], max_emoji=5, min_emoji=4)
    assert alone == wanted[:1], "whatever else is in the batch"


def test_only_answers_that_are_too_short_are_filled_up(
    generator: EmojiGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand, toned, smile = (EMOJI.index(one) + 1 for one in ("👍", "👍🏽", "😀"))
    grown = [[hand, 5, 6], [0, 7, 0], [9, 8, 9], [9, 0, 9]]  # 1, 3 and 1 emoji
    scripted = Scripted(monkeypatch, [*grown, [smile, 9, 10], [12, 9, 11]])
    answers = generator.generate(["a", "b", "c"], max_emoji=4, min_emoji=3)
    wanted = [[hand, smile, 12], [5, 7, 8], [6, 10, 11]]
    assert answers == ["".join(EMOJI[n - 1] for n in numbers) for numbers in wanted]
    for there, logits_BV in zip(("👍", "👍😀"), scripted.asked[4:], strict=True):
        gone = logits_BV[0].isneginf().nonzero().flatten().tolist()
        assert toned in gone, "another tone is no other emoji"
        assert gone == [0, *(n + 1 for n, e in enumerate(EMOJI) if TABLE.base(e) in there)]


def test_sampled_answers_are_filled_up_too(generator: EmojiGenerator) -> None:
    options = {"max_emoji": 3, "min_emoji": 3, "temperature": 1.0}
    for repeat in (False, True):
        answers = generator.generate(["pizza"] * 40, **options, repeat=repeat, seed=0)
        assert {len(generator.table.split(answer)) for answer in answers} == {3}
        assert len({*answers}) > 30


def test_a_seed_makes_sampling_repeatable(generator: EmojiGenerator) -> None:
    def sample(seed: int | None) -> list[str]:
        return generator.generate(TEXTS, max_emoji=4, temperature=1.0, seed=seed)

    torch.manual_seed(0)
    first, other = sample(7), sample(8)
    torch.manual_seed(1)
    assert sample(7) == first != other
    assert sample(None) != sample(None)
    state = torch.get_rng_state()
    sample(7)
    assert torch.equal(torch.get_rng_state(), state), "the caller's random state is left alone"


def test_top_k_and_top_p_narrow_the_choice(generator: EmojiGenerator) -> None:
    many = ["pizza"] * 300
    likely = [emoji for emoji, _ in generator.rank(["pizza"], top_k=4)[0]]
    options = {"temperature": 1.0, "max_emoji": 1, "seed": 0}
    sampled = generator.generate(many, top_k=4, **options)
    assert {*sampled} == {*likely}
    assert len({*generator.generate(many, **options)}) > 50
    assert {*generator.generate(many, top_p=1e-6, **options)} == {likely[0]}
    some = generator.rank(["pizza"], top_k=len(EMOJI))[0]
    total, nucleus = 0.0, set()
    for emoji, probability in some:  # the smallest set with at least this probability
        if total >= 0.01:
            break
        nucleus.add(emoji)
        total += probability
    assert {*generator.generate(many, top_p=0.01, **options)} <= nucleus


def test_sampled_frequencies_are_the_ranked_probabilities(generator: EmojiGenerator) -> None:
    """A chi-square over the 8 likeliest of a peaked distribution."""
    n = 4000
    top = generator.rank(["pizza"], top_k=8)[0]
    weights = torch.tensor([p for _, p in top]).log().div(0.25).softmax(0)
    sampled = generator.generate(
        ["pizza"] * n, max_emoji=1, temperature=0.25, top_k=8, seed=0, batch_size=1000
    )
    counts = torch.tensor([float(sampled.count(emoji)) for emoji, _ in top])
    assert counts.sum() == n
    chi_square = ((counts - n * weights) ** 2 / (n * weights)).sum()
    assert chi_square < 24.3  # the 99.9 % point with 7 degrees of freedom


def test_skin_tone(generator: EmojiGenerator, monkeypatch: pytest.MonkeyPatch) -> None:
    wave, thumb, smile = (EMOJI.index(one) + 1 for one in ("👋", "👍", "😀"))
    Scripted(monkeypatch, [[wave, smile], [thumb, wave]])
    answers = generator.generate(["a", "b"], max_emoji=2, skin_tone="medium-dark")
    assert answers == ["👋🏾👍🏾", "😀👋🏾"]


@pytest.mark.parametrize("max_emoji", [1, 5])
def test_in_a_skin_tone_all_tones_of_an_emoji_are_one(
    generator: EmojiGenerator, plain: Plain, max_emoji: int
) -> None:
    wanted = [plain.greedy_in_tone(text, max_emoji, "dark") for text in TEXTS]
    assert generator.generate(TEXTS, max_emoji=max_emoji, skin_tone="dark") == wanted


# Somebody else's model


CALLS: dict[str, Callable[[EmojiGenerator], object]] = {
    "rank": lambda generator: generator.rank(TEXTS),
    "generate": lambda generator: generator.generate(TEXTS, max_emoji=3),
    "log_probabilities": lambda generator: [
        scores_BV.tolist() for scores_BV in generator.log_probabilities(TEXTS)
    ],
}


@pytest.fixture
def lent(trained_run: Path) -> GPT2LMHeadModel:
    """A model in training, one block of which is frozen and in eval mode."""
    model = GPT2LMHeadModel.from_pretrained(trained_run / "model").train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    model.transformer.h[0].attn.eval()
    return model


@pytest.mark.parametrize("call", CALLS)
def test_a_model_in_training_answers_without_dropout_and_trains_on(
    generator: EmojiGenerator, lent: GPT2LMHeadModel, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    before = {name: module.training for name, module in lent.named_modules()}
    assert {*before.values()} == {True, False}
    borrower = EmojiGenerator(lent, generator.tokenizer)
    assert CALLS[call](borrower) == CALLS[call](generator)
    assert {name: module.training for name, module in lent.named_modules()} == before

    def interrupted(*args: object, **options: object) -> None:
        assert not lent.transformer.training
        raise KeyboardInterrupt

    monkeypatch.setattr(lent.transformer.ln_f, "forward", interrupted)
    with pytest.raises(KeyboardInterrupt):
        CALLS[call](borrower)
    assert {name: module.training for name, module in lent.named_modules()} == before


def test_what_a_model_has_learnt_meanwhile_is_seen(
    generator: EmojiGenerator, lent: GPT2LMHeadModel
) -> None:
    borrower = EmojiGenerator(lent, generator.tokenizer)
    ((best, _), (other, _)) = borrower.rank(["pizza"], top_k=2)[0]
    ids = generator.tokenizer.convert_tokens_to_ids([best, other])
    with torch.no_grad():
        weight = lent.transformer.wte.weight
        weight[ids] = weight[ids[::-1]].clone()
    assert borrower.generate(["pizza"], max_emoji=1) == [other]


def test_a_model_stays_where_it_is_and_a_copy_computes_elsewhere(
    generator: EmojiGenerator, lent: GPT2LMHeadModel
) -> None:
    assert EmojiGenerator(lent, generator.tokenizer, "cpu").model is lent
    elsewhere = EmojiGenerator(lent, generator.tokenizer, "meta")
    assert elsewhere.device.type == "meta"
    assert {tensor.device.type for tensor in lent.state_dict().values()} == {"cpu"}
    copied = elsewhere.model
    assert {tensor.device.type for tensor in copied.state_dict().values()} == {"meta"}


@pytest.mark.parametrize("call", CALLS)
def test_a_model_that_was_moved_computes_where_it_is_now(
    generator: EmojiGenerator, lent: GPT2LMHeadModel, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    class AskedError(Exception):
        pass

    def asked(**inputs: object) -> None:
        found = [one.device.type for one in inputs.values() if isinstance(one, Tensor)]
        assert {*found} == {"meta"}
        raise AskedError

    borrower = EmojiGenerator(lent, generator.tokenizer)
    CALLS[call](borrower)
    lent.to("meta")  # type: ignore[arg-type]
    monkeypatch.setattr("emoji_gpt2.generation.generator.Sampler", lambda _, device: device.type)
    monkeypatch.setattr(lent.transformer, "forward", asked)
    with pytest.raises(AskedError):
        CALLS[call](borrower)


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_a_loaded_model_goes_to_the_fastest_device(
    trained_run: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: device == "cuda")
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    tried: list[str] = []
    monkeypatch.setattr(
        "emoji_gpt2.generation.generator.on_device", lambda model, name: tried.append(name) or model
    )
    EmojiGenerator.from_pretrained(trained_run / "model")
    assert tried == [device]


# Where a model comes from


def test_folder_run_folder_and_checkpoint_are_one_model(
    generator: EmojiGenerator, trained_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(trained_run.parent))
    (best,) = trained_run.glob("best-*.ckpt")
    for name in (trained_run, str(best), f"~/{trained_run.name}"):
        found = EmojiGenerator.from_pretrained(name, device="cpu").rank(TEXTS)
        assert found == generator.rank(TEXTS), name


def test_hub_id(hub: HubServer, generator: EmojiGenerator, trained_run: Path) -> None:
    hub.add_repo("tester/emoji", trained_run / "model")
    loaded = EmojiGenerator.from_pretrained("tester/emoji", device="cpu")
    assert loaded.rank(TEXTS) == generator.rank(TEXTS)
    assert hub.count("GET", "/tester/emoji/resolve/") > 0
    with pytest.raises(UserError, match="model: got 'tester/nothing'"):
        EmojiGenerator.from_pretrained("tester/nothing")


# Texts that are none, and others that nobody expects


@pytest.mark.parametrize("text", ["", "   ", "\t\n", "\x00\x01\x7f", "\ud83d", "fine \udc80"])
def test_a_text_that_is_none(generator: EmojiGenerator, text: str) -> None:
    for call in (generator.rank, generator.generate):
        with pytest.raises(UserError, match="text 2: got") as caught:
            call(["fine", text])
        str(caught.value).encode()  # it can be printed


def test_no_texts_and_one_without_a_list(generator: EmojiGenerator) -> None:
    for call in (generator.rank, generator.generate):
        assert call([]) == []
        with pytest.raises(UserError, match="brackets"):
            call("pizza")


def test_ten_thousand_words_are_cut_and_said(
    generator: EmojiGenerator, plain: Plain, caplog: pytest.LogCaptureFixture
) -> None:
    words = " ".join(["pizza"] * 10_000)
    with caplog.at_level(logging.WARNING):
        ((best, *_),) = generator.rank([words], top_k=1)
        (answer,) = generator.generate([words], max_emoji=3)
    assert caplog.text.count("only the first") == 2
    ids = plain.tokenizer.encode(words).ids
    prompt = [*ids[:1023], ids[-1]]  # 1,024 positions, the last of them for <|emoji|>
    with torch.inference_mode():
        logits = plain.model(torch.tensor([prompt])).logits[0, -1, plain.emoji_ids]
    assert best == (EMOJI[int(logits.argmax())], pytest.approx(float(logits.softmax(0).max())))
    assert answer


@settings(max_examples=40)
@given(text=st.text(st.characters(codec="utf-8"), max_size=30))
@example("🍕")
@example("👍🏽👨‍👩‍👧")
@example("\u200dx")
@example("<|endoftext|>")
@example("<|emoji|>")
@example("a" * 5000)
def test_any_text_is_answered_or_refused(generator: EmojiGenerator, text: str) -> None:
    try:
        (answer,) = generator.generate([text], max_emoji=1)
    except UserError:
        assert not any(c.isalnum() for c in text), "it holds words"
    else:
        ((best, _), *_) = generator.rank([text])[0]
        assert answer == best in EMOJI


OUT_OF_RANGE: list[dict[str, object]] = [  # the last is the one
    {"max_emoji": 0},
    {"max_emoji": 5000},
    {"min_emoji": 0},
    {"max_emoji": 2, "min_emoji": 3},
    {"temperature": -1.0},
    {"temperature": float("nan")},
    {"temperature": 1.0, "top_p": 0.0},
    {"temperature": 1.0, "top_p": 1.5},
    {"temperature": 1.0, "top_k": 0},
    {"skin_tone": "purple"},
    {"batch_size": 0},
]


def test_options_out_of_range(generator: EmojiGenerator) -> None:
    for options in OUT_OF_RANGE:
        with pytest.raises(UserError, match=f"{[*options][-1]}: got"):
            generator.generate(["pizza"], **options)  # type: ignore[arg-type]
    for top_k in (0, -1, len(EMOJI) + 1):
        with pytest.raises(UserError, match="top_k: got"):
            generator.rank(["pizza"], top_k=top_k)


def test_options_without_effect_are_named(
    generator: EmojiGenerator, caplog: pytest.LogCaptureFixture
) -> None:
    generator.generate(["pizza"], temperature=1.0, top_p=0.5, top_k=3, seed=0)
    generator.generate(["pizza"], max_emoji=2, repeat=True)
    assert not caplog.records
    generator.generate(["pizza"], top_p=0.5, top_k=3, seed=0)
    generator.generate(["pizza"], max_emoji=1, repeat=True)
    first, second = caplog.messages
    assert "--top_k 3, --top_p 0.5, --seed 0: no effect" in first
    assert "--repeat: no effect" in second


# generate_emoji


def test_generate_emoji(generator: EmojiGenerator, trained_run: Path) -> None:
    path = str(trained_run)
    for options in ({}, {"max_emoji": 3}, {"max_emoji": 3, "min_emoji": 3}):
        assert generate_emoji("pizza", path, **options) == generator.generate(
            ["pizza"], **options
        )[0]  # fmt: skip
    with pytest.raises(UserError, match="text 1"):
        generate_emoji(" ", path)


@pytest.mark.parametrize("name", ["run", "one.ckpt"])
def test_generate_emoji_loads_once_and_again_when_the_model_changed(
    generator: EmojiGenerator,
    trained_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    loads: list[str] = []
    load = EmojiGenerator.from_pretrained
    monkeypatch.setattr(
        EmojiGenerator, "from_pretrained", lambda name: loads.append(name) or load(name)
    )
    folder = shutil.copytree(trained_run / "model", tmp_path / "run" / "model")
    shutil.copy(trained_run / "last.ckpt", tmp_path / "one.ckpt")
    path = str(tmp_path / name)
    before = generate_emoji("pizza", path, max_emoji=1)
    assert generate_emoji("pizza", path, max_emoji=1) == before
    assert loads == [path]
    ids = generator.tokenizer.convert_tokens_to_ids([before, "🧀"])
    model = GPT2LMHeadModel.from_pretrained(folder)
    content = torch.load(tmp_path / "one.ckpt", weights_only=True)
    with torch.no_grad():  # another emoji now has the embedding of the best
        for weight in (
            model.transformer.wte.weight,
            content["state_dict"]["model.transformer.wte.weight"],
        ):
            weight[ids] = weight[ids[::-1]].clone()
    model.save_pretrained(folder)
    torch.save(content, tmp_path / "one.ckpt")
    assert generate_emoji("pizza", path, max_emoji=1) == "🧀"
    assert loads == [path] * 2
