"""Passkey retrieval: one number in the first half of a long text, asked for at its end."""

from __future__ import annotations

import random

from .fitting import NEEDLE_SHARES, Count, Filler, fit, planted
from .item import Item

DIGITS = 7


def passkey(index: int, length: int, chance: random.Random, text: list[str], count: Count) -> Item:
    """A question of at most ``length`` tokens, its answer included; ``text`` are sentences to hide the number in."""
    number = str(chance.randrange(10 ** (DIGITS - 1), 10**DIGITS))
    filler, place = Filler(text, chance), chance.uniform(*NEEDLE_SHARES)
    needle = f"The pass key is {number}. Remember it: {number} is the pass key."
    head = "There is a pass key hidden in the text below. Find it and remember it.\n\n"
    tail = "\n\nWhat is the pass key? The pass key is"
    answer = f" {number}"

    def build(units: int) -> str:
        return head + planted(filler.take(units), [needle], [place]) + tail

    return Item("passkey", index, length, fit(build, length - count(answer), count), answer)
