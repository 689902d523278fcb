"""Stores and attends tokens through the operations of ``kitty_kernels``."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

import torch

from kitty_kernels.append.api import append
from kitty_kernels.decode_attention.api import decode_attention
from kitty_kernels.dequantize.api import dequantize_view

from .step import Group, Step
from .views import layer_of, rows_of

if TYPE_CHECKING:
    from .paged_cache import PagedCache
    from .pools import Place


class KernelRoute:
    """Short calls attend straight to the cache once their tokens are in it.

    Args:
        cache: what is read and written.
        impl: of all operations.
    """

    attends_cache = True

    def __init__(self, cache: PagedCache, impl: str) -> None:
        self._cache: PagedCache = weakref.proxy(cache)  # so that a cache nobody refers to is gone at once
        self.impl = impl

    def of(self, cache: PagedCache) -> KernelRoute:
        """The same for another cache."""
        return KernelRoute(cache, self.impl)

    def history(self, place: Place, group: Group, dtype: torch.dtype, room: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The group's cached tokens, dequantized, with ``room`` for more: keys and values ``[R, HKV, past + room, D]``."""
        before = self._cache.views(place.storage).before
        view = rows_of(layer_of(before, place.index), group.first, group.end)
        return dequantize_view(view, tokens=group.step.past + room, dtype=dtype, impl=self.impl)

    def write(self, place: Place, step: Step, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Writes new tokens ``[B, HKV, S, D]`` that are not packed yet to their blocks."""
        views = self._cache.views(place.storage)
        counters = {"first_new": views.first_new, "starts": views.starts, "counts": views.counts}
        append(keys, values, layer_of(views.now, place.index), **counters, impl=self.impl)

    def attend(self, place: Place, query: torch.Tensor, scaling: float, softcap: float | None) -> torch.Tensor:
        """Attends all rows' short calls ``[B, HQ, S, D]``; what comes out at padding means nothing."""
        views = self._cache.views(place.storage)
        options = {"scaling": scaling, "softcap": softcap, "impl": self.impl}
        view = layer_of(views.now, place.index)
        return decode_attention(query, view, first_positions=views.first_positions, **options)

    def attend_group(
        self, place: Place, group: Group, query: torch.Tensor, scaling: float, softcap: float | None
    ) -> torch.Tensor:
        """Attends one group's short call ``[R, HQ, count, D]``."""
        view = rows_of(layer_of(self._cache.views(place.storage).now, place.index), group.first, group.end)
        return decode_attention(query, view, scaling=scaling, softcap=softcap, impl=self.impl)

    def dequantize(self, place: Place, layer: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """All tokens that a layer holds, ``[B, HKV, T, D]``, zeros behind shorter rows."""
        cache, views = self._cache, self._cache.views(place.storage)
        view, lengths = views.after, cache.lengths
        if cache.step is not None:
            is_updated = cache.is_updated(layer)
            view = views.now if is_updated else views.before
            lengths = [row.length if is_updated else row.past for row in cache.step.rows]
        return dequantize_view(layer_of(view, place.index), tokens=max(lengths), dtype=dtype, impl=self.impl)
