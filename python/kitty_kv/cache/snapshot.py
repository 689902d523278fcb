"""A cache as plain data and tensors, without what is free, and back again."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from kitty_kernels.decode_attention.api import BLOCK
from kitty_kernels.pack.api import PageLayout

from ..errors import CacheFileError
from .geometry import UNDO_TOKENS, Geometry
from .paged_cache import PagedCache
from .row import NO_BLOCK, Row, Side
from .storage import Counts

POOLS = ("key_pages", "value_pages", "blocks")
Document = dict[str, Any]


def take_snapshot(cache: PagedCache) -> tuple[Document, dict[str, torch.Tensor]]:
    """What ``cache`` holds: plain data, and the tensors ``<layer>.<pool>`` ``[n, HKV, ...]`` on the CPU."""
    if not cache.rows or cache.layout is None:
        return {"rows": []}, {}
    rows = [row.copy() for row in cache.rows]
    kept = [
        sorted({page for row in rows for page in row.keys.pages}),
        sorted({page for row in rows for page in row.values.pages}),
        sorted({block for row in rows for side in (row.keys, row.values) for block in side.held_blocks()}),
    ]
    for row in rows:
        row.renumber(*({old: new for new, old in enumerate(ids)} for ids in kept))
    document = {
        "rows": [dataclasses.asdict(row) for row in rows],
        "slots": cache.slots,
        "layers": len(cache.layers),
        "kv_heads": cache.kv_heads,
        "layout": dataclasses.asdict(cache.layout),
        "dtype": str(cache.dtype),
        "counts": [len(ids) for ids in kept],
    }
    tensors = {}
    for layer in range(len(cache.layers)):
        storage, index = cache.place(layer)
        for name, ids in zip(POOLS, kept, strict=True):
            pool = getattr(storage, name)[index]
            tensors[f"{layer}.{name}"] = pool[torch.tensor(ids, dtype=torch.long, device=pool.device)].cpu()
    return document, tensors


def restore(
    cache: PagedCache,
    document: Document,
    tensors: Mapping[str, torch.Tensor],
    dtype: torch.dtype,
    devices: Sequence[torch.device],
) -> None:
    """Fills the empty ``cache``.

    Args:
        cache: of the same config and number of layers.
        document, tensors: of ``take_snapshot``.
        dtype: of the model's keys.
        devices: of each layer.

    Raises:
        CacheFileError: they do not fit together.
        CacheOutOfMemoryError: there is no memory for them.
        UnsupportedError: the cache cannot hold them.
    """
    if not document["rows"]:
        return
    layout, counts = PageLayout(**document["layout"]), Counts(*document["counts"])
    rows = [_row(fields) for fields in document["rows"]]
    _check(cache, document, layout, counts, rows)
    store = cache.store
    cache.expect(len(rows), document["kv_heads"], layout.head_dim, dtype, devices[0])
    if str(cache.dtype) != document["dtype"] or cache.layout != layout:
        raise CacheFileError(
            f"Cannot restore the cache: it holds {document['dtype']} tokens in pages of {layout}, this model and config "
            f"make {cache.dtype} in {cache.layout}; load the model in the dtype it had."
        )
    for layer, device in enumerate(devices):
        store.settle(layer, device)
    store.reserve(counts, lambda: counts)
    for ids, count in zip((*store.page_ids, store.block_ids), counts, strict=True):
        ids.adopt(count)
    for layer in range(len(devices)):
        storage, index = store.place(layer)
        for name, count in zip(POOLS, counts, strict=True):
            getattr(storage, name)[index, :count] = _tensor(tensors, f"{layer}.{name}", getattr(storage, name), count)
    store.hold(rows)
    cache.rows, cache.slots = rows, document["slots"]
    cache.forget_tables()


def _tensor(tensors: Mapping[str, torch.Tensor], name: str, pool: torch.Tensor, count: int) -> torch.Tensor:
    found = tensors.get(name)
    shape = (count, *pool.shape[2:])
    if found is None or found.dtype != pool.dtype or tuple(found.shape) != shape:
        got = "nothing" if found is None else f"{found.dtype} {tuple(found.shape)}"
        raise CacheFileError(f"Cannot restore the cache: tensor {name!r} must be {pool.dtype} {shape}, found {got}.")
    return found.to(pool.device)


def _row(fields: Document) -> Row:
    return Row(Side(**fields["keys"]), Side(**fields["values"]), fields["length"])


def _check(cache: PagedCache, document: Document, layout: PageLayout, counts: Counts, rows: Sequence[Row]) -> None:
    if document["layers"] != len(cache.layers) or layout.page_size != cache.config.page_size:
        raise CacheFileError(
            f"Cannot restore the cache: it holds {document['layers']} layers in pages of {layout.page_size} tokens, the "
            f"model and config have {len(cache.layers)} and {cache.config.page_size}."
        )
    for number, row in enumerate(rows):
        sides = zip((row.keys, row.values), cache.geometry, (counts.key_pages, counts.value_pages), strict=True)
        if row.length < 0 or not all(
            _fits(side, shape, row.length, pages, counts.blocks) for side, shape, pages in sides
        ):
            raise CacheFileError(f"Cannot restore the cache: row {number} refers to pages or blocks that do not exist.")


def _fits(side: Side, shape: Geometry, length: int, pages: int, blocks: int) -> bool:
    undo_pages = -(-UNDO_TOKENS // shape.page_size)
    if len(side.pages) != shape.pages(length) or not 0 <= side.undo_pages <= min(undo_pages, len(side.pages)):
        return False
    width = shape.sink_blocks + (shape.ring or -(-length // BLOCK))
    needed = {*shape.slots_in_use(length, len(side.pages) - side.undo_pages)}
    return (
        len(side.blocks) <= width
        and all(0 <= page < pages for page in side.pages)
        and all(block == NO_BLOCK or 0 <= block < blocks for block in side.blocks)
        and all(side.block(slot) != NO_BLOCK for slot in needed)
    )
