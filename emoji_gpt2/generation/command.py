"""The command line of ``python -m emoji_gpt2.generate``.

    python -m emoji_gpt2.generate "I love pizza" "broken heart" --model DIR|CKPT|HUB_ID [--json]
    tail -f messages.txt | python -m emoji_gpt2.generate
    python -m emoji_gpt2.generate --input texts.csv --output out.csv
    python -m emoji_gpt2.generate                                      # asks for texts

Exits with 0, with 2 and one line on standard error for a user's mistake, or with 130 after Ctrl-C.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import fields, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm
from transformers.utils.logging import disable_progress_bar

from emoji_gpt2.emoji.table import SKIN_TONES, EmojiTable
from emoji_gpt2.emoji.text import is_valid_unicode, normalize_text
from emoji_gpt2.errors import OneLineParser, UserError, check, one_line_errors, short_flag
from emoji_gpt2.files import default_cache_dir
from emoji_gpt2.generation.decoding import MAX_EMOJI, Answer, Decoding
from emoji_gpt2.generation.generator import EmojiGenerator
from emoji_gpt2.generation.output import csv_rows, json_line, shown
from emoji_gpt2.shipped import BASE
from emoji_gpt2.tables.columns import Reading
from emoji_gpt2.tables.source import open_source

QUICKSTART = "checkpoints/quickstart/model"
N_RANKED = 5
"""Of each text, in JSON without --top_k."""
PIPE_BYTES = 1 << 16
EMPTY = Answer("", None, [])
"""Of a text without words."""


class Given(NamedTuple):
    """A text as it was given, and as it is read: a table's may be mojibake or hold entities."""

    given: str
    read: str


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """Return the parsed command line."""
    parser = OneLineParser(
        prog="python -m emoji_gpt2.generate", description="Emoji for texts.", allow_abbrev=False
    )
    add = parser.add_argument
    add(
        "texts",
        nargs="*",
        metavar="TEXT",
        help="texts; without any, the lines of standard input, each answered when it comes",
    )
    shown = f"{QUICKSTART} if it is there, else {BASE}, the one that ships"
    add("--model", help=f"folder, .ckpt or Hub id (default: {shown})")
    add(
        "--top_k",
        type=int,
        help="rank so many emoji with their probabilities (in JSON 5 by default) instead of "
        "answering; above --temperature 0, sample from so many only",
    )
    add(
        "--max_emoji",
        type=int,
        default=MAX_EMOJI,
        help=f"emoji of an answer at most (default: {MAX_EMOJI}); the model may end before",
    )
    add("--min_emoji", type=int, default=1, help="fill up an answer to this many emoji")
    add("--repeat", action="store_true", help="an answer may hold an emoji more than once")
    add(
        "--temperature",
        type=float,
        default=0.0,
        help="0 (default) takes the likeliest emoji, above it samples",
    )
    add("--top_p", type=float, help="sample from the likeliest with this total probability")
    add("--seed", type=int, help="make sampling repeatable; a pipe is then read to its end first")
    add(
        "--skin_tone",
        choices=SKIN_TONES,
        help="tone of emoji that carry one; each has the probability of all its tones together",
    )
    add("--json", action="store_true", help="print one JSON object per text")
    add("--input", help="table or list of texts (CSV, TSV, JSON, Parquet, plain text)")
    add("--text_column", help="its column of texts, by name or number (default: found)")
    add("--encoding", help="its encoding (default: found)")
    add("--delimiter", help="what separates its cells (default: found)")
    add("--output", help="CSV file to write: each text, its answer and the answer's probability")
    add("--batch_size", type=int, default=64, help="texts of one forward pass (default: 64)")
    add("--device", help="cpu, cuda, ... (default: the first GPU, else Apple's, else the CPU)")
    options = parser.parse_args(words)
    if options.input and options.texts:
        parser.error("--input: got texts on the command line as well, wanted one of the two")
    if options.output and Path(options.output).exists():
        parser.error(f"--output: got {options.output!r}, which exists, wanted a new file")
    return options


def given_texts(options: argparse.Namespace) -> list[Given]:
    """Return the texts of the command line or of the input table."""
    texts = [Given(text, text) for text in options.texts]
    if options.input:
        reading = Reading(
            options.text_column, encoding=options.encoding, delimiter=options.delimiter
        )
        source = open_source(
            options.input, reading, cache_dir=default_cache_dir(), needs_emoji=False
        )
        print(*source.took, sep="\n", file=sys.stderr)
        pairs = (zip(chunk.given, chunk.texts, strict=True) for chunk in source.chunks())
        texts = [Given(*pair) for chunk in pairs for pair in chunk]
    _check_words(any(_has_words(text.read) for text in texts), len(texts))
    return texts


def piped_lines(*, at_once: bool) -> Iterator[list[Given]]:
    """Yield the lines of standard input as they come: all that are waiting, or ``at_once``."""
    stream: Any = sys.stdin.buffer
    read = stream.read if at_once else partial(stream.read1, PIPE_BYTES)
    rest = b""
    for block in chain(iter(read, b""), [b"\n"]):
        *lines, rest = (rest + block).split(b"\n")
        texts = [line.decode(sys.stdin.encoding, sys.stdin.errors or "strict") for line in lines]
        yield [Given(text.rstrip("\r"), text) for text in texts if text.strip()]


def typed_lines() -> Iterator[list[Given]]:
    """Yield what is typed, line by line, until an empty line, ``exit`` or Ctrl-D."""
    with suppress(ImportError):  # there is none on Windows
        import readline  # noqa: F401, PLC0415 - input() then has a history and arrow keys
    print("Type a text. An empty line, exit or Ctrl-D ends.", file=sys.stderr)
    prompt = "> " if sys.stdout.isatty() else ""
    try:
        while (line := input(prompt)).strip() not in ("", "exit"):
            yield [Given(line, line)]
    except EOFError:
        print(file=sys.stderr)
    except KeyboardInterrupt:
        print(file=sys.stderr)
        raise


def _has_words(text: str) -> bool:
    return is_valid_unicode(text) and bool(normalize_text(text))


def _check_words(any_words: bool, n_texts: int) -> None:
    if not any_words:
        got = str(n_texts or "none")
        raise UserError("texts", got, "at least one with words", "give it as an argument")


def decoding_of(options: argparse.Namespace) -> Decoding:
    """Return how to choose the emoji; --top_k is part of that when they are sampled."""
    most, top_k = len(EmojiTable.builtin()), options.top_k
    check("top_k", top_k, fine=top_k is None or 1 <= top_k <= most, wanted=f"1 to {most}")
    given = {field.name: getattr(options, field.name) for field in fields(Decoding)}
    return Decoding(**given | {"top_k": top_k if options.temperature else None})


def default_model() -> str:
    """Return the quickstart's model if it is there, else the base; say which on standard error."""
    name = QUICKSTART if Path(QUICKSTART).is_dir() else BASE
    print(f"model: {name}", file=sys.stderr)
    return name


def _answers(
    generator: EmojiGenerator,
    parts: Iterable[list[Given]],
    decoding: Decoding,
    n_ranked: int,
    batch_size: int,
) -> Iterator[tuple[str, Answer]]:
    """Yield each text with its answer, which is empty if it has no words."""
    size, done = max(1, batch_size) * 16, 0
    for whole in parts:
        for start in range(0, len(whole), size):
            part = whole[start : start + size]
            good = [text.read for text in part if _has_words(text.read)]
            seed = None if decoding.seed is None else decoding.seed + done  # others for each part
            found = generator.answer(good, replace(decoding, seed=seed), n_ranked, batch_size)
            rest = iter(found)
            for text in part:
                yield text.given, next(rest) if _has_words(text.read) else EMPTY
            done += len(part)


def _warn(options: argparse.Namespace, decoding: Decoding, *, ranking: bool) -> None:
    """Print a line for each reason why options that are given change nothing."""
    lines = decoding.without_effect()
    if ranking and (options.max_emoji not in (1, MAX_EMOJI) or options.min_emoji > 1):
        lines.append("--max_emoji, --min_emoji: no effect on a ranking, which --top_k asks for")
    if options.output and options.top_k is not None and not options.temperature:
        lines.append(f"--top_k {options.top_k}: no effect on --output at --temperature 0")
    for line in lines:
        print(line, file=sys.stderr)


def run(options: argparse.Namespace) -> None:
    """Answer all texts."""
    decoding = decoding_of(options)
    ranking = not (options.top_k is None or options.temperature or options.output or options.json)
    n_ranked = (options.top_k or N_RANKED) if ranking or options.json else 0
    given = given_texts(options) if options.texts or options.input else None
    _warn(options, decoding, ranking=ranking)
    if ranking:
        decoding = replace(decoding, max_emoji=1, min_emoji=1)
    model = options.model or default_model()
    generator = EmojiGenerator.from_pretrained(model, device=options.device)
    typed = given is None and not options.output and sys.stdin.isatty()
    coming = typed_lines() if typed else piped_lines(at_once=options.seed is not None)
    parts = coming if given is None else [given]
    answers = _answers(generator, parts, decoding, n_ranked, options.batch_size)
    bar = tqdm(
        answers,
        total=None if given is None else len(given),
        unit=" texts",
        delay=1,  # seconds
        disable=(sys.stdout.isatty() and not options.output) or not sys.stderr.isatty(),
    )
    n_texts = n_empty = 0
    alone = typed or len(options.texts) == 1

    def show(text: str, answer: Answer) -> None:
        line = shown(text, answer, alone=alone, max_emoji=decoding.max_emoji)
        print(json_line(text, answer) if options.json else line, flush=given is None)

    with csv_rows(Path(options.output)) if options.output else nullcontext(show) as put:
        for text, answer in bar:
            put(text, answer)
            n_texts += 1
            n_empty += answer is EMPTY
        if not typed:
            _check_words(n_texts > n_empty, n_texts)
    empty = f", {n_empty:,} empty" if n_empty else ""
    if options.output:
        print(f"{n_texts:,} texts written to {options.output}{empty}")
    elif empty:
        print(f"{n_texts:,} texts{empty}", file=sys.stderr)


def main(words: Sequence[str] | None = None) -> None:
    """Run the command line; a user's mistake is one line on standard error and exit status 2."""
    disable_progress_bar()  # type: ignore[no-untyped-call]
    with one_line_errors(
        lambda name: {"data.path": "--input", "texts": "texts"}.get(name, short_flag(name))
    ):
        try:
            run(parse(words))
        except UnicodeDecodeError as error:
            raise UserError("standard input", f"{error}", "UTF-8", "convert it") from error
