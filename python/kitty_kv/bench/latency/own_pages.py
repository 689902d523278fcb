"""Gives rows that share pages and blocks copies of their own, so that they take and move as much memory as distinct ones."""

from __future__ import annotations

from ...cache.allocator import IdAllocator
from ...cache.paged_cache import PagedCache
from ...cache.row import NO_BLOCK, Row, Side
from ...cache.storage import Counts, to_device


def own_pages(cache: PagedCache) -> None:
    """Copies every page and block of ``cache`` that another row refers to as well; for between passes.

    Raises:
        CacheOutOfMemoryError: there is no memory for a copy; what the rows hold has not changed.
    """
    # All at once: pools are copied when they grow.
    repeats = Counts(*(len(ids) - len(set(ids)) for ids in _held(cache.rows)))
    cache.store.reserve(repeats, lambda: repeats)
    for row in cache.rows:
        _own(cache, row)
    cache.forget_tables()


def _held(rows: list[Row]) -> tuple[list[int], list[int], list[int]]:
    """Ids of key pages, value pages and blocks, each as often as a row refers to it."""
    blocks = [block for row in rows for side in (row.keys, row.values) for block in side.held_blocks()]
    return (
        [page for row in rows for page in row.keys.pages],
        [page for row in rows for page in row.values.pages],
        blocks,
    )


def _own(cache: PagedCache, row: Row) -> None:
    store, sides = cache.store, (row.keys, row.values)
    held = zip(_held([row]), (*store.page_ids, store.block_ids), strict=True)
    needed = Counts(*(sum(map(ids.is_shared, numbers)) for numbers, ids in held))
    store.reserve(needed, lambda: needed)
    moved = [_own_ids(side, ids) for side, ids in zip(sides, store.page_ids, strict=True)]
    copies = []
    for side in sides:
        columns = [column for column, block in enumerate(side.blocks) if block != NO_BLOCK]
        copies += side.own_blocks(columns, store.block_ids)[1]
    for storage in cache.storages:
        for pool, pairs in zip((storage.key_pages, storage.value_pages), moved, strict=True):
            if pairs:
                sources, targets = to_device([list(ids) for ids in zip(*pairs, strict=True)], pool.device).long()
                pool.index_copy_(1, targets, pool.index_select(1, sources))
        storage.copy_blocks(copies)


def _own_ids(side: Side, ids: IdAllocator) -> list[tuple[int, int]]:
    """Gives a side pages of its own: which to copy (from, to)."""
    pairs = []
    for at, page in enumerate(side.pages):
        if ids.is_shared(page):
            side.pages[at] = ids.allocate()
            ids.release([page])
            pairs.append((page, side.pages[at]))
    return pairs
