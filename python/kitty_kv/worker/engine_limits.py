"""What the host asks of the worker's engine, before anything heavy is imported."""

from __future__ import annotations

from typing import NamedTuple


class EngineLimits(NamedTuple):
    """Fields of ``SchedulerOptions``; None for its defaults."""

    max_batch: int | None = None
    max_waiting: int | None = None

    def given(self) -> dict[str, int]:
        """Those that were asked for."""
        return {name: value for name, value in self._asdict().items() if value is not None}
