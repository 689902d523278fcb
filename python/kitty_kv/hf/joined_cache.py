"""Several caches of one model as the rows of one batch."""

from __future__ import annotations

import operator
from collections.abc import Sequence

import torch

from ..cache.joined_pages import JoinedPages
from ..errors import UnsupportedError
from .cache import ATTENTION_NAME, KittyCache
from .slot_map import SlotMap


def can_join(cache: KittyCache) -> bool:
    """Whether ``JoinedCache`` takes it: kitty attention, no sliding-window layers, no padding, and pages to share."""
    is_kitty = cache.model_config._attn_implementation == ATTENTION_NAME
    return is_kitty and cache.sliding is None and not cache.slots.has_padding and len(cache.pages.layers) > 0


class JoinedCache(KittyCache):
    """A batch of one row for each of ``caches``, whatever their lengths; passes are of one or a few tokens a row.

    Give the model each row's own positions in ``position_ids`` ``[B, S]``, no ``attention_mask``, and any token where a
    row has none, behind its last one and in padding rows: it is neither cached nor attended to.

    Args:
        caches: of one model, config and store, none of them empty; each is what a pass alone would have left.
        rows: the batch is padded to a multiple of so many rows.

    Raises:
        UnsupportedError: a cache that cannot be joined; see ``can_join``.
        ConfigError: the caches do not share a store, or one is empty.
    """

    def __init__(self, caches: Sequence[KittyCache], rows: int = 1) -> None:
        first = caches[0]
        if not all(can_join(cache) for cache in caches):
            raise UnsupportedError(
                "Cannot join these caches: sliding-window layers, padding or a stock attention function do not allow it; "
                "feed each of them by itself."
            )
        super().__init__(first.model_config, first.config, first.pages.impl, weights=first.pages.weights)
        self._caches = list(caches)
        padding = -len(caches) % rows
        self.pages = JoinedPages([cache.pages for cache in caches], padding)
        self.layers = list(self.pages.layers)
        self.identity = first.identity
        self._single = self._mask([1] * len(caches), 1)
        self.begin_pass()

    def is_of(self, caches: Sequence[KittyCache]) -> bool:
        """Whether this is a batch of just these caches, with the rows that they have now."""
        rows = [row for cache in caches for row in cache.pages.rows]
        held = self.pages.rows[: len(rows)]
        return len(caches) == len(self._caches) and all(map(operator.is_, held, rows))

    def begin_pass(self, counts: Sequence[int] | None = None, width: int = 1) -> None:
        """Call before each forward pass: positions are counted from the longest row.

        Args:
            counts: how many tokens each cache gets, 1 or more; None for one each.
            width: S, at least the most of these.
        """
        self._counts = [1] * len(self._caches) if counts is None else list(counts)
        self._real = self._single if width == 1 else self._mask(self._counts, width)
        self.slots = SlotMap()
        self.slots.count = self.pages.slots = max(self.pages.lengths)

    def end_pass(self) -> None:
        """Call after each forward pass: every cache has seen its tokens."""
        for cache, count in zip(self._caches, self._counts, strict=True):
            cache.slots.add(count, None)

    def roll_back(self) -> None:
        """Undoes a pass that raised: every cache is what it was before, this one is not to be used again."""
        self.pages.roll_back()

    @property
    def real(self) -> torch.Tensor | None:
        """Which tokens of the pass are real, bool ``[B, S]``; None for all."""
        return self._real

    def new_tokens(self, mask: torch.Tensor | None, count: int) -> torch.Tensor | None:
        return self._real

    def _mask(self, counts: Sequence[int], width: int) -> torch.Tensor | None:
        """Which tokens of a pass are real, bool ``[B, S]``; None for all."""
        padding = len(self.pages.rows) - len(counts)
        if not padding and min(counts) == width:
            return None
        return torch.tensor([[at < count for at in range(width)] for count in [*counts, *[0] * padding]])
