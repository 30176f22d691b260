"""Evaluation: its numbers against plain loops, and the real command line.

References score text by text over Python lists, with none of the package's scoring code.
"""

# ruff: noqa: F811 -- a fixture that is imported has the name of the parameter that asks for it

import json
import math
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emoji_gpt2 import EmojiGenerator, evaluate
from emoji_gpt2.data.examples import Example
from emoji_gpt2.emoji.table import EmojiTable
from emoji_gpt2.errors import UserError
from emoji_gpt2.evaluation.command import main
from emoji_gpt2.evaluation.measure import Side
from emoji_gpt2.evaluation.rankers import SemanticRanker
from emoji_gpt2.evaluation.references import merged, read_references
from emoji_gpt2.evaluation.report import Evaluation
from emoji_gpt2.evaluation.scores import (
    answer_ranks,
    bootstrap,
    calibration_error,
    macro_f1,
    mean,
    set_scores,
)
from tests.cli_runs import UPSTREAM, trained_run  # noqa: F401 -- a fixture
from tests.distributed.forked import Forked

pytestmark = UPSTREAM

TABLE = EmojiTable.builtin()
EMOJI = list(TABLE)
PAIRS = [
    ("Thing number 3", "😀"),
    ("thing  number 3", "🍕😀"),
    ("waving hand", "👋🏽"),
    ("grinning face", "😀😃"),
    ("I love pizza", "🍕❤"),
    ("something else", "👍👍🏿 so"),
]


@pytest.fixture(scope="module")
def generator(trained_run: Path) -> EmojiGenerator:
    return EmojiGenerator.from_pretrained(trained_run / "model", device="cpu")


@pytest.fixture(scope="module")
def evaluation(generator: EmojiGenerator) -> Evaluation:
    return evaluate(generator, PAIRS, max_emoji=3, batch_size=2, resamples=50)


# The whole, against a plain loop


@pytest.mark.parametrize("tones", [True, False])
def test_the_scores_are_those_of_a_plain_loop(
    generator: EmojiGenerator, evaluation: Evaluation, tones: bool
) -> None:
    wanted = {
        "thing number 3": [["😀"], ["🍕", "😀"]],
        "waving hand": [["👋🏽"]],
        "grinning face": [["😀", "😃"]],
        "i love pizza": [["🍕", "❤️"]],
        "something else": [["👍", "👍🏿"]],
    }

    def plain(emoji: str) -> str:
        return emoji if tones else TABLE.base(emoji)

    ranks, nats = [], []
    for text, answers in wanted.items():
        share: dict[str, float] = {}
        for emoji, p in generator.rank([text], top_k=len(EMOJI))[0]:
            share[plain(emoji)] = share.get(plain(emoji), 0.0) + p
        order = sorted(share, key=share.__getitem__, reverse=True)
        right = [plain(e) for answer in answers for e in answer]
        ranks.append(1 + min(order.index(e) for e in right))
        nats += [-math.log(share[e]) for e in right]
    system = evaluation.systems["model"]
    found = {n: e.value for n, e in (system.exact if tones else system.untoned).items()}
    for k in (1, 5, 10):
        assert found[f"hit_at_{k}"] == pytest.approx(np.mean([rank <= k for rank in ranks]))
    assert found["mrr"] == pytest.approx(np.mean([1 / rank for rank in ranks]))
    assert found["nats_per_emoji"] == pytest.approx(np.mean(nats), rel=1e-4)
    assert "macro_f1" not in found, "rows have several emoji"


def test_the_notes_say_what_was_read(evaluation: Evaluation) -> None:
    assert evaluation.texts == 5
    assert "6 rows read, 5 distinct texts with 6 answers" in evaluation.notes[0]
    assert "4 of 6 rows have several" in evaluation.notes[1]
    assert "no --train_data is given" in evaluation.systems["most frequent"].note


def test_candidates_renormalise(generator: EmojiGenerator) -> None:
    rows = [("pizza", "🍕"), ("grinning face", "😀"), ("red heart", "❤"), ("a cat", "🐈")]
    found = evaluate(generator, rows, candidates="😀🍕❤", resamples=0)
    assert found.candidates == ["😀", "❤️", "🍕"]
    assert "1 no emoji among the candidates" in found.notes[0]
    nats = 0.0
    for text, emoji in (("pizza", "🍕"), ("grinning face", "😀"), ("red heart", "❤️")):
        share = dict(generator.rank([text], len(EMOJI))[0])
        nats -= math.log(share[emoji] / sum(share[e] for e in ("😀", "🍕", "❤️"))) / 3
    assert found.metrics["nats_per_emoji"] == pytest.approx(nats, rel=1e-4)
    assert found.metrics["hit_at_5"] == 1
    assert found.max_emoji is None


def test_candidates_may_be_the_emoji_of_a_file_of_labels(
    generator: EmojiGenerator, tmp_path: Path
) -> None:
    labels = tmp_path / "mapping.txt"
    labels.write_text("0\t😀\t_grinning_\t\n1\t🍕\t_pizza_\t\n", encoding="utf-8")
    found = evaluate(generator, [("pizza", "🍕")], candidates=str(labels), resamples=0)
    assert found.candidates == ["😀", "🍕"]


@pytest.mark.parametrize(("candidates", "tones"), [("😀🍕❤", 0), (None, 1)])
def test_scores_without_tones_are_shown_where_they_differ(
    generator: EmojiGenerator, candidates: str | None, tones: int
) -> None:
    rows = [("waving hand: dark skin tone 😀", "😀"), ("waving hand", "👋🏽😀")]
    shown = evaluate(generator, rows, candidates=candidates, resamples=0).to_markdown()
    assert shown.count("| hit@1 ") == 1
    assert shown.count("| hit@1, tones aside ") == tones
    assert "| exact match, tones aside " not in shown, "it is the same"
    assert shown.count('\n- Skin tones: scores without a row "tones aside" are the same ') == 1


def test_a_text_with_two_labels_leaves_accuracy_and_macro_f1_over_rows(
    generator: EmojiGenerator,
) -> None:
    texts = ["pizza", "Pizza", "red heart", "grinning face", "a smile", "pizza", "love"]
    labels = ["🍕", "😀", "❤️", "😀", "😀", "🍕", "❤️"]
    rows = list(zip(texts, labels, strict=True))
    found = evaluate(generator, rows, candidates="😀🍕❤", resamples=20)
    assert (found.texts, found.rows, found.single_label) == (5, 7, True)
    assert "Accuracy and macro-F1 are over 7 rows, one emoji each" in found.notes
    guessed = []
    for text in texts:
        share = dict(generator.rank([text.lower()], len(EMOJI))[0])
        guessed.append(max("😀", "🍕", "❤️", key=share.__getitem__))
    hits = sum(map(str.__eq__, labels, guessed))
    assert found.metrics["accuracy"] == pytest.approx(hits / 7)
    number = ["😀", "🍕", "❤️"].index
    wanted = plain_macro_f1([*map(number, labels)], [*map(number, guessed)])
    assert found.metrics["macro_f1"] == pytest.approx(wanted)


def test_training_data_says_what_is_frequent_and_what_was_seen(generator: EmojiGenerator) -> None:
    training = [("a", "🍕"), ("b", "🍕"), ("i love PIZZA", "😀")]
    found = evaluate(generator, PAIRS, train_data=training, max_emoji=1, resamples=0)
    assert "1 of the evaluated texts are in the training data, too" in found.notes
    frequent = found.systems["most frequent"]
    assert frequent.note == "counted in the training data"
    assert frequent.exact["hit_at_1"].value == pytest.approx(2 / 5)
    # 🍕 counts 2 of 3 rows, 😀 1, and each of the 3,944 emoji one more
    shares = {"🍕": 3, "😀": 2}
    right = ["😀", "🍕", "😀", "👋🏽", "😀", "😃", "🍕", "❤️", "👍", "👍🏿"]
    nats = -sum(math.log(shares.get(e, 1) / (3 + len(EMOJI))) for e in right) / len(right)
    assert frequent.exact["nats_per_emoji"].value == pytest.approx(nats, abs=1e-5)


class Embedder:
    """Stands for a sentence-transformers model: one dimension per letter."""

    def __init__(self, name: str) -> None:
        if name == "broken":
            raise OSError("no such\nmodel")

    def encode(self, texts: list[str], **options: object) -> np.ndarray:
        counts = np.array([[1 + text.count(c) for c in "abcdefghijklmnop"] for text in texts])
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)


def test_semantic_search(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("sentence_transformers")
    module.SentenceTransformer = Embedder  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)
    ranker = SemanticRanker(TABLE, "some/model")
    (scores_BV,) = ranker.batches(["pizza", "a cat"])
    assert scores_BV.shape == (2, len(EMOJI))
    assert scores_BV[0, EMOJI.index("👋🏽")] == -np.inf
    for text, scores_V in zip(["pizza", "a cat"], scores_BV, strict=True):
        for emoji in ("🍕", "🐈", "👋"):
            vectors = Embedder("").encode([TABLE.name(emoji), *TABLE.keywords(emoji)])
            mean, own = vectors.mean(0), Embedder("").encode([text])[0]
            assert scores_V[EMOJI.index(emoji)] == pytest.approx(mean @ own / math.hypot(*mean))
    with pytest.raises(UserError, match=r"semantic_model: got 'broken'.*no such model"):
        SemanticRanker(TABLE, "broken")
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(UserError, match="pip install sentence-transformers"):
        SemanticRanker(TABLE, "some/model")


# Its parts

SCORES = st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0]), min_size=3, max_size=8)


@given(scores=SCORES, data=st.data())
def test_ties_count_against_a_ranking(scores: list[float], data: st.DataObject) -> None:
    right = sorted(data.draw(st.sets(st.integers(0, len(scores) - 1), min_size=1)))
    ranks = answer_ranks(np.array([scores]), np.zeros(len(right), int), np.array(right))
    best = max(scores[i] for i in right)
    assert ranks.best_B.tolist() == [
        1 + sum(s >= best for i, s in enumerate(scores) if i not in right)
    ]
    top = [i for i, s in enumerate(scores) if s == max(scores)]
    assert ranks.guess_B.tolist() == [top[0] if len(top) == 1 else -1]


def plain_macro_f1(right: list[int], guessed: list[int]) -> float:
    """scikit-learn's f1_score with labels=unique(right) and average="macro", by hand."""
    f1 = []
    for label in set(right):
        hits = sum(r == g == label for r, g in zip(right, guessed, strict=True))
        f1.append(2 * hits / (right.count(label) + guessed.count(label)))
    return sum(f1) / len(f1)


ROW_LABELS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=1, max_size=30)
FOUR = {"min_size": 4, "max_size": 4}


@given(
    rows=ROW_LABELS,
    predicted=st.lists(st.integers(-1, 5), **FOUR),
    times=st.lists(st.integers(1, 2), **FOUR),
)
def test_macro_f1_is_the_mean_over_the_labels_of_the_rows(
    rows: list[tuple[int, int]], predicted: list[int], times: list[int]
) -> None:
    found = macro_f1(*map(np.array, zip(*rows, strict=True)), np.array(predicted))
    repeated = [row for row in rows for _ in range(times[row[0]])]
    wanted = plain_macro_f1(
        [label for _, label in repeated], [predicted[text] for text, _ in repeated]
    )
    assert found(np.array([times], float)) == pytest.approx([wanted])


@given(
    guesses=st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=30),
    bins=st.sampled_from([10, 15]),
)
def test_calibration_error_is_the_weighted_gap(
    guesses: list[tuple[float, bool]], bins: int
) -> None:
    confidence, hit = (np.array(column) for column in zip(*guesses, strict=True))
    by_bin: dict[int, list[tuple[float, bool]]] = {}
    for p, right in guesses:
        number = next((b for b in range(bins) if p * bins <= b + 1), bins - 1)
        by_bin.setdefault(number, []).append((p, right))
    gap = sum(abs(sum(p for p, _ in g) - sum(right for _, right in g)) for g in by_bin.values())
    assert calibration_error(confidence, hit, bins) == pytest.approx(gap / len(guesses))


@pytest.mark.parametrize(
    ("answer", "references", "wanted"),
    [
        ("🍕😋", ["🍕", "😋🍕"], (1, 1, 1)),
        ("🍕🍕😋", ["🍕"], (2 / 3, 1 / 2, 1)),
        ("🍕", ["😋🍕❤", "🐈"], (1 / 2, 1, 1 / 3)),
        ("", ["🍕"], (0, 0, 0)),
        ("🐈", ["🍕"], (0, 0, 0)),
    ],
)
def test_an_answer_is_compared_with_the_reference_that_fits_best(
    answer: str, references: list[str], wanted: tuple[float, float, float]
) -> None:
    assert set_scores(answer, references) == pytest.approx(wanted)


ROWS = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c"]), st.lists(st.sampled_from("🍕😀🐈"), max_size=3)),
    max_size=12,
)


@given(rows=ROWS, candidates=st.none() | st.sets(st.sampled_from("🍕😀🐈")))
def test_every_row_is_an_answer_of_its_text_or_counted_as_dropped(
    rows: list[tuple[str, list[str]]], candidates: set[str] | None
) -> None:
    references = merged([Example(text, tuple(emoji)) for text, emoji in rows], None, candidates)
    kept = [
        (text, tuple(e for e in emoji if candidates is None or e in candidates))
        for text, emoji in rows
    ]
    kept = [(text, emoji) for text, emoji in kept if emoji]
    assert references.texts == list(dict.fromkeys(text for text, _ in kept))
    for text, answers in zip(references.texts, references.answers, strict=True):
        assert answers == [emoji for other, emoji in kept if other == text]
    assert references.report.dropped.total() == len(rows) - len(kept)


def test_a_side_adds_probabilities_and_takes_the_best_score() -> None:
    table = EmojiTable(TABLE[e] for e in ("👋🏽", "😀", "🍕", "👋"))
    side = Side(merged([Example("wave", ("👋",))]), table, ["👋🏽", "🍕", "👋"], tones=False)
    assert side.emoji == ["👋", "🍕"]
    logs = np.log([[0.1, 0.4, 0.2, 0.3]])
    np.testing.assert_allclose(
        np.exp(side.scores(logs, log_probabilities=True)), [[0.4 / 0.6, 0.2 / 0.6]]
    )
    scores = np.array([[5.0, 9.0, 1.0, 7.0]])
    np.testing.assert_array_equal(side.scores(scores, log_probabilities=False), [[7.0, 1.0]])


def test_the_interval_is_that_of_the_normal_distribution_for_many_texts() -> None:
    values = np.arange(2_000) % 5 == 0
    one, again = (bootstrap({"x": mean(values)}, 2_000, 1_000, seed=3)["x"] for _ in range(2))
    half = 1.96 * math.sqrt(0.2 * 0.8 / 2_000)
    assert one == again
    assert one == pytest.approx((0.2, 0.2 - half, 0.2 + half), abs=0.003)
    weighted = mean(np.array([2.0, 3.0]), np.array([1, 4]))
    assert bootstrap({"x": weighted}, 2, 0)["x"].value == 1


# The command line


def test_the_real_command_line(trained_run: Path, tmp_path: Path) -> None:
    table = tmp_path / "rows.csv"
    table.write_text("sentence,label\npizza,🍕\nPizza,😋\nsmile,😀\nnothing,x\n", encoding="utf-8")
    out = tmp_path / "out"
    words = ["--model", trained_run, "--data", table, "--output_dir", out, "--device", "cpu"]
    words += ["--text_column", "sentence", "--emoji_column", "label", "--resamples", "20"]
    process = Forked(["emoji_gpt2.evaluate", *map(str, words)], tmp_path)
    said, errors = process.communicate()
    assert process.returncode == 0, errors
    assert "4 rows read, 2 distinct texts with 3 answers" in said
    assert "1 no emoji in the row" in said
    assert {"evaluation.json", "evaluation.md"} <= {path.name for path in out.iterdir()}
    record = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
    value, low, high = record["systems"]["lexical, sum"]["exact"]["hit_at_1"]
    assert low <= value == 0.5 <= high, "pizza is its name, and no name has 'smile' alone"
    assert "\n| hit@1 " in (out / "evaluation.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["--data", "FOLDER/no.csv"], "--data: got"),
        (["--data", "CSV", "--train_data", "FOLDER/no.csv"], "--train_data: got"),
        (["--data", "CSV", "--text_column", "nope"], "--text_column: got 'nope'"),
        (["--data", "CSV", "--candidates", "🍕 or 😀"], "--candidates: got '🍕 or 😀', wanted"),
        (["--data", "CSV", "--candidates", "🍕"], "--candidates: got '🍕', wanted at least two"),
        (["--data", "CSV", "--candidates", "no.txt"], "--candidates: got 'no.txt', wanted emoji"),
        (["--data", "CSV", "--candidates", "FOLDER/evaluation.md"], "--candidates: got"),
        (
            ["--data", "CSV", "--candidates", "🍕😀", "--max_emoji", "2"],
            "--max_emoji: got 2, wanted no --candidates beside it",
        ),
        (["--data", "CSV", "--max_emoji", "0"], "--max_emoji: got 0"),
        (["--data", "CSV", "--seed", "-1"], "--seed: got -1"),
        (["--data", "CSV", "--output_dir", "CSV/below"], "--output_dir: got"),
        (["--data", "CSV", "--output_dir", "FOLDER"], "--output_dir: got"),
        ([], "the following arguments are required: --data"),
    ],
)
def test_a_mistake_is_one_line(
    capsys: pytest.CaptureFixture[str],
    trained_run: Path,
    tmp_path: Path,
    small_csv: Path,
    words: list[str],
    wanted: str,
) -> None:
    (tmp_path / "evaluation.md").touch()
    given = [w.replace("CSV", str(small_csv)).replace("FOLDER", str(tmp_path)) for w in words]
    with pytest.raises(SystemExit) as caught:
        main(["--model", str(trained_run), *given])
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {wanted}")


def test_the_built_in_names(generator: EmojiGenerator, tmp_path: Path) -> None:
    found = evaluate(generator, "names", candidates="🍕😀", resamples=0)
    assert found.texts == 2
    assert "The lexical matchers know these names, and so the answers" in found.notes
    references = read_references("names", tmp_path)
    assert len(references.texts) == sum(not TABLE.tones(emoji) for emoji in TABLE)
    assert not references.with_several()
    with pytest.raises(UserError, match="data: got no usable row"):
        read_references([("a", "b")], tmp_path)
