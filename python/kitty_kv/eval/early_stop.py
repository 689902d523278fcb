"""When a preset has answered enough: clearly worse than the 16-bit cache, or clearly as good, on the items so far.

Both decisions hold however often one looks (Ville's inequality): each rests on a wealth that would stay near 1 if the
hypothesis were true, and exceeds ``1 / ALPHA`` with a probability of at most ``ALPHA`` then.

- *Worse*: of items that only one of the two got right, each would be the 16-bit cache's with probability 1/2 if both were as
  good. The wealth bets on every share above 1/2 alike.
- *Equal*: an item that only the 16-bit cache got right would come with probability ``MARGIN`` or more if the preset lost that
  much. The wealth bets on a fifth of it. Items that only the preset got right do not count against these.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

ALPHA = 0.05
MARGIN = 0.1


def decide(pairs: Sequence[tuple[bool, bool]]) -> tuple[str, int] | None:
    """``worse`` or ``equal`` and after how many items, or None.

    Args:
        pairs: of each item in order, whether the preset and the 16-bit cache got it right.
    """
    lost = won = 0
    for done, (own, base) in enumerate(pairs, 1):
        lost += base and not own
        won += own and not base
        if log_of_best_bet(lost, won) >= -math.log(ALPHA) and wealth_of_worse(lost, won) >= 1 / ALPHA:
            return "worse", done
        if log_wealth_of_equal(lost, done) >= -math.log(ALPHA):
            return "equal", done
    return None


def decide_records(own: Sequence[dict[str, Any]], base: Sequence[dict[str, Any]]) -> tuple[str, int] | None:
    """The same of records of items, where the first lack none; likelihoods have no right answer and are never decided."""
    pairs = []
    for mine, other in zip(own, base, strict=False):
        if mine["is_correct"] is None:
            return None
        pairs.append((mine["is_correct"], other["is_correct"]))
    return decide(pairs)


def wealth_of_worse(lost: int, won: int) -> float:
    """``2 integral from 1/2 to 1 of p**lost (1 - p)**won dp``, over ``2**-(lost + won)``."""
    n = lost + won
    # The integral is Beta(lost + 1, won + 1) times the upper half of its distribution, a binomial tail.
    log_beta = math.lgamma(lost + 1) + math.lgamma(won + 1) - math.lgamma(n + 2)
    upper = sum(math.comb(n + 1, k) for k in range(lost + 1)) / 2 ** (n + 1)
    return math.exp(math.log(2) * (n + 1) + log_beta) * upper


def log_of_best_bet(lost: int, won: int) -> float:
    """The logarithm of what the best share above 1/2 would have won in hindsight: never less than the mean of all shares does,
    and told without the sums over all outcomes."""
    if lost <= won:
        return 0.0
    return sum(count * math.log(2 * count / (lost + won)) for count in (lost, won) if count)


def log_wealth_of_equal(lost: int, items: int) -> float:
    """The logarithm of the likelihood of so many losses at a fifth of ``MARGIN``, over that at ``MARGIN``; over thousands of items
    neither is a number that a computer has."""
    bet = MARGIN / 5
    return lost * math.log(bet / MARGIN) + (items - lost) * math.log((1 - bet) / (1 - MARGIN))
