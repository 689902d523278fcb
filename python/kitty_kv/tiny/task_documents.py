"""Documents of the offline task families to learn from: the evaluation's own questions with their answers, from other seeds.

What cannot be known beforehand (keys, numbers, a list of words) is read but not scored: every number of a document that is
drawn at random would else add noise to the gradient. Text between it is scored like any text, and answers are.
"""

from __future__ import annotations

import dataclasses
import random
import re
from collections.abc import Callable

from ..tasks.arithmetic import HEAD as ARITHMETIC_HEAD
from ..tasks.arithmetic import STEPS, exercise
from ..tasks.copying import copying
from ..tasks.fitting import Filler, planted
from ..tasks.multi_key import HEAD as MULTI_KEY_HEAD
from ..tasks.multi_key import draw_records
from ..tasks.passkey import passkey
from ..tasks.variable_tracking import CHAINS, SIZE, draw_chains
from ..tasks.variable_tracking import HEAD as VARIABLES_HEAD

Segment = tuple[str, bool]
"""A text and whether it is scored."""

SHORTEST = 128
# Shorter sentences are numerals and headings, whole pages of them in a table of contents.
SENTENCE_CHARACTERS = 24
_PIECE = re.compile(r" ?[A-Za-z]+|\s*\n|.", re.DOTALL)
_TOKENS_A_PIECE = 1.3


@dataclasses.dataclass(frozen=True, slots=True)
class Family:
    """One kind of documents.

    Args:
        share: of all tokens.
        shortest: fewest tokens that a document takes.
        make: the document, from a length in tokens that it keeps to roughly, chance and consecutive sentences of a text.
    """

    share: float
    shortest: int
    make: Callable[[int, random.Random, list[str]], list[Segment]]


def estimate(text: str) -> int:
    """About how many tokens a text has; the tokenizer would take most of the time that a document takes to make."""
    return int(len(_PIECE.findall(text)) * _TOKENS_A_PIECE) + 1


def _passkey(length: int, chance: random.Random, text: list[str]) -> list[Segment]:
    item = passkey(0, length, chance, text, estimate)
    before, after = item.prompt.split(item.answer, 1)
    return [(before, True), (item.answer, False), (after + item.answer + ".\n", True)]


def _multi_key(length: int, chance: random.Random, text: list[str]) -> list[Segment]:
    # Records are about 33 tokens; one in four is asked for, so that a document teaches more than one look-up.
    amount = max(2, int(length / 33 / 1.25))
    records = draw_records(chance, amount)
    asked = chance.sample(records, max(1, amount // 4))
    body = "".join(f"The code of {key} is {value}.\n" for key, value in records)
    segments = [(f"{MULTI_KEY_HEAD}{body}\n", False)]
    for key, value in asked:
        segments += [(f"The code of {key} is", False), (f" {value}.\n", True)]
    return segments


def _variable_tracking(length: int, chance: random.Random, text: list[str]) -> list[Segment]:
    amount = chance.randint(1, CHAINS)
    size = chance.randint(2, SIZE)
    if length < 400:
        amount, size = min(amount, 2), min(size, 3)
    chains = draw_chains(chance, amount, size)
    places = sorted(chance.uniform(0.02, 0.9) for _ in chains.assignments)
    filler = Filler(text, chance)
    left = length - 20 * len(chains.assignments) - 45 - amount * (20 + 8 * size)
    sentences = filler.take(_units(filler, left))
    segments: list[Segment] = [(VARIABLES_HEAD, False)]
    pieces = planted(sentences, [f"\x00{text}\x00" for text in chains.assignments], places).split("\x00")
    segments += [(piece, at % 2 == 0) for at, piece in enumerate(pieces)]
    segments.append(("\n\n", False))
    for chain in chance.sample(range(amount), amount):
        segments += [(chains.question(chain), False), (chains.answer(chain) + "\n", True)]
    return segments


def _units(filler: Filler, tokens: int) -> int:
    units, found = 1, 0
    while True:
        found += estimate(filler.take(units)[-1])
        if found >= tokens:
            return units
        units += 1


def _copying(length: int, chance: random.Random, text: list[str]) -> list[Segment]:
    item = copying(0, length, chance, text, estimate)
    head, rest = item.prompt.split("The list:\n", 1)
    listed, between = rest.split("\n\n", 1)
    between, first = between.rsplit("The list again:\n", 1)
    return [
        (f"{head}The list:\n{listed}\n\n", False),
        (between, True),
        ("The list again:\n", False),
        (first + item.answer, True),
    ]


def _arithmetic(length: int, chance: random.Random, text: list[str]) -> list[Segment]:
    segments: list[Segment] = [(ARITHMETIC_HEAD, False)]
    left = length - 12
    while left > 45:
        most = min(STEPS, int(left / 26) - 1)
        if most < 1:
            break
        # Short ones as in a prompt's examples, or as many steps as there is room for.
        steps = min(4, most) if chance.random() < 0.4 else chance.randint(1, most)
        question, worked = exercise(chance, steps)
        segments += [(question, False), (worked + "\n", True)]
        left -= 26 * steps + 26
    return segments


FAMILIES = {
    "passkey": Family(0.10, 200, _passkey),
    "multi_key": Family(0.28, SHORTEST, _multi_key),
    "variable_tracking": Family(0.22, 200, _variable_tracking),
    "copying": Family(0.20, 200, _copying),
    "arithmetic": Family(0.20, SHORTEST, _arithmetic),
}
