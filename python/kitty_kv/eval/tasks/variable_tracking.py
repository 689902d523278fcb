"""Variable tracking: chains of assignments scattered over a text; the value at the end of one chain is asked for."""

from __future__ import annotations

import random
import string

from ..fitting import NEEDLE_SHARES, Count, Filler, fit, planted
from ..item import Item

SIZE = 4
SMALL_SIZE = 3  # below 1024 tokens, where more assignments would not all be packed
DIGITS = 5


def variable_tracking(index: int, length: int, chance: random.Random, text: list[str], count: Count) -> Item:
    """A question of at most ``length`` tokens, its answer included; ``text`` are sentences between the assignments.

    Each of four chains gives a variable a number and hands it on three times (three and two below 1024 tokens); their steps
    come in random order among the chains and in their own order within one.
    """
    size = SMALL_SIZE if length < 1024 else SIZE
    names = _names(chance, size * size)
    chains = [names[at * size : (at + 1) * size] for at in range(size)]
    values = [str(value) for value in chance.sample(range(10 ** (DIGITS - 1), 10**DIGITS), size)]
    order = [chain for chain in range(size) for _ in range(size)]
    chance.shuffle(order)
    done = [0] * size
    needles = []
    for chain in order:
        hop = done[chain]
        source = values[chain] if hop == 0 else f"VAR {chains[chain][hop - 1]}"
        needles.append(f"VAR {chains[chain][hop]} = {source}.")
        done[chain] += 1
    places = sorted(chance.uniform(*NEEDLE_SHARES) for _ in needles)
    asked = chance.randrange(size)
    filler = Filler(text, chance)
    head = "Follow the variables through the text below; VAR A = VAR B gives A the number that B has.\n\n"
    tail = f"\n\nWhat number does VAR {chains[asked][-1]} have? VAR {chains[asked][-1]} ="
    answer = f" {values[asked]}"

    def build(units: int) -> str:
        return head + planted(filler.take(units), needles, places) + tail

    return Item("variable_tracking", index, length, fit(build, length - count(answer), count), answer)


def _names(chance: random.Random, amount: int) -> list[str]:
    letters = string.ascii_uppercase
    found: dict[str, None] = {}
    while len(found) < amount:
        found["".join(chance.choices(letters, k=3))] = None
    return list(found)
