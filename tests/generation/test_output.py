"""What answers look like on a terminal; wcwidth, which knows terminals, measures the cells."""

import itertools

import pytest
from wcwidth import wcswidth

from emoji_gpt2.emoji.table import EmojiTable
from emoji_gpt2.generation.decoding import Answer
from emoji_gpt2.generation.output import cut, table_row

TABLE = EmojiTable.builtin()
MIXED = ["🍕", "👩‍💻", "👍🏽", "🇫🇷", "❤️", "1️⃣", "🌧️", "👨‍👩‍👧‍👦"]


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
@pytest.mark.parametrize(
    "text", ["pizza", "a long text " * 30, "寿司 " * 40, "❤️ pizza 👍🏽 " * 20, ""]
)
@pytest.mark.parametrize("n_ranked", [0, 1, 5])
def test_no_row_is_wider_than_the_terminal(columns: int, text: str, n_ranked: int) -> None:
    ranked = [(emoji, 0.25) for emoji in MIXED[:n_ranked]]
    row = table_row(text, Answer("".join(MIXED[:4]), 0.5, ranked), 4, columns)
    assert all(wcswidth(line) < columns for line in row.split("\n"))
    assert ("…" in row) == (len(text) > 100), "cut texts have an ellipsis"
    for emoji, _ in ranked:
        assert f"{emoji} 0.250" in row, "none is left out"


@pytest.mark.parametrize("n_ranked", [0, 3])
def test_texts_stand_in_one_column(n_ranked: int) -> None:
    starts = set()
    for emoji in itertools.permutations(MIXED, 3):
        ranked = [(one, 0.5) for one in emoji[:n_ranked]]
        answer = Answer("".join(emoji[: 1 + len(starts) % 3]), 0.5, ranked)
        row = table_row("word", answer, 3, 80)
        starts.add(wcswidth(row.removesuffix("word")))
    assert len(starts) == 1


def test_control_characters_of_a_text_do_nothing_to_the_terminal() -> None:
    assert cut("two\nlines\t\x1b[31mred", 40) == "two lines [31mred"


@pytest.mark.parametrize("columns", [1, 3, 9])
def test_the_narrowest_terminals(columns: int) -> None:
    assert "🍕 0.500" in table_row("pizza", Answer("🍕", 0.5, [("🍕", 0.5)]), 1, columns)
