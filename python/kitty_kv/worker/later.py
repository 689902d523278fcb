"""A call's outcome that comes after its reply."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

Work = Callable[[], dict[str, Any]]
"""Returns the result or raises."""


@dataclasses.dataclass(frozen=True, slots=True)
class Later:
    """Work for another thread.

    Args:
        start: gets a function that runs the work it is given and tells the host of the outcome; must return at once,
            and have that function called exactly once on some thread.
    """

    start: Callable[[Callable[[Work], None]], None]
