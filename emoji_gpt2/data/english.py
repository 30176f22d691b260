"""English words for synthetic texts: which are frequent, and which are forms of one another.

ranks = word_ranks(tokenizer.get_vocab())       # {"the": 262, ..., "pizza": 14256}
families({"hiking"}, ranks)                     # {"hiking": ["hike", "hikes", "hiking"], ...}
"""

import re
from collections.abc import Mapping

TOO_FREQUENT = 1000
"""A word before this rank is no base of a longer one: "evening" is no form of "even"."""


def word_ranks(vocabulary: Mapping[str, int]) -> dict[str, int]:
    """Return the whole words of GPT-2's vocabulary, lower case, with their lowest token number."""
    ranks: dict[str, int] = {}
    for token, number in vocabulary.items():
        if re.fullmatch("Ġ[A-Za-z]+", token):
            word = token[1:].lower()
            ranks[word] = min(number, ranks.get(word, number))
    return ranks


def inflections(word: str) -> set[str]:
    """Return the forms that a regular noun or verb would have; most of them are no words."""
    if len(word) < 3:
        return set()
    if word[-1] == "y" and word[-2] not in "aeiou":
        return {word[:-1] + "ies", word[:-1] + "ied", word + "ing"}
    if word[-1] == "e":
        return {word + "s", word + "d", word[:-1] + "ing"}
    forms = {word + "s", word + "es", word + "ed", word + "ing"}
    if word[-1] not in "aeiouwxy" and word[-2] in "aeiou" and word[-3] not in "aeiou":
        forms |= {word + word[-1] + "ing", word + word[-1] + "ed"}
    return forms


def families(table_words: set[str], ranks: Mapping[str, int]) -> dict[str, list[str]]:
    """Return each word of the table with the known words that are forms of it, or it of them."""
    known = table_words | set(ranks)
    family = {word: {word} for word in table_words}
    for base in known:
        if base not in table_words and (len(base) < 4 or ranks[base] < TOO_FREQUENT):
            continue
        group = {base} | (inflections(base) & known)
        if len(group) > 1 and group & table_words:
            for word in group:
                family.setdefault(word, {word}).update(group)
    return {word: sorted(group) for word, group in family.items()}
