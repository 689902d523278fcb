"""Warnings that a user needs to see one time in a process."""

from __future__ import annotations

import functools
import warnings


@functools.cache
def warn_once(message: str) -> None:
    """Warns with ``message``, the first time only."""
    warnings.warn(message, UserWarning, stacklevel=3)
