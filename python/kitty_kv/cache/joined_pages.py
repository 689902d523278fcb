"""Rows of several caches as one batch, so that one forward pass gives each of them its next tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from kitty_kernels.decode_attention.api import CacheView

from ..errors import CacheError, ConfigError
from .crop import crop_rows
from .paged_cache import PagedCache
from .row import Row
from .spans import Spans
from .step import Group


class JoinedPages(PagedCache):
    """The rows of ``caches``, in their order, and behind them ``padding`` rows that never get a token.

    The rows stay their caches' own: a pass through this cache is one through each of them, and between passes each of
    them may be cropped. It holds no reference to pages or blocks, and is of use until one of the caches takes a pass by
    itself or is reset.

    Args:
        caches: of one store and config, none of them empty.
        padding: how many rows without tokens follow.

    Raises:
        ConfigError: the caches do not share a store, or one is empty.
    """

    attends_singly = True

    def __init__(self, caches: Sequence[PagedCache], padding: int = 0) -> None:
        first = caches[0]
        if any(not _is_alike(cache, first) for cache in caches):
            raise ConfigError("Cannot join these caches: they must share one store, one config and one set of weights.")
        if not all(cache.slots for cache in caches):
            raise ConfigError("Cannot join an empty cache: its first tokens must be added to it alone.")
        super().__init__(first.config, len(first.layers), first.impl, weights=first.weights)
        self._caches = list(caches)
        rows = [row for cache in caches for row in cache.rows]
        self._begin(first.store, [*rows, *(Row() for _ in range(padding))])
        self.route = first.route.of(self)
        self.slots = max(self.lengths)

    def __del__(self) -> None:
        # The base class gives up references that are the caches' here.
        pass

    @property
    def owned_rows(self) -> Sequence[Row]:
        """None: they are the caches' own."""
        return ()

    def reset(self) -> None:
        """Raises ``CacheError``: the rows are not this cache's to forget."""
        self._check_idle("reset")

    def roll_back(self) -> None:
        """Takes back the tokens of a pass that failed half-way, a few a row; the rows are what they were before it.

        Exact, because a pass's last tokens are in 16-bit blocks until the next one, whatever pages they complete.
        """
        step, self.step, self._has_failed = self.step, None, False
        if step is not None:
            crop_rows(self.rows, [row.past for row in step.rows], self.geometry, self.store, self.route)
        self._forget_all_tables()

    def _check_idle(self, action: str) -> None:
        raise CacheError(f"Cannot {action} joined rows: they belong to several caches; do it to each of these.")

    def _open(self, new_tokens: int, real: torch.Tensor | None, spans: Spans) -> None:
        super()._open(new_tokens, real, spans)
        # Rows of equal length are not attended together: torch may split them otherwise than one alone.
        self.step.groups = [Group(at, at + 1, row) for at, row in enumerate(self.step.rows) if row.count]

    def _close(self, view: CacheView | None = None) -> None:
        gained = iter(self.step.rows)
        for cache in self._caches:
            cache.slots += max(next(gained).count for _ in cache.rows)
        super()._close(view)
        self._forget_all_tables()

    def _forget_all_tables(self) -> None:
        self.forget_tables()
        for cache in self._caches:
            cache.forget_tables()


def _is_alike(cache: PagedCache, other: PagedCache) -> bool:
    # In every step, so it must not compare what is the same object.
    has_same_weights = cache.weights is other.weights or cache.weights == other.weights
    return cache.store is other.store and cache.config == other.config and has_same_weights
