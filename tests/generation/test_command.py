"""Ranking and generating on the command line."""

# ruff: noqa: F811 -- a fixture that is imported has the name of the parameter that asks for it

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from transformers import GPT2Model

from emoji_gpt2 import EmojiGenerator
from emoji_gpt2.generation import command as generate_cli
from tests.cli_runs import (
    ROOT,
    UPSTREAM,
    contents,
    read_csv,
    trained_run,  # noqa: F401 -- a fixture
)
from tests.generation.reference import (
    EMOJI,
    TABLE,
    TEXTS,
    Plain,
    generator,  # noqa: F401 -- a fixture
    plain,  # noqa: F401 -- a fixture
    summed,
)

pytestmark = UPSTREAM

load = cache(EmojiGenerator.from_pretrained)  # a model is read once for all command lines


class Answer(NamedTuple):
    """What a command line left behind."""

    status: int
    out: str
    err: str

    def error(self) -> str:
        """The only line of a user's mistake."""
        assert (self.status, self.out, self.err.count("\n")) == (2, "", 1), self
        assert self.err.startswith("error: ")
        return self.err


Generate = Callable[..., Answer]


@pytest.fixture
def command(
    trained_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Generate:
    """The command line, in this process."""
    monkeypatch.setattr(EmojiGenerator, "from_pretrained", load)

    def generate(*words: str | Path, model: str | Path = trained_run) -> Answer:
        capsys.readouterr()
        try:
            generate_cli.main([*map(str, words), "--model", str(model)])
            status = 0
        except SystemExit as error:
            status = int(error.code or 0)
        return Answer(status, *capsys.readouterr())

    return generate


def test_what_is_printed(command: Generate, generator: EmojiGenerator) -> None:
    """Of one text and of several: the ranking, or the answer."""

    def line(ranked: list[tuple[str, float]], between: str) -> list[str]:
        return [f"{emoji}{between}{p:.3f}" for emoji, p in ranked]

    rankings, answers = generator.rank(TEXTS, top_k=2), generator.generate(TEXTS)
    wanted = [f"{'  '.join(line(r, ' '))}\t{t}" for r, t in zip(rankings, TEXTS, strict=True)]
    assert command(*TEXTS, "--top_k", "2").out.splitlines() == wanted
    wanted = [f"{emoji}\t{text}" for emoji, text in zip(answers, TEXTS, strict=True)]
    assert command(*TEXTS).out.splitlines() == wanted
    answer = command("pizza", "--top_k", "3")
    assert answer.status == 0, answer.err
    assert answer.out.splitlines() == line(generator.rank(["pizza"], top_k=3)[0], "  ")
    words = ("--max_emoji", "3", "--temperature", "1", "--top_k", "9", "--seed", "5")
    sampled = generator.generate(TEXTS, max_emoji=3, temperature=1.0, top_k=9, seed=5)
    wanted = [f"{emoji}\t{text}" for emoji, text in zip(sampled, TEXTS, strict=True)]
    assert command(*TEXTS, *words).out.splitlines() == wanted
    answer = command("pizza", "--max_emoji", "4", "--min_emoji", "4")
    (filled,) = generator.generate(["pizza"], max_emoji=4, min_emoji=4)
    assert answer.out == f"{filled}\n", "one text needs no text beside it"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--top_p", "0.5", "--seed", "0"], "--top_p 0.5, --seed 0: no effect"),
        (["--repeat", "--max_emoji", "1"], "--repeat: no effect"),
        (["--max_emoji", "2", "--top_k", "3"], "--max_emoji, --min_emoji: no effect"),
        (["--output", "out.csv", "--top_k", "3"], "--top_k 3: no effect"),
        (["--max_emoji", "2", "--top_k", "3", "--json", "--repeat"], ""),
        (["--temperature", "1", "--top_p", "0.5", "--top_k", "3", "--seed", "0"], ""),
    ],
    ids=str,
)
def test_options_without_effect_are_named_on_standard_error(
    command: Generate,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = command("pizza", *words)
    assert answer.status == 0
    assert len(answer.err.splitlines()) == bool(said), answer.err
    assert said in answer.err


@pytest.mark.parametrize(
    ("words", "passes"),
    [(["--max_emoji", "2"], 2), (["--top_k", "5"], 1), (["--max_emoji", "2", "--json"], 2)],
    ids=str,
)
def test_ranking_and_answer_are_of_one_forward_pass(
    command: Generate, monkeypatch: pytest.MonkeyPatch, words: list[str], passes: int
) -> None:
    calls: list[int] = []
    forward = GPT2Model.forward

    def counted(*args: object, **options: object) -> object:
        calls.append(1)
        return forward(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(GPT2Model, "forward", counted)
    assert command(*TEXTS, *words).status == 0
    assert len(calls) == passes


def test_standard_input(command: Generate, monkeypatch: pytest.MonkeyPatch) -> None:
    def pipe(content: bytes) -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content), "utf-8"))

    pipe(b"pizza\r\n\n  \ncat")
    assert command().out == command("pizza", "cat").out
    pipe(b"pizza\ncat\n")
    seeded = ["--temperature", "1", "--seed", "0"]
    assert command(*seeded).out == command("pizza", "cat", *seeded).out
    for content in (b"", b"\n"):
        pipe(content)
        assert "texts: got none" in command().error()
    pipe(b"caf\xe9\n")
    assert "standard input: got" in command().error()


@pytest.mark.parametrize(
    "words",
    [[], ["--max_emoji", "1"], ["--top_k", "2", "--temperature", "1", "--seed", "0"]],
    ids=str,
)
def test_json(command: Generate, generator: EmojiGenerator, plain: Plain, words: list[str]) -> None:
    """One form for all; the probabilities are products of softmaxes of plain GPT-2's scores."""
    answer = command("--json", *TEXTS, *words)
    records = [json.loads(line) for line in answer.out.splitlines()]
    assert [record["text"] for record in records] == TEXTS
    n_ranked, most = (2, 4) if "--top_k" in words else (5, 1 if words else 4)
    if "--top_k" not in words:
        answers = generator.generate(TEXTS, max_emoji=most)
        assert [record["emoji"] for record in records] == answers
    for record, ranked in zip(records, generator.rank(TEXTS, n_ranked), strict=True):
        assert record.keys() == {"text", "emoji", "probability", "ranked"}
        assert [e for e, _ in record["ranked"]] == [e for e, _ in ranked]
        assert [p for _, p in record["ranked"]] == pytest.approx([p for _, p in ranked], rel=1e-3)
        wanted = plain.probability(record["text"], TABLE.split(record["emoji"]), most)
        assert record["probability"] == pytest.approx(wanted, rel=1e-3)
    assert records[0]["emoji"] in answer.out, "emoji are not escaped"


def test_tones_of_an_emoji_are_ranked_as_one(command: Generate, generator: EmojiGenerator) -> None:
    for top_k in ("5", str(len(EMOJI))):
        words = ("pizza", "--top_k", top_k, "--json", "--skin_tone", "dark")
        record = json.loads(command(*words).out)
        found = dict(record["ranked"])
        assert len(found) == len(record["ranked"]), "each once"
        assert TABLE.split(record["emoji"])[0] == next(iter(found))
        assert [*found.values()] == sorted(found.values(), reverse=True)
    plain = generator.rank(["pizza"], top_k=len(EMOJI))[0]
    wanted = summed(plain, lambda emoji: TABLE.with_tone(emoji, "dark"))
    assert found == pytest.approx(wanted, abs=2e-6)


def test_a_table_becomes_a_table(
    command: Generate, generator: EmojiGenerator, tmp_path: Path
) -> None:
    texts = ["pizza", "", "so, “happy”", "   ", "cat", "two\nlines"]
    table = tmp_path / "texts.csv"
    rows = ['"' + text + '"' for text in texts]
    table.write_text("\n".join(["description", *rows]) + "\n", encoding="utf-8")
    out = tmp_path / "out.csv"
    answer = command("--input", table, "--output", out, "--batch_size", "2", "--max_emoji", "1")
    assert answer.status == 0, answer.err
    assert "6 texts" in answer.out
    assert "2 empty" in answer.out
    found = read_csv(out)
    assert [row["text"] for row in found] == texts
    for row in found:
        if row["text"].strip():
            ((emoji, probability),) = generator.rank([row["text"]], top_k=1)[0]
            assert row["emoji"] == emoji
            assert float(row["probability"]) == pytest.approx(probability, rel=1e-3)
        else:
            assert (row["emoji"], row["probability"]) == ("", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.csv", "texts.csv"]


def test_a_table_keeps_its_texts_as_they_are(
    command: Generate, generator: EmojiGenerator, tmp_path: Path
) -> None:
    given = {
        "pizza &amp; cat": "pizza & cat",
        "white_cat": "white cat",
        "itâ€™s pizza": "it's pizza",
    }
    table, out = tmp_path / "texts.csv", tmp_path / "out.csv"
    table.write_text("\n".join(["text", *given]) + "\n", encoding="utf-8")
    command("--input", table, "--output", out)
    rows = read_csv(out)
    assert [row["text"] for row in rows] == list(given)
    assert [row["emoji"] for row in rows] == generator.generate(list(given.values()))


@pytest.mark.parametrize("tone", [None, "dark"])
def test_the_probability_in_a_table_is_of_the_emoji_beside_it(
    command: Generate, generator: EmojiGenerator, tmp_path: Path, tone: str | None
) -> None:
    words = ["--skin_tone", tone] if tone else []
    sampling = ["--temperature", "2", "--seed", "1", "--max_emoji", "1"]
    command(*["pizza"] * 50, *sampling, *words, "--output", tmp_path / "out.csv")
    rows = read_csv(tmp_path / "out.csv")
    ranked = generator.rank(["pizza"], top_k=len(EMOJI))[0]
    probability = summed(ranked, lambda emoji: TABLE.with_tone(emoji, tone) if tone else emoji)
    assert len({row["emoji"] for row in rows}) > 30
    for row in rows:
        assert float(row["probability"]) == pytest.approx(probability[row["emoji"]], rel=1e-3)


def test_each_part_of_a_table_draws_other_random_numbers(command: Generate, tmp_path: Path) -> None:
    words = ["--temperature", "2", "--seed", "1", "--batch_size", "2"]
    command(*["pizza"] * 64, *words, "--output", tmp_path / "out.csv")
    emoji = [row["emoji"] for row in read_csv(tmp_path / "out.csv")]
    assert emoji[:32] != emoji[32:]


@pytest.mark.parametrize("words", [[], ["--json"]], ids=str)
def test_texts_without_words_are_printed_and_counted(
    command: Generate, tmp_path: Path, words: list[str]
) -> None:
    table = tmp_path / "texts.csv"
    table.write_text('description\npizza\n""\n"  "\ncat\n', encoding="utf-8")
    answer = command("--input", table, *words)
    assert answer.status == 0, answer.err
    assert answer.err.splitlines() == [
        "texts.csv: one a line, utf-8; texts: 'description'; such as pizza | cat",
        "4 texts, 2 empty",
    ]
    lines = answer.out.splitlines()
    assert [lines[0], lines[3]] == command("pizza", "cat", *words).out.splitlines()
    if words:
        assert json.loads(lines[2]) == {
            "text": "  ", "emoji": "", "probability": None, "ranked": [],
        }  # fmt: skip
    else:
        assert lines[1:3] == ["\t", "\t  "]


@pytest.mark.parametrize(
    "words", [["pizza"], ["pizza", "--json"], ["pizza", "--skin_tone", "🍕"]], ids=str
)
def test_a_console_without_emoji(
    command: Generate,
    generator: EmojiGenerator,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
) -> None:
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="cp1252") for _ in range(2))
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr("sys.stderr", err)
    assert command(*words).status == (2 if "🍕" in words else 0)
    err.flush()
    out.flush()
    printed = out.buffer.getvalue().decode("cp1252")
    ((best, _),) = generator.rank(["pizza"], top_k=1)[0]
    if "--json" in words:
        assert json.loads(printed)["ranked"][0][0] == best
    elif "🍕" in words:
        assert b"\\U0001f355" in err.buffer.getvalue()
    else:
        assert printed.startswith(best.encode("ascii", "backslashreplace").decode())


def test_a_column_by_name(command: Generate, tmp_path: Path) -> None:
    table = tmp_path / "texts.csv"
    table.write_text("text,other\npizza,cat\n", encoding="utf-8")
    assert command("--input", table, "--text_column", "other").out.endswith("\tcat\n")
    assert "nothing" in command("--input", table, "--text_column", "nothing").error()


def test_an_output_that_exists(command: Generate, tmp_path: Path) -> None:
    (tmp_path / "out.csv").write_text("mine", encoding="utf-8")
    assert "which exists" in command("pizza", "--output", tmp_path / "out.csv").error()
    assert contents(tmp_path) == {"out.csv": b"mine"}


def test_a_failure_leaves_no_half_written_output(
    command: Generate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(EmojiGenerator, "answer", fail)
    assert "No space" in command("pizza", "--output", tmp_path / "out.csv").error()
    assert not list(tmp_path.iterdir())


MISTAKES: dict[str, tuple[list[str], str]] = {
    "an abbreviation": (["pizza", "--max", "3"], "--max"),
    "an unknown flag": (["pizza", "--emoji", "3"], "--emoji"),
    "a wrong type": (["pizza", "--top_k", "many"], "--top_k"),
    "more than at most": (
        ["pizza", "--min_emoji", "5"],
        "--min_emoji: got 5, wanted 1 to --max_emoji",
    ),
    "a wrong tone": (["pizza", "--skin_tone", "purple"], "--skin_tone"),
    "no top_k": (["pizza", "--top_k", "0"], "--top_k: got 0"),
    "no batch": (["pizza", "--batch_size", "0"], "--batch_size: got 0"),
    "a cold temperature": (["pizza", "--temperature", "-1"], "--temperature: got -1"),
    "no text with words": ([" ", "\t"], "texts: got 2, wanted at least one with words"),
    "two kinds of texts": (["pizza", "--input", "x.csv"], "--input"),
    "a missing table": (["--input", "nowhere.csv"], "nowhere.csv"),
    "a missing folder": (["pizza", "--output", "nowhere/out.csv"], "nowhere"),
    "a device that is none": (["pizza", "--device", "bogus"], "bogus"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_status_2(command: Generate, mistake: str) -> None:
    words, said = MISTAKES[mistake]
    assert said in command(*words).error()


def test_a_bad_model(command: Generate, tiny_gpt2: Path, tmp_path: Path) -> None:
    assert "without emoji tokens" in command("pizza", model=tiny_gpt2).error()
    (tmp_path / "nowhere").mkdir()
    for name in ("nowhere", "./nowhere", "~/nowhere/model", "nowhere.ckpt", tmp_path / "nowhere"):
        error = command("pizza", model=name).error()
        assert re.match(r"error: --model: got .*nowhere", error), name
    (tmp_path / "bad.ckpt").write_bytes(b"PK\x03\x04")
    assert "bad.ckpt" in command("pizza", model=tmp_path / "bad.ckpt").error()


def test_what_takes_long_has_a_progress_bar_on_a_terminal(
    command: Generate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = EmojiGenerator.answer

    def slow(*args: object) -> object:
        time.sleep(1.1)
        return answer(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(EmojiGenerator, "answer", slow)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    done = command("pizza", "cat", "--output", tmp_path / "out.csv")
    assert "2/2" in done.err
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert not command("pizza", "cat").err, "answers on the terminal are progress enough"


@pytest.mark.parametrize("end", ["", "  ", "exit", None])
def test_a_prompt_on_a_terminal(
    command: Generate,
    generator: EmojiGenerator,
    monkeypatch: pytest.MonkeyPatch,
    end: str | None,
) -> None:
    typed = iter(["pizza", "cat", end, "not read"])

    def type_a_line(_: str) -> str:
        line = next(typed)
        if line is None:
            raise EOFError
        return line

    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", type_a_line)
    answer = command()
    assert answer.status == 0
    assert answer.out.split() == generator.generate(["pizza", "cat"])
    assert "exit or Ctrl-D ends" in answer.err
    assert next(typed) == "not read"


def process(run: Path, *before: str, **variables: str) -> "subprocess.Popen[bytes]":
    """The command line in a process of its own, started by the words ``before``."""
    command = [*before, sys.executable, "-m", "emoji_gpt2.generate", "--model", str(run)]
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)} | variables
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=None if before else pipe, env=env, bufsize=0
    )


@pytest.mark.slow
def test_a_pipe_is_answered_line_by_line_and_may_break(trained_run: Path) -> None:
    pipe = process(trained_run)
    assert pipe.stdin
    assert pipe.stdout
    for text in (b"pizza", b"cat"):  # each is answered before the next is written
        pipe.stdin.write(text + b"\n")
        assert pipe.stdout.readline().endswith(b"\t" + text + b"\n")
    pipe.stdout.close()
    pipe.stdout = None  # communicate() would read it
    _, err = pipe.communicate(b"pizza\n" * 3000, timeout=60)
    assert (pipe.returncode, err) == (0, b"")


IN_A_TERMINAL = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_a_prompt_in_a_real_terminal_ends_with_ctrl_c(trained_run: Path) -> None:
    terminal = process(trained_run, sys.executable, "-c", IN_A_TERMINAL, TERM="dumb")
    assert terminal.stdin
    assert terminal.stdout

    def read_until_prompt() -> list[str]:
        shown = b""
        while not shown.endswith(b"> "):
            block = terminal.stdout.read(1 << 16)  # type: ignore[union-attr]
            assert block, shown
            shown += block
        return shown.decode().split()

    assert " ".join(read_until_prompt()).endswith("exit or Ctrl-D ends. >")
    terminal.stdin.write(b"pizza\n")
    typed, emoji, _ = read_until_prompt()
    assert (typed, bool(TABLE.split(emoji))) == ("pizza", True)
    with terminal.stdin, terminal.stdout:
        while (
            terminal.poll() is None
        ):  # Python loses one that comes just before it waits for a line
            with contextlib.suppress(subprocess.TimeoutExpired, BrokenPipeError):
                terminal.stdin.write(b"\x03")
                terminal.wait(timeout=10)
        assert b"Traceback" not in terminal.stdout.read()
    assert terminal.returncode == 130
