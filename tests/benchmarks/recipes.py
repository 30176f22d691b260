"""Write the tables of the recipes in ``configs/README.md``.

    python -m tests.benchmarks.recipes --output recipes [--goemotions goemotions]

sentences.csv and sentences_test.csv are made up: ``text,emoji,topic``, 2 or 3 emoji a row. The
test rows have frames that training does not have. comments.csv, comments_test.csv and mapping.txt
need a folder with train.tsv and dev.tsv of GoEmotions (Apache-2.0,
https://github.com/google-research/google-research/tree/master/goemotions/data): the comments of
exactly one emotion, one of the 20 most frequent, as ``text,label``. Each run writes the same files.
"""

import csv
import random
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from emoji_gpt2.distill.mood import EMOTIONS, NEUTRAL, goemotions
from emoji_gpt2.emoji.table import EmojiTable
from tests.benchmarks.timing import arguments

CLASSES = 20
ROWS = {"sentences.csv": 480, "sentences_test.csv": 120}
THINGS = {
    "food": "pizza 🍕, sushi 🍣, a burger 🍔, tacos 🌮, ramen 🍜, pancakes 🥞, salad 🥗, curry 🍛",
    "drink": "coffee ☕, a beer 🍺, red wine 🍷, bubble tea 🧋, orange juice 🧃, a cocktail 🍹",
    "sweet": "ice cream 🍦, a donut 🍩, chocolate 🍫, a cookie 🍪, birthday cake 🎂, honey 🍯",
    "place": "the beach 🏖️, the mountains ⛰️, paris 🗼, the city 🏙️, the desert 🏜️, the zoo 🦁",
    "ride": "plane ✈️, train 🚆, bus 🚌, bike 🚲, boat ⛵, car 🚗",
    "weather": "rain 🌧️, snow ❄️, sunshine ☀️, fog 🌫️, a thunderstorm ⛈️, a rainbow 🌈",
    "feeling": "happy 😊, tired 😴, excited 🤩, sad 😢, angry 😡, scared 😨, in love 😍, bored 😑",
    "sport": "soccer ⚽, basketball 🏀, tennis 🎾, chess ♟️, golf ⛳, video games 🎮",
    "friend": "my dog 🐶, my cat 🐱, grandma 👵, the baby 👶, my teacher 🧑‍🏫, a robot 🤖",
}
FRAMES = {
    "sentences.csv": {
        "food": "{food} and {drink} for lunch; i am {feeling} because we had {food}; "
        "{food}, then {sweet} and {drink}; {friend} stole {sweet}, so i am {feeling}",
        "travel": "by {ride} to {place}; {weather} in {place}, what a day; "
        "{friend} and i took the {ride} to {place}; {feeling} in {place} with {friend}",
        "leisure": "{sport} with {friend} and {weather} all day; so {feeling} after {sport}; "
        "{sport}, and {drink} afterwards; {weather} again, so {sport} and {food} at home",
    },
    "sentences_test.csv": {
        "food": "{friend} brought {food} and {sweet}; no {drink} left and everybody is {feeling}",
        "travel": "{place} was full of {weather}; missed the {ride}, now {feeling} with {food}",
        "leisure": "{friend} is {feeling} when we play {sport}; {drink}, {weather} and {sport}",
    },
}
"""By file and topic: sentences; what stands in braces is one of the things."""


def sentences(name: str, rng: random.Random) -> list[tuple[str, str, str]]:
    """Return distinct rows ``text, emoji, topic``; the emoji stand in the order of the text."""
    table, rows = EmojiTable.builtin(), {}
    while len(rows) < ROWS[name]:
        topic, frames = rng.choice(list(FRAMES[name].items()))
        text = rng.choice(frames.split("; "))
        for slot, things in THINGS.items():
            text = text.replace(f"{{{slot}}}", rng.choice(things.split(", ")))
        emoji = table.split(text)
        rows[re.sub(f" ({'|'.join(emoji)})", "", text)] = ("".join(emoji), topic)
    return [(text, *cells) for text, cells in rows.items()]


def of_one_emotion(path: Path) -> list[tuple[str, int]]:
    """Return the comments that have one emotion, which is not neutral, and its number."""
    return [(text, of[0]) for text, of in goemotions(path) if len(of) == 1 and of[0] != NEUTRAL]


def write(path: Path, header: str, rows: Iterable[Iterable[object]]) -> None:
    """Write a table: tabs between the cells of a .txt, commas elsewhere."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t" if path.suffix == ".txt" else ",")
        writer.writerows([header.split(","), *rows] if header else rows)


def main() -> None:
    """Read the arguments and write the files."""
    options = arguments(__doc__, output=Path, goemotions="")
    options.output.mkdir(parents=True, exist_ok=True)
    rng = random.Random(0)
    for name in FRAMES:
        write(options.output / name, "text,emoji,topic", sentences(name, rng))
    if options.goemotions:
        rows = of_one_emotion(Path(options.goemotions) / "train.tsv")
        kept = [number for number, _ in Counter(n for _, n in rows).most_common(CLASSES)]
        names = [list(EMOTIONS)[number] for number in kept]
        mapping = [(i, EMOTIONS[name][0], f"_{name}_") for i, name in enumerate(names)]
        write(options.output / "mapping.txt", "", mapping)
        for name, source in (("comments.csv", "train.tsv"), ("comments_test.csv", "dev.tsv")):
            rows = of_one_emotion(Path(options.goemotions) / source)
            labelled = [(text, kept.index(n)) for text, n in rows if n in kept]
            write(options.output / name, "text,label", labelled)


if __name__ == "__main__":
    main()
