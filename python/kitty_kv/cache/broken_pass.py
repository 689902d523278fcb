"""What is said of a cache whose last forward pass failed half-way."""

from __future__ import annotations

from ..errors import CacheError


def broken_pass_error(action: str | None = None) -> CacheError:
    """The error of doing ``action`` to such a cache, or of going on with it."""
    if action is not None:
        return CacheError(f"Cannot {action} this cache: a forward pass failed half-way; reset() it and start again.")
    return CacheError(
        "Cannot continue with this cache: its layers hold different numbers of tokens, so an earlier forward pass failed "
        "half-way; reset() it and start again."
    )
