"""What an engine has done, in numbers."""

from __future__ import annotations

import dataclasses
import time
from collections import deque

from .kv_pool import PoolUse

_WINDOW_S = 5.0


@dataclasses.dataclass(frozen=True, slots=True)
class EngineMetrics:
    """``tokens_per_second`` is over the last 5 seconds, ``batch_size`` that of the last decode pass; counts are totals, those of
    drafts of generations that have ended.
    """

    running: int
    waiting: int
    batch_size: int
    tokens: int
    tokens_per_second: float
    preemptions: int
    drafted_tokens: int
    accepted_tokens: int
    pools: tuple[PoolUse, ...]


class Meter:
    """Counts; only the engine's thread calls what changes it."""

    def __init__(self) -> None:
        self.tokens = 0
        self.preemptions = 0
        self.drafted_tokens = 0
        self.accepted_tokens = 0
        self.batch_size = 0
        self._recent: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])  # when, and how many tokens by then

    def token(self) -> None:
        self.tokens += 1

    def preemption(self) -> None:
        self.preemptions += 1

    def drafts(self, drafted: int, accepted: int) -> None:
        """Of a generation that has ended."""
        self.drafted_tokens += drafted
        self.accepted_tokens += accepted

    def batch(self, size: int) -> None:
        self.batch_size = size

    def step(self) -> None:
        """A step is over."""
        now = time.monotonic()
        self._recent.append((now, self.tokens))
        while len(self._recent) > 1 and self._recent[1][0] <= now - _WINDOW_S:
            self._recent.popleft()

    @property
    def tokens_per_second(self) -> float:
        now = time.monotonic()
        start, before = next((mark for mark in self._recent if mark[0] > now - _WINDOW_S), (now, self.tokens))
        return (self.tokens - before) / (now - start) if now > start else 0.0
