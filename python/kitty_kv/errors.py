"""Every exception that Kitty KV raises on purpose.

Each carries a stable ``code`` (snake_case, the same on the TypeScript side) and ``details``, plain data for programs.
"""

from __future__ import annotations

from typing import Any


class KittyKvError(Exception):
    """Root of all errors raised on purpose.

    Args:
        message: one sentence: what was attempted, what was found, what to do.
        code: stable machine-readable name; defaults to the class's own.
        details: plain data (numbers, strings) behind the message.
    """

    default_code = "internal"

    def __init__(self, message: str, *, code: str | None = None, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code or self.default_code
        self.details = details or {}


class ConfigError(KittyKvError, ValueError):
    """An argument or a configuration value is wrong."""

    default_code = "invalid_argument"


class UnsupportedError(KittyKvError, NotImplementedError):
    """A valid request that this version, model or device cannot serve."""

    default_code = "unsupported"


class QueueFullError(KittyKvError):
    """So many requests wait already that one more is refused at once; try again later."""

    default_code = "queue_full"


class CacheError(KittyKvError, RuntimeError):
    """A cache was used in a way that its contents do not allow."""

    default_code = "cache_error"


class CacheOutOfMemoryError(CacheError):
    """There is no memory for more tokens; the cache holds what it held, and goes on when some is free."""

    default_code = "cache_out_of_memory"


class CacheBusyError(CacheError):
    """Another thread is in the middle of a forward pass through a cache that shares pages; nothing has changed."""

    default_code = "cache_busy"


class CacheFileError(CacheError):
    """A saved cache cannot be written, or is not one that this model can go on with."""

    default_code = "cache_file"
