"""Packed pages of one layer, shared by all its rows and counted by reference."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from kitty_kernels.dequantize.api import PackedKeys, PackedValues

Pages = PackedKeys | PackedValues


class PagePool:
    """Pages of one kind; it holds exactly the pages in use plus freed ones, which are reused first."""

    def __init__(self) -> None:
        self.pages: Pages | None = None
        self._references: list[int] = []
        self._free: list[int] = []

    @property
    def pages_in_use(self) -> int:
        return len(self._references) - len(self._free)

    @property
    def bytes_in_use(self) -> int:
        """Bytes of the pages that rows refer to."""
        return self.pages_in_use * self._page_bytes()

    @property
    def bytes_allocated(self) -> int:
        """Bytes of all pages held, freed ones included."""
        return len(self._references) * self._page_bytes()

    def add(self, pages: Pages) -> list[int]:
        """Stores pages with leading dimensions ``[n, HKV]``, each with one reference, and returns their ids."""
        count = pages[0].shape[0]
        reused = [self._free.pop() for _ in range(min(count, len(self._free)))]
        if reused:
            index = torch.tensor(reused, device=pages[0].device)
            for stored, new in zip(self.pages, pages, strict=True):
                stored[index] = new[: len(reused)]
        fresh = list(range(len(self._references), len(self._references) + count - len(reused)))
        if fresh:
            added = type(pages)(*(part[len(reused) :] for part in pages))
            self.pages = added if self.pages is None else _concatenate(self.pages, added)
            self._references.extend([0] * len(fresh))
        for page_id in reused + fresh:
            self._references[page_id] = 1
        return reused + fresh

    def retain(self, ids: Iterable[int]) -> None:
        """Adds one reference to each page."""
        for page_id in ids:
            self._references[page_id] += 1

    def release(self, ids: Iterable[int]) -> None:
        """Drops one reference of each page; a page without any is free for reuse."""
        for page_id in ids:
            self._references[page_id] -= 1
            if self._references[page_id] == 0:
                self._free.append(page_id)

    def _page_bytes(self) -> int:
        return 0 if self.pages is None else sum(part[0].nbytes for part in self.pages)


def _concatenate(first: Pages, second: Pages) -> Pages:
    return type(first)(*(torch.cat(parts) for parts in zip(first, second, strict=True)))
