"""Makes a prompt of a given length in tokens, and the text that fills it."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

from ..errors import ConfigError

Count = Callable[[str], int]

# What a reader needs at the end of a prompt is far enough from it to be packed, keys and values: at 512 tokens and the
# paper's presets that is everything before token 288.
NEEDLE_SHARES = (0.08, 0.42)


def fit(build: Callable[[int], str], length: int, count: Count) -> str:
    """``build(units)`` for as many units as ``length`` tokens hold; it must get longer with every unit.

    Raises:
        ConfigError: not even one unit fits.
    """
    low, high = 1, 2
    if count(build(low)) > length:
        raise ConfigError(
            f"Cannot make a prompt of {length} tokens: the question alone is longer; give a larger length."
        )
    while count(build(high)) <= length:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(build(middle)) <= length else (low, middle)
    return build(low)


def sentences(text: str, least: int = 1) -> list[str]:
    """Sentences of a text of ``least`` characters or more, each on one line."""
    plain = re.sub(r"\s+", " ", text).strip()
    found = [part for part in re.split(r"(?<=[.!?])\s", plain) if len(part) >= least]
    if not found:
        raise ConfigError("Cannot fill prompts: the text holds no sentence; give a longer one.")
    return found


class Filler:
    """Consecutive sentences of a text from a random one on; after the last comes the first."""

    def __init__(self, text: Sequence[str], chance: random.Random) -> None:
        self._text = text
        self._start = chance.randrange(len(text))

    def take(self, units: int) -> list[str]:
        """The first ``units`` sentences."""
        return [self._text[(self._start + at) % len(self._text)] for at in range(units)]


def planted(filler: Sequence[str], needles: Sequence[str], places: Sequence[float]) -> str:
    """``filler`` and ``needles`` as one paragraph, with each needle behind that share of all characters, or just after."""
    total = sum(map(len, [*filler, *needles]))
    pieces: list[str] = []
    waiting = sorted(zip(places, range(len(needles)), strict=True))
    passed = 0
    for sentence in filler:
        while waiting and passed >= waiting[0][0] * total:
            needle = needles[waiting.pop(0)[1]]
            pieces.append(needle)
            passed += len(needle)
        pieces.append(sentence)
        passed += len(sentence)
    pieces += [needles[at] for _, at in waiting]
    return " ".join(pieces)
