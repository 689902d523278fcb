"""Times of one run, whoever generated."""

from __future__ import annotations

import dataclasses
import itertools
import statistics
from collections.abc import Sequence

# The first steps compile, capture graphs and warm up.
WARM_UP_STEPS = 4


@dataclasses.dataclass(frozen=True, slots=True)
class Timed:
    """One run.

    Args:
        first_token_s: from its begin to the first token of all rows; None where its prompts had been fed before.
        step_s: median of the steps after that and after the warm-up; None where there were none.
        cache_bytes: what the cache had allocated when the run was over.
        used_bytes: what of it its tokens needed.
    """

    first_token_s: float | None
    step_s: float | None
    cache_bytes: int
    used_bytes: int

    @classmethod
    def of(cls, rows: Sequence[Sequence[float]], cache_bytes: int, used_bytes: int) -> Timed:
        """From the seconds at which each row's tokens were there."""
        first = max(times[0] for times in rows)
        steps = []
        for times in rows:
            pairs = itertools.pairwise(moment for moment in times if moment >= first)
            steps += [later - earlier for earlier, later in pairs][WARM_UP_STEPS:]
        return cls(first, statistics.median(steps) if steps else None, cache_bytes, used_bytes)
