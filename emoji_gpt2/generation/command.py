"""The command line of ``python -m emoji_gpt2.generate``.

    python -m emoji_gpt2.generate "I love pizza" "broken heart" --model DIR|CKPT|HUB_ID [--json]
    echo "I love pizza" | python -m emoji_gpt2.generate --model DIR
    python -m emoji_gpt2.generate --input texts.csv --output out.csv --model DIR

Prints a line per text, whose answer is empty if it has no words. Exits with 0, or with 2 and one
line on standard error for a user's mistake.
"""

import argparse
import csv
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm
from transformers.utils.logging import disable_progress_bar

from emoji_gpt2.emoji.table import SKIN_TONES, EmojiTable
from emoji_gpt2.emoji.text import is_valid_unicode, normalize_text
from emoji_gpt2.errors import OneLineParser, UserError, check, one_line_errors, short_flag
from emoji_gpt2.files import default_cache_dir
from emoji_gpt2.generation.answers import Answer
from emoji_gpt2.generation.decoding import Decoding
from emoji_gpt2.generation.generator import EmojiGenerator
from emoji_gpt2.shipped import BASE
from emoji_gpt2.tables.source import Reading, open_source

QUICKSTART = "checkpoints/quickstart/model"

N_RANKED = 5
"""Without --top_k, emoji that are shown of one text and in JSON."""


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
    add("texts", nargs="*", metavar="TEXT", help="texts; none reads lines from standard input")
    add(
        "--model", help=f"folder, .ckpt or Hub id (default: {QUICKSTART} if it is there, else base)"
    )
    add(
        "--top_k",
        type=int,
        help="emoji to show with their probabilities (default: 5 of one text and in JSON; of "
        "several texts the best, without); above --temperature 0, sample from so many only",
    )
    add("--max_emoji", type=int, default=1, help="generate a sequence of up to this many emoji")
    add("--min_emoji", type=int, default=1, help="fill up a sequence to this many emoji")
    add("--repeat", action="store_true", help="a sequence may hold an emoji more than once")
    add(
        "--temperature",
        type=float,
        default=0.0,
        help="0 (default) takes the likeliest emoji, above it samples",
    )
    add("--top_p", type=float, help="sample from the likeliest with this total probability")
    add("--seed", type=int, help="make sampling repeatable")
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
    add(
        "--output",
        help="CSV file to write: each text, its emoji and the probability of the first of them "
        "among all emoji, whatever was sampled",
    )
    add("--batch_size", type=int, default=64, help="texts of one forward pass (default: 64)")
    add("--device", help="cpu, cuda, ... (default: the first GPU, else Apple's, else the CPU)")
    options = parser.parse_args(words)
    if options.input and options.texts:
        parser.error("--input: got texts on the command line as well, wanted one of the two")
    if options.output and Path(options.output).exists():
        parser.error(f"--output: got {options.output!r}, which exists, wanted a new file")
    return options


def read_texts(options: argparse.Namespace) -> list[Given]:
    """Return the texts of the command line, the input table or standard input."""
    if options.input:
        reading = Reading(
            options.text_column, encoding=options.encoding, delimiter=options.delimiter
        )
        source = open_source(
            options.input, reading, cache_dir=default_cache_dir(), needs_emoji=False
        )
        print(*source.took, sep="\n", file=sys.stderr)
        pairs = (zip(chunk.given, chunk.texts, strict=True) for chunk in source.chunks())
        return [Given(*pair) for chunk in pairs for pair in chunk]
    if options.texts:
        return [Given(text, text) for text in options.texts]
    try:
        lines = [line.rstrip("\n") for line in sys.stdin if line.strip()]
    except UnicodeDecodeError as error:
        raise UserError("standard input", f"{error}", "UTF-8", "convert it") from error
    return [Given(line, line) for line in lines]


def default_model() -> str:
    """Return the quickstart's model if it is there, else the base; say which on standard error."""
    name = QUICKSTART if Path(QUICKSTART).is_dir() else BASE
    print(f"model: {name}", file=sys.stderr)
    return name


def decoding_of(options: argparse.Namespace) -> Decoding:
    """Return how to choose the emoji; --top_k is part of that when they are sampled.

    Raises:
        UserError: an option is out of range.
    """
    most, top_k = len(EmojiTable.builtin()), options.top_k
    check("top_k", top_k, fine=top_k is None or 1 <= top_k <= most, wanted=f"1 to {most}")
    return Decoding(
        max_emoji=options.max_emoji,
        temperature=options.temperature,
        top_k=top_k if options.temperature else None,
        top_p=options.top_p,
        seed=options.seed,
        skin_tone=options.skin_tone,
        repeat=options.repeat,
        min_emoji=options.min_emoji,
    )


def _n_ranked(options: argparse.Namespace, n_texts: int) -> int:
    """Return how many emoji of a text's ranking are shown; 0 shows its answer alone."""
    is_ranking = options.max_emoji == 1 and not options.temperature
    if options.output or not (options.json or is_ranking):
        return 0
    default = N_RANKED if options.json or n_texts == 1 else 0
    return default if options.top_k is None else int(options.top_k)


def run(options: argparse.Namespace) -> None:
    """Answer all texts."""
    decoding = decoding_of(options)
    texts = read_texts(options)
    n_words = sum(_has_words(text.read) for text in texts)
    if not n_words:
        got = str(len(texts) or "none")
        raise UserError("texts", got, "at least one with words", "give it as an argument")
    n_ranked = _n_ranked(options, len(texts))
    _warn(options, decoding, n_ranked)
    model = options.model or default_model()
    generator = EmojiGenerator.from_pretrained(model, device=options.device)
    answers = _answers(generator, texts, decoding, n_ranked, options.batch_size)
    n_empty = len(texts) - n_words
    empty = f", {n_empty:,} empty" if n_empty else ""
    if options.output:
        _write(Path(options.output), answers, len(texts))
        print(f"{len(texts):,} texts written to {options.output}{empty}")
        return
    for text, answer in answers:
        print(_json(text, answer) if options.json else _shown(text, answer, len(texts)))
    if empty:
        print(f"{len(texts):,} texts{empty}", file=sys.stderr)


def _warn(options: argparse.Namespace, decoding: Decoding, n_ranked: int) -> None:
    """Print a line for each reason why options that are given change nothing."""
    lines = decoding.without_effect()
    if options.top_k is not None and not n_ranked and not options.temperature:
        lines.append(
            f"--top_k {options.top_k}: no effect on sequences without --json, nor on --output, at "
            "--temperature 0"
        )
    for line in lines:
        print(line, file=sys.stderr)


def _has_words(text: str) -> bool:
    return is_valid_unicode(text) and bool(normalize_text(text))


def _answers(
    generator: EmojiGenerator,
    texts: list[Given],
    decoding: Decoding,
    n_ranked: int,
    batch_size: int,
) -> Iterator[tuple[str, Answer | None]]:
    """Yield each text with its answer: None if it has no words."""
    size = max(1, batch_size) * 16
    for start in range(0, len(texts), size):
        part = {number: texts[number] for number in range(start, min(start + size, len(texts)))}
        good = {number: text.read for number, text in part.items() if _has_words(text.read)}
        seed = None if decoding.seed is None else decoding.seed + start  # others for each part
        found = generator.answer(
            list(good.values()), replace(decoding, seed=seed), n_ranked, batch_size
        )
        answers = dict(zip(good, found, strict=True))
        yield from ((text.given, answers.get(number)) for number, text in part.items())


def _shown(text: str, answer: Answer | None, n_texts: int) -> str:
    if answer is None or not answer.ranked:
        return f"{answer.emoji if answer else ''}\t{text}"
    if n_texts == 1:
        return "\n".join(f"{emoji}  {p:.3f}" for emoji, p in answer.ranked)
    return f"{'  '.join(f'{emoji} {p:.3f}' for emoji, p in answer.ranked)}\t{text}"


def _json(text: str, answer: Answer | None) -> str:
    emoji, _, ranked = answer or Answer("", 0, [])
    record = {"text": text, "emoji": emoji, "ranked": [[e, round(p, 6)] for e, p in ranked]}
    line = json.dumps(record, ensure_ascii=False)
    try:
        line.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # JSON has escapes of its own
        return json.dumps(record)
    return line


def _write(path: Path, answers: Iterator[tuple[str, Answer | None]], n_texts: int) -> None:
    """Write a CSV with a row per text, whole or not at all."""
    aside = path.with_name(f".{path.name}.part")
    try:
        with aside.open("w", encoding="utf-8", errors="replace", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "emoji", "probability"])
            bar = tqdm(answers, total=n_texts, unit="text", disable=not sys.stderr.isatty())
            for text, answer in bar:
                cells = (answer.emoji, f"{answer.probability:.4f}") if answer else ("", "")
                writer.writerow([text, *cells])
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def main(words: Sequence[str] | None = None) -> None:
    """Run the command line; a user's mistake is one line on standard error and exit status 2."""
    disable_progress_bar()  # type: ignore[no-untyped-call]
    with one_line_errors(
        lambda name: {"data.path": "--input", "texts": "texts"}.get(name, short_flag(name))
    ):
        run(parse(words))
