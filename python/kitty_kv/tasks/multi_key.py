"""Multi-key retrieval: nothing but records whose keys look alike and whose values are long; one is asked for."""

from __future__ import annotations

import random

from .fitting import NEEDLE_SHARES, Count, fit
from .item import Item

DIGITS = 12
KEY_NUMBERS = 10_000
HEAD = "Each line gives the code of one key.\n"


def multi_key(index: int, length: int, chance: random.Random, text: list[str], count: Count) -> Item:
    """A question of at most ``length`` tokens, its answer included; ``text`` is not used.

    All keys are the same two words and different numbers of four digits, so that only the digits tell them apart.
    """
    records = draw_records(chance, min(KEY_NUMBERS, length))
    share = chance.uniform(*NEEDLE_SHARES)
    answer = f" {records[0][1]}"

    def build(units: int) -> str:
        asked, others = records[0], records[1:units]
        at = int(share * units)
        lines = [*others[:at], asked, *others[at:]]
        body = "".join(f"The code of {key} is {value}.\n" for key, value in lines)
        return f"{HEAD}{body}\nThe code of {asked[0]} is"

    return Item("multi_key", index, length, fit(build, length - count(answer), count), answer)


def draw_records(chance: random.Random, amount: int) -> list[tuple[str, str]]:
    """Keys that differ in their number alone, with values."""
    name = f"{chance.choice(_COLOURS)} {chance.choice(_BIRDS)}"
    numbers = chance.sample(range(KEY_NUMBERS), amount)
    return [(f"{name} {key:04d}", _value(chance)) for key in numbers]


def _value(chance: random.Random) -> str:
    digits = f"{chance.randrange(10**DIGITS):0{DIGITS}d}"
    return f"{digits[: DIGITS // 2]}-{digits[DIGITS // 2 :]}"


_COLOURS = ("amber", "crimson", "silver", "violet", "golden", "scarlet", "russet", "azure")
_BIRDS = ("falcon", "heron", "raven", "swallow", "plover", "kestrel", "linnet", "curlew")
