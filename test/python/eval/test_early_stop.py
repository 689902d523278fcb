"""Stopping early: the wealths are what they say, and wrong decisions are as rare as they say, however often one looks."""

from __future__ import annotations

import itertools
import math
import time

import numpy as np
import pytest

from kitty_kv.eval.early_stop import ALPHA, MARGIN, decide, log_of_best_bet, log_wealth_of_equal, wealth_of_worse


@pytest.mark.parametrize(("lost", "won"), [(0, 0), (5, 0), (3, 4), (20, 7)])
def test_the_wealth_is_the_integral_by_numbers(lost, won):
    shares = np.linspace(0.5, 1, 200_001)
    mean = np.trapezoid(shares**lost * (1 - shares) ** won, shares) * 2
    assert wealth_of_worse(lost, won) == pytest.approx(mean * 2 ** (lost + won), rel=1e-6)


def test_both_wealths_are_fair_games_where_the_hypothesis_is_true():
    # The mean over all outcomes of the next six items is what is there before them.
    for items in (1, 6):
        outcomes = itertools.product([0, 1], repeat=items)
        found = [(sum(o), items - sum(o)) for o in outcomes]
        assert sum(wealth_of_worse(*o) for o in found) / 2**items == pytest.approx(1)
        odds = [MARGIN**lost * (1 - MARGIN) ** rest for lost, rest in found]
        assert sum(
            p * math.exp(log_wealth_of_equal(o[0], items)) for p, o in zip(odds, found, strict=True)
        ) == pytest.approx(1)


def test_the_best_bet_in_hindsight_is_never_less():
    for lost, won in itertools.product(range(60), repeat=2):
        assert log_of_best_bet(lost, won) >= math.log(wealth_of_worse(lost, won)) - 1e-9


def test_thousands_of_items_that_decide_nothing_are_looked_at_soon():
    started = time.monotonic()
    # A tenth each way: as many won as lost, and more lost than would be as good.
    assert decide([(True, True)] * 8 + [(False, True), (True, False)] * 10_000) is None
    assert time.monotonic() - started < 5


def test_decisions_come_when_they_should():
    assert decide([(False, True)] * 20) == ("worse", 7)
    assert decide([(True, True)] * 200) == ("equal", math.ceil(math.log(20) / math.log(0.98 / 0.9)))
    assert decide([(True, False)] * 40)[0] == "equal"
    assert decide([(True, True)] * 20) is None
    assert decide([(False, True), (True, False)] * 40) is None
    assert decide([]) is None


def test_a_preset_that_is_as_good_is_rarely_called_worse_and_one_that_loses_rarely_equal():
    chance = np.random.default_rng(0)
    runs = 400
    alike = [decide([(a > 0.5, b > 0.5) for a, b in chance.random((150, 2)).tolist()]) for _ in range(runs)]
    assert sum(found is not None and found[0] == "worse" for found in alike) <= ALPHA * runs
    loses = [decide([(lost > MARGIN, True) for lost in chance.random(150).tolist()]) for _ in range(runs)]
    assert sum(found is not None and found[0] == "equal" for found in loses) <= ALPHA * runs * 1.5
