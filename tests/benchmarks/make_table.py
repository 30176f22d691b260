"""Write a CSV of made-up texts and emoji of any size, for benchmarks.

    python -m tests.benchmarks.make_table --rows 10000000 --output big.csv

A text is 2 to 10 words drawn with Zipf's frequencies from the words of emoji names and keywords and
from made-up ones, so that most texts are distinct and new words keep coming; a cell has 1 to 3
emoji. The same rows and seed give the same file.
"""

import random
from itertools import accumulate
from pathlib import Path

from emoji_gpt2 import EmojiTable
from tests.benchmarks.timing import arguments

MADE_UP_WORDS = 200_000


def vocabulary(rng: random.Random) -> list[str]:
    """Return real words, the shortest first, then made-up ones of 4 to 9 letters."""
    table = EmojiTable.builtin()
    phrases = [p.lower() for e in table for p in (table.name(e), *table.keywords(e))]
    real = sorted(
        {word for phrase in phrases for word in phrase.split()}, key=lambda w: (len(w), w)
    )
    letters = "etaoinshrdlucmfwypvbgkjqxz"
    weights = [1 / (n + 1) for n in range(len(letters))]
    made_up = [
        "".join(rng.choices(letters, weights, k=rng.randint(4, 9))) for _ in range(MADE_UP_WORDS)
    ]
    return real + made_up


def write_table(path: Path, rows: int, seed: int = 0) -> None:
    """Write ``rows`` records under the header ``text,emoji``."""
    rng = random.Random(seed)
    words = vocabulary(rng)
    frequency = list(accumulate(1 / (rank + 3) for rank in range(len(words))))
    emoji = list(EmojiTable.builtin())
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write("text,emoji\n")
        for start in range(0, rows, 10_000):
            count = min(10_000, rows - start)
            sizes = rng.choices(range(2, 11), k=count)
            drawn = iter(rng.choices(words, cum_weights=frequency, k=sum(sizes)))
            lines = []
            for size in sizes:
                text = " ".join(next(drawn) for _ in range(size)).replace('"', "")
                cell = "".join(rng.choices(emoji, k=rng.choice((1, 1, 1, 2, 3))))
                lines.append(f'"{text}",{cell}\n' if "," in text else f"{text},{cell}\n")
            file.write("".join(lines))


def main() -> None:
    """Read the arguments and write the file."""
    options = arguments(__doc__, rows=int, output=Path, seed=0)
    write_table(options.output, options.rows, options.seed)


if __name__ == "__main__":
    main()
