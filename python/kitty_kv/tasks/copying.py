"""Copying: a list of numbered words, then other text, then the list again, written by the model one token at a time."""

from __future__ import annotations

import random

from ..errors import ConfigError
from .fitting import Count, Filler, fit
from .item import Item

# Of the length: the list twice, and in between as much other text as leaves the list packed before it is copied.
LIST_SHARE = 0.22


def copying(index: int, length: int, chance: random.Random, text: list[str], count: Count) -> Item:
    """A question of at most ``length`` tokens, its answer included; ``text`` are sentences, also where the words come from.

    The answer is all of the list behind its first line, so that errors of a cache add up over a long generation.
    """
    words = words_of(text)
    if not words:
        raise ConfigError("Cannot make a list of words: the text holds none in lower case; give another one.")
    drawn = [chance.choice(words) for _ in range(length)]
    filler = Filler(text, chance)

    def listing(units: int) -> str:
        # A line has three words, and its number says where the copy has got to.
        lines = (f"{at + 1}: {' '.join(drawn[3 * at : 3 * at + 3])}\n" for at in range(min(units, length // 3)))
        return "".join(lines)

    lines = fit(listing, int(LIST_SHARE * length), count)
    first, rest = lines.split("\n", 1)

    def build(units: int) -> str:
        return f"The list:\n{lines}\n{' '.join(filler.take(units))}\n\nThe list again:\n{first}\n"

    return Item("copying", index, length, fit(build, length - count(rest) - 1, count), rest)


def words_of(text: list[str]) -> list[str]:
    """The words in lower case that ``text`` has between blanks."""
    return sorted({word for sentence in text for word in sentence.split() if word.isalpha() and word.islower()})
