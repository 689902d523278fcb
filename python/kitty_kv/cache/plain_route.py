"""Stores tokens by plain indexing and reads them back for dense attention: for the CPU, and for caches without pages."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

import torch

from kitty_kernels.dequantize.api import dequantize_keys, dequantize_values

from .plain_index import ReadIndex, WriteIndex, read, read_index, write, write_index
from .step import Group, Step

if TYPE_CHECKING:
    from .paged_cache import PagedCache
    from .pools import Place


class PlainRoute:
    """Every call attends to what it reads back and to its own tokens.

    Args:
        cache: what is read and written.
    """

    attends_cache = False
    impl = "reference"  # of the codec

    def __init__(self, cache: PagedCache) -> None:
        self._cache: PagedCache = weakref.proxy(cache)  # so that a cache nobody refers to is gone at once
        self._step: Step | None = None
        self._reads: dict[tuple[torch.device, int], tuple[ReadIndex, ReadIndex]] = {}
        self._writes: dict[tuple[torch.device, int], tuple[WriteIndex, WriteIndex]] = {}

    def of(self, cache: PagedCache) -> PlainRoute:
        """The same for another cache."""
        return PlainRoute(cache)

    def history(self, place: Place, group: Group, dtype: torch.dtype, room: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The group's cached tokens, dequantized, with ``room`` for more: keys and values ``[R, HKV, past + room, D]``."""
        self._forget_other_steps()
        key = (place.storage.device, group.first)
        if key not in self._reads:
            pages = (group.step.keys.before, group.step.values.before)
            self._reads[key] = self._read_index(group.first, group.end, group.step.past, pages, place.storage.device)
        return self._read(place, self._reads[key], dtype, room)

    def write(self, place: Place, step: Step, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Writes new tokens ``[B, HKV, S, D]`` that are not packed yet to their blocks."""
        self._forget_other_steps()
        blocks = place.storage.blocks[place.index]
        for group in step.groups:
            key = (place.storage.device, group.first)
            if key not in self._writes:
                self._writes[key] = self._write_index(group, place.storage.device)
            at = slice(group.step.start, group.step.start + group.step.count)
            for index, new in zip(self._writes[key], (keys, values), strict=True):
                write(index, new[group.first : group.end, :, at], blocks)

    def dequantize(self, place: Place, layer: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """All tokens that a layer holds, ``[B, HKV, T, D]``, zeros behind shorter rows."""
        cache = self._cache
        rows = [(row.length, len(row.keys.pages), len(row.values.pages)) for row in cache.rows]
        if cache.step is not None and cache.is_updated(layer):
            rows = [(row.length, row.keys.now, row.values.now) for row in cache.step.rows]
        elif cache.step is not None:
            rows = [(row.past, row.keys.before, row.values.before) for row in cache.step.rows]
        device = place.storage.device
        if len(set(rows)) == 1:
            length, *pages = rows[0]
            return self._read(place, self._read_index(0, len(rows), length, pages, device), dtype, 0)
        longest = max(length for length, *_ in rows)
        shape = (len(rows), cache.kv_heads, longest, cache.layout.head_dim)
        out = tuple(torch.zeros(shape, dtype=dtype, device=device) for _ in range(2))
        for row, (length, *pages) in enumerate(rows):
            found = self._read(place, self._read_index(row, row + 1, length, pages, device), dtype, 0)
            for side, tokens in zip(out, found, strict=True):
                side[row, :, :length] = tokens[0]
        return out

    def _read_index(
        self, first: int, end: int, length: int, pages: tuple[int, int], device: torch.device
    ) -> tuple[ReadIndex, ReadIndex]:
        rows = self._cache.rows[first:end]
        keys, values = self._cache.geometry
        return (
            read_index([row.keys for row in rows], keys, length, pages[0], device),
            read_index([row.values for row in rows], values, length, pages[1], device),
        )

    def _write_index(self, group: Group, device: torch.device) -> tuple[WriteIndex, WriteIndex]:
        rows, gained = self._cache.rows[group.first : group.end], group.step
        keys, values = self._cache.geometry
        return (
            write_index([row.keys for row in rows], keys, gained.past, gained.length, gained.keys.now, device),
            write_index([row.values for row in rows], values, gained.past, gained.length, gained.values.now, device),
        )

    def _read(
        self, place: Place, indices: tuple[ReadIndex, ReadIndex], dtype: torch.dtype, room: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        storage, layout = place.storage, place.storage.layout
        records = (storage.key_pages, storage.value_pages)
        codecs = (
            lambda pages: dequantize_keys(layout.keys(pages), impl=self.impl),
            lambda pages: dequantize_values(layout.values(pages), impl=self.impl),
        )
        keys, values = (
            read(index, storage.blocks[place.index], pool[place.index], dequantize, room, dtype)
            for index, pool, dequantize in zip(indices, records, codecs, strict=True)
        )
        return keys, values

    def _forget_other_steps(self) -> None:
        if self._step is not self._cache.step:
            self._step = self._cache.step
            self._reads.clear()
            self._writes.clear()
