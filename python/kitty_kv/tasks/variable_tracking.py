"""Variable tracking: chains of assignments scattered over a text; one is followed back to its number."""

from __future__ import annotations

import dataclasses
import random
import string

from .fitting import NEEDLE_SHARES, Count, Filler, fit, planted
from .item import Item

CHAINS, SIZE = 4, 4
SMALL_CHAINS, SMALL_SIZE = 2, 3  # below 1024 tokens, where more assignments would not all be packed
DIGITS = 5


HEAD = "VAR A = VAR B gives A the number of B. Answer with the way back to a number: VAR A = VAR B = 17.\n\n"


@dataclasses.dataclass(frozen=True, slots=True)
class Chains:
    """Chains of variables with the numbers they begin with, and their assignments in the order of the text."""

    names: list[list[str]]
    values: list[str]
    assignments: list[str]

    def question(self, chain: int) -> str:
        """Asks for the end of a chain."""
        return f"What number does VAR {self.names[chain][-1]} have? VAR {self.names[chain][-1]} ="

    def answer(self, chain: int) -> str:
        """The chain from its end back to the number."""
        return "".join(f" VAR {name} =" for name in self.names[chain][-2::-1]) + f" {self.values[chain]}"


def variable_tracking(index: int, length: int, chance: random.Random, text: list[str], count: Count) -> Item:
    """A question of at most ``length`` tokens, its answer included; ``text`` are sentences between the assignments.

    Each of four chains gives a variable a number and hands it on three times (two chains and two times below 1024 tokens); their steps
    come in random order among the chains and in their own order within one. The answer follows one chain back, one variable
    after the other, so that each step is one look into the cache and a wrong one leads astray.
    """
    chains = draw_chains(chance, *((SMALL_CHAINS, SMALL_SIZE) if length < 1024 else (CHAINS, SIZE)))
    places = sorted(chance.uniform(*NEEDLE_SHARES) for _ in chains.assignments)
    asked = chance.randrange(len(chains.names))
    filler = Filler(text, chance)
    answer = chains.answer(asked)

    def build(units: int) -> str:
        return f"{HEAD}{planted(filler.take(units), chains.assignments, places)}\n\n{chains.question(asked)}"

    return Item("variable_tracking", index, length, fit(build, length - count(answer), count), answer)


def draw_chains(chance: random.Random, amount: int, size: int) -> Chains:
    """``amount`` chains of ``size`` variables."""
    names = _names(chance, amount * size)
    chains = [names[at * size : (at + 1) * size] for at in range(amount)]
    values = [str(value) for value in chance.sample(range(10 ** (DIGITS - 1), 10**DIGITS), amount)]
    order = [chain for chain in range(amount) for _ in range(size)]
    chance.shuffle(order)
    done = [0] * amount
    assignments = []
    for chain in order:
        hop = done[chain]
        source = values[chain] if hop == 0 else f"VAR {chains[chain][hop - 1]}"
        assignments.append(f"VAR {chains[chain][hop]} = {source}.")
        done[chain] += 1
    return Chains(chains, values, assignments)


def _names(chance: random.Random, amount: int) -> list[str]:
    letters = string.ascii_uppercase
    found: dict[str, None] = {}
    while len(found) < amount:
        found["".join(chance.choices(letters, k=3))] = None
    return list(found)
