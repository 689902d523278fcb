"""Limits and defaults of one engine."""

from __future__ import annotations

import dataclasses

from ..errors import ConfigError
from .speculation import Speculation


@dataclasses.dataclass(frozen=True, slots=True)
class SchedulerOptions:
    """What one engine allows, and does where a request says nothing.

    Args:
        max_batch: most generations that are stepped at a time, those whose reader keeps them waiting not counted.
        max_waiting: most that wait for their turn; one more is refused.
        prefill_tokens: once so many tokens of prompts were fed in a step, the others' next tokens come first.
        speculation: how tokens are drafted where a request says nothing of it; None for not at all.
        runs_ahead: whether a decode pass may be launched before the tokens of the one before it are known here, so that the
            device need not wait for the host; None for on a GPU only.
    """

    max_batch: int = 64
    max_waiting: int = 1024
    prefill_tokens: int = 512
    speculation: Speculation | None = None
    runs_ahead: bool | None = None

    def __post_init__(self) -> None:
        for name in ("max_batch", "max_waiting", "prefill_tokens"):
            if getattr(self, name) < 1:
                raise ConfigError(f"Cannot run an engine with {name} {getattr(self, name)}: want 1 or more.")
