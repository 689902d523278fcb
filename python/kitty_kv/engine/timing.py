"""When a generation waited, began and wrote."""

from __future__ import annotations

import time


class Timing:
    """Clock of one generation, from its making on; what has not happened yet gives None."""

    def __init__(self) -> None:
        self.tokens = 0
        self._submitted = time.perf_counter()
        self._begun: float | None = None
        self._first: float | None = None
        self._last = 0.0

    def begin(self) -> None:
        """Its turn has come."""
        self._begun = time.perf_counter()

    def token(self) -> None:
        """One more token."""
        self.tokens += 1
        self._last = time.perf_counter()
        if self._first is None:
            self._first = self._last

    @property
    def queue_time_ms(self) -> float | None:
        return None if self._begun is None else (self._begun - self._submitted) * 1000

    @property
    def time_to_first_token_ms(self) -> float | None:
        return None if self._first is None else (self._first - self._submitted) * 1000

    @property
    def inter_token_latency_ms(self) -> float | None:
        """Mean."""
        return None if self.tokens < 2 else (self._last - self._first) * 1000 / (self.tokens - 1)

    @property
    def tokens_per_second(self) -> float | None:
        """Of the tokens after the first; of the first where there is no other."""
        if self._first is None:
            return None
        if self.tokens == 1:
            return 1 / max(self._first - self._submitted, 1e-9)
        return (self.tokens - 1) / max(self._last - self._first, 1e-9)
