"""What moves a cache's rows about and takes its tokens back."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import Cache

from ..cache.paged_cache import PagedCache
from ..cache.sliding_store import SlidingStore
from ..errors import CacheError
from .arguments import check_rows
from .forward_pass import ForwardPass
from .slot_map import SlotMap


class RowOperations(Cache):
    """The part of ``KittyCache`` that works on whole rows, the same in every layer."""

    pages: PagedCache
    sliding: SlidingStore | None
    slots: SlotMap
    lengths: Sequence[int]
    _pass: ForwardPass

    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        """Makes row ``beam_idx[i]`` the new row i; pages are shared, not copied."""
        self._select(beam_idx.tolist())

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keeps only the rows at ``indices``, in that order."""
        self._select(indices.tolist())

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeats every row ``repeats`` times; pages are shared, not copied."""
        self._select([row for row in range(len(self.lengths)) for _ in range(repeats)])

    def crop(self, max_length: int) -> None:
        """Takes the latest positions back.

        The last 64 tokens of the last forward pass come back exactly; ``PagedCache.crop`` says what a deeper crop
        leaves. Sliding-window layers can give back 128 tokens.

        Args:
            max_length: positions that stay, padding included; a negative number takes so many back. More than there are
                changes nothing.

        Raises:
            CacheError: more positions taken back than there are, or than a sliding-window layer can give back.
        """
        self._pass.check_idle("crop")
        held = self.slots.count
        slots = held + max_length if max_length < 0 else max_length
        if slots < 0:
            raise CacheError(f"Cannot crop the cache by {-max_length} positions: it has seen {held}.")
        if slots >= held:
            return
        lengths = self.slots.tokens_before(slots, len(self.lengths))
        if self.sliding is not None:
            self.sliding.check_crop(lengths)
            self.sliding.crop(lengths, slots)
        if self.pages.layers:
            self.pages.crop(lengths, slots)
        self.slots.crop(slots)

    def _select(self, indices: Sequence[int]) -> None:
        self._pass.check_idle("select rows of")
        if not self.lengths:
            return
        check_rows(indices, len(self.lengths))
        if self.pages.layers:
            self.pages.select_rows(indices)
        if self.sliding is not None:
            self.sliding.select_rows(indices)
        self.slots.select_rows(indices)
