"""The command line of ``python -m emoji_gpt2.generate``.

    python -m emoji_gpt2.generate "I love pizza" "broken heart" --model DIR|CKPT|HUB_ID [--json]
    echo "I love pizza" | python -m emoji_gpt2.generate --model DIR
    python -m emoji_gpt2.generate --input texts.csv --output out.csv --model DIR

Prints a line per text; exits with 0, or with 2 and one line on standard error for a user's mistake.
"""

import argparse
import csv
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm
from transformers.utils.logging import disable_progress_bar

from emoji_gpt2.errors import UserError
from emoji_gpt2.generate import EmojiGenerator
from emoji_gpt2.sources import open_source
from emoji_gpt2.sources.fetch import default_cache_dir
from emoji_gpt2.table import SKIN_TONES
from emoji_gpt2.text import is_valid_unicode, normalize_text

DEFAULT_MODELS = ("checkpoints/quickstart/model", "checkpoints/base")
"""Without --model, the first that is there: what the user trained, else the base that ships."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Print one line and exit with 2."""
        self.exit(2, f"error: {message} (--help lists all)\n")


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """Return the parsed command line."""
    parser = _Parser(
        prog="python -m emoji_gpt2.generate", description="Emoji for texts.", allow_abbrev=False
    )
    add = parser.add_argument
    add("texts", nargs="*", metavar="TEXT", help="texts; none reads lines from standard input")
    shown = " or ".join(DEFAULT_MODELS)
    add("--model", help=f"folder, .ckpt or Hub id (default: {shown}, the first that is there)")
    add("--top_k", type=int, default=5, help="emoji to show with probabilities (default: 5)")
    add("--max_emoji", type=int, default=1, help="generate a sequence of up to this many emoji")
    add("--min_emoji", type=int, default=1, help="fill up a sequence to this many emoji")
    add("--repeat", action="store_true", help="a sequence may hold an emoji more than once")
    add("--temperature", type=float, default=0.0, help="0 (default) takes the likeliest emoji")
    add("--top_p", type=float, help="sample from the likeliest with this total probability")
    add("--seed", type=int, help="make sampling repeatable")
    add("--skin_tone", choices=SKIN_TONES, help="tone of emoji that carry one")
    add("--json", action="store_true", help="print one JSON object per text")
    add("--input", help="table of texts (CSV, TSV, JSON lines, Parquet)")
    add("--text_column", help="its column of texts (default: found by name)")
    add("--output", help="CSV file to write: all texts with their emoji")
    add("--batch_size", type=int, default=64, help="texts of one forward pass (default: 64)")
    add("--device", help="cpu, cuda, ... (default: the first GPU, or the CPU)")
    options = parser.parse_args(words)
    if options.input and options.texts:
        parser.error("--input: got texts on the command line as well, wanted one of the two")
    if options.output and Path(options.output).exists():
        parser.error(f"--output: got {options.output!r}, which exists, wanted a new file")
    return options


def read_texts(options: argparse.Namespace) -> list[str]:
    """Return the texts of the command line, the input table or standard input."""
    if options.input:
        source = open_source(
            options.input,
            text_column=options.text_column,
            cache_dir=default_cache_dir(),
            needs_emoji=False,
        )
        return [text for chunk in source.chunks() for text in chunk.texts]
    if options.texts:
        return list(options.texts)
    try:
        return [line.rstrip("\n") for line in sys.stdin if line.strip()]
    except UnicodeDecodeError as error:
        raise UserError(f"standard input: got {error}, wanted UTF-8; convert it") from error


def default_model() -> str:
    """Return the model to take when none is given, and say which on standard error.

    Raises:
        UserError: there is none.
    """
    for name in DEFAULT_MODELS:
        if Path(name).is_dir():
            print(f"model: {name}", file=sys.stderr)
            return name
    raise UserError(
        f"--model: got none, and none of {', '.join(DEFAULT_MODELS)} is here; give one, or run "
        "this in the folder of emoji_gpt2"
    )


def run(options: argparse.Namespace) -> None:
    """Answer all texts."""
    texts = read_texts(options)
    if not texts:
        raise UserError("texts: got none, wanted at least one; give it as an argument")
    model = options.model or default_model()
    generator = EmojiGenerator.from_pretrained(model, device=options.device)
    if options.output:
        _write(options, generator, texts)
        return
    for text, emoji, best in _answers(options, generator, texts):
        if options.json:
            record = {"text": text, "emoji": emoji, "ranked": [[e, round(p, 6)] for e, p in best]}
            print(json.dumps(record, ensure_ascii=False))
        elif len(texts) == 1 and options.max_emoji == 1 and not options.temperature:
            print("\n".join(f"{e}  {p:.3f}" for e, p in best))
        else:
            print(f"{emoji}\t{text}")


Answer = tuple[str, str, list[tuple[str, float]]]


def _answers(
    options: argparse.Namespace, generator: EmojiGenerator, texts: list[str]
) -> list[Answer]:
    ranked = generator.rank(texts, options.top_k, options.batch_size)
    if options.skin_tone:
        tone = generator.table.with_tone
        ranked = [[(tone(e, options.skin_tone), p) for e, p in best] for best in ranked]
    if options.max_emoji == options.min_emoji == 1 and not options.temperature:
        emoji = [best[0][0] for best in ranked]
    else:
        emoji = generator.generate(
            texts,
            max_emoji=options.max_emoji,
            temperature=options.temperature,
            top_p=options.top_p,
            seed=options.seed,
            skin_tone=options.skin_tone,
            batch_size=options.batch_size,
            repeat=options.repeat,
            min_emoji=options.min_emoji,
        )
    return list(zip(texts, emoji, ranked, strict=True))


def _write(options: argparse.Namespace, generator: EmojiGenerator, texts: list[str]) -> None:
    """Write a CSV with a row per text; texts without words keep an empty answer and are counted."""
    usable = [is_valid_unicode(text) and bool(normalize_text(text)) for text in texts]
    path = Path(options.output)
    aside = path.with_name(f".{path.name}.part")
    try:
        _write_rows(aside, options, generator, texts, usable)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    empty = len(texts) - sum(usable)
    print(f"{len(texts):,} texts written to {path}" + (f", {empty:,} empty" if empty else ""))


def _write_rows(
    path: Path,
    options: argparse.Namespace,
    generator: EmojiGenerator,
    texts: list[str],
    usable: list[bool],
) -> None:
    size = max(1, options.batch_size) * 16
    with path.open("w", encoding="utf-8", errors="replace", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "emoji", "probability"])
        with tqdm(total=len(texts), unit="text", disable=not sys.stderr.isatty()) as bar:
            for start in range(0, len(texts), size):
                part = range(start, min(start + size, len(texts)))
                good = [texts[i] for i in part if usable[i]]
                answers = iter(_answers(options, generator, good) if good else [])
                for i in part:
                    text, emoji, best = next(answers) if usable[i] else (texts[i], "", [])
                    writer.writerow([text, emoji, f"{best[0][1]:.4f}" if best else ""])
                bar.update(len(part))


def main(words: Sequence[str] | None = None) -> None:
    """Run the command line; a user's mistake is one line on standard error and exit status 2."""
    logging.basicConfig(format="%(message)s")
    disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        run(parse(words))
        sys.stdout.flush()
    except (UserError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(0) from None
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
