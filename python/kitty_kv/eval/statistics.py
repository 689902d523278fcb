"""Intervals and paired tests for results on few items."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

Z95 = 1.959963984540054
RESAMPLES = 4000
_INDICES_AT_ONCE = 1 << 17


def wilson(right: float, items: int) -> tuple[float, float]:
    """The 95% interval of a share, after Wilson (1927); (0, 1) of no items."""
    if not items:
        return 0.0, 1.0
    share, square = right / items, Z95**2
    middle = (share + square / (2 * items)) / (1 + square / items)
    half = Z95 / (1 + square / items) * math.sqrt(share * (1 - share) / items + square / (4 * items**2))
    # Without an error, or with nothing but errors, the exact end is 1 or 0, which rounding may miss.
    return (0.0 if right == 0 else middle - half), (1.0 if right == items else middle + half)


def mcnemar(only_first: int, only_second: int) -> float:
    """The exact two-sided p value of McNemar's test; arguments count items that only the one or the other got right."""
    changed = only_first + only_second
    if not changed:
        return 1.0
    tail = sum(math.comb(changed, k) for k in range(min(only_first, only_second) + 1)) / 2**changed
    return min(1.0, 2 * tail)


def paired_bootstrap(
    first: Sequence[float], second: Sequence[float], weights: Sequence[float], seed: int = 0
) -> tuple[float, float, float]:
    """``sum(first - second) / sum(weights)`` over items, and its 95% interval from items drawn again, both of a pair together.

    With weights of 1 that is the mean difference; with each item's bytes the difference of bits per byte.
    """
    differences, sizes = np.asarray(first, float) - np.asarray(second, float), np.asarray(weights, float)
    found = np.concatenate([differences[drawn].sum(1) / sizes[drawn].sum(1) for drawn in resamples(len(sizes), seed)])
    low, high = np.percentile(found, [2.5, 97.5])
    return float(differences.sum() / sizes.sum()), float(low), float(high)


def resamples(items: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Indices of items drawn again, ``RESAMPLES`` rows in all.

    Some rows at a time, which draws the same: all at once they would not fit a processor's cache, and thousands of items take
    gigabytes.
    """
    generator = np.random.default_rng(seed)
    rows = max(1, _INDICES_AT_ONCE // items)
    for first in range(0, RESAMPLES, rows):
        yield generator.integers(0, items, (min(rows, RESAMPLES - first), items))


def holm(p_values: Sequence[float]) -> list[float]:
    """P values of several tests after Holm (1979): each holds although the others were made too."""
    order = sorted(range(len(p_values)), key=lambda at: p_values[at])
    adjusted, largest = [1.0] * len(p_values), 0.0
    for rank, at in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[at]))
        adjusted[at] = largest
    return adjusted
