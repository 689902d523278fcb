"""Intervals and tests, held to values computed elsewhere."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from kitty_kv.eval.statistics import RESAMPLES, mcnemar, paired_bootstrap, resamples, wilson


@pytest.mark.parametrize(
    ("right", "items", "low", "high"),
    # Newcombe (1998), table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_published_intervals(right, items, low, high):
    assert wilson(right, items) == pytest.approx((low, high), abs=5e-5)
    assert wilson(items - right, items) == pytest.approx((1 - high, 1 - low), abs=5e-5)


def test_mcnemar_is_the_share_of_coin_tosses_at_least_as_uneven():
    for lost, won in [(0, 0), (3, 3), (5, 0), (1, 8), (4, 7)]:
        tosses = list(itertools.product([0, 1], repeat=lost + won))
        uneven = [abs(2 * sum(toss) - lost - won) >= abs(lost - won) for toss in tosses]
        assert mcnemar(lost, won) == pytest.approx(sum(uneven) / len(tosses))


def test_the_bootstrap_covers_as_the_normal_interval_does():
    chance = np.random.default_rng(1)
    base, gain = chance.normal(size=400), chance.normal(0.2, 0.5, size=400)
    mean, low, high = paired_bootstrap(base + gain, base, np.ones(400))
    half = 1.96 * gain.std(ddof=1) / 20
    assert mean == pytest.approx(gain.mean())
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=0.1 * half)


def test_weights_make_a_ratio_of_sums():
    assert paired_bootstrap([3.0, 5.0], [1.0, 2.0], [10.0, 40.0])[0] == pytest.approx(5 / 50)


@pytest.mark.parametrize("items", [1, 7, 4099, 200_003])
def test_items_drawn_some_at_a_time_are_those_drawn_at_once(items):
    few = list(itertools.islice(resamples(items), 3))
    rows = sum(len(drawn) for drawn in few)
    assert np.array_equal(np.concatenate(few), np.random.default_rng(0).integers(0, items, (rows, items)))
    assert all(drawn.size <= max(items, 1 << 17) for drawn in few)


def test_all_rows_are_drawn():
    assert [sum(len(drawn) for drawn in resamples(items)) for items in (1, 300)] == [RESAMPLES] * 2
