"""Reads and writes blocks and pages by plain indexing, for calls that no kernel serves; the indices serve every layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from kitty_kernels.decode_attention.api import BLOCK

from .geometry import Geometry
from .row import Side


class ReadIndex(NamedTuple):
    """Where the first ``length`` tokens of R rows lie, rows of equal length and page count."""

    rows: int
    length: int
    sinks: tuple[torch.Tensor, int] | None  # block ids [R * n], tokens
    pages: tuple[torch.Tensor, int, int] | None  # page ids [R * P], first token, tokens
    tail: tuple[torch.Tensor, int, int, int] | None  # block ids [R * n], offset in the first, first token, tokens


class WriteIndex(NamedTuple):
    """Where new tokens of R rows go."""

    source: torch.Tensor | None  # int64 [n], which of the call's real tokens; None for all
    blocks: torch.Tensor  # int64 [R, n]
    offsets: torch.Tensor  # int64 [n]


def read_index(sides: Sequence[Side], shape: Geometry, length: int, pages: int, device: torch.device) -> ReadIndex:
    """For rows of ``length`` tokens of which ``pages`` pages are packed."""
    sink_end = min(length, shape.sink_tokens)
    tail_start = shape.packed_end(pages)
    sinks = packed = tail = None
    if sink_end:
        sinks = (_ids([side.blocks for side in sides], [*shape.slots(0, sink_end)], device), sink_end)
    if pages:
        packed = (
            _ids([side.pages for side in sides], range(pages), device),
            shape.sink_tokens,
            pages * shape.page_size,
        )
    if tail_start < length:
        ids = _ids([side.blocks for side in sides], [*shape.slots(tail_start, length)], device)
        tail = (ids, (tail_start - shape.sink_tokens) % BLOCK, tail_start, length - tail_start)
    return ReadIndex(len(sides), length, sinks, packed, tail)


def write_index(
    sides: Sequence[Side], shape: Geometry, past: int, length: int, pages: int, device: torch.device
) -> WriteIndex:
    """For tokens ``past`` to ``length - 1``, those of the first ``pages`` pages left out."""
    sink_end, tail_start = max(past, min(length, shape.sink_tokens)), max(past, shape.packed_end(pages))
    spans = [span for span in ((past, sink_end, 0), (tail_start, length, shape.sink_tokens)) if span[0] < span[1]]
    source, columns, offsets = [], [], []
    for first, end, base in spans:
        lead = (first - base) % BLOCK
        columns.append(torch.tensor([*shape.slots(first, end)]).repeat_interleave(BLOCK)[lead : lead + end - first])
        offsets.append(torch.arange(lead, lead + end - first) % BLOCK)
        source.append(torch.arange(first - past, end - past))
    if not spans:
        nothing = torch.empty(0, dtype=torch.long, device=device)
        return WriteIndex(nothing, nothing.expand(len(sides), 0), nothing)
    slots = torch.cat(columns)
    blocks = torch.tensor([side.blocks for side in sides])[:, slots]
    is_all = sum(end - first for first, end, _ in spans) == length - past
    chosen = None if is_all else torch.cat(source).to(device)
    return WriteIndex(chosen, blocks.to(device), torch.cat(offsets).to(device))


def read(
    index: ReadIndex,
    blocks: torch.Tensor,
    records: torch.Tensor,
    dequantize: Callable[[torch.Tensor], torch.Tensor],
    out: torch.Tensor,
) -> None:
    """Fills the first ``index.length`` tokens of ``out`` ``[R, HKV, >= length, D]`` from one layer's pools.

    ``dequantize`` turns records ``[n, HKV, bytes]`` into ``[n, HKV, PAGE, D]``.
    """
    rows = index.rows
    if index.sinks is not None:
        ids, count = index.sinks
        out[:, :, :count] = _tokens(blocks, ids, rows)[:, :, :count]
    if index.pages is not None:
        ids, first, count = index.pages
        pages = (
            dequantize(records.index_select(0, ids)).unflatten(0, (rows, -1)).transpose(1, 2)
        )  # [R, HKV, P, PAGE, D]
        out[:, :, first : first + count].unflatten(2, pages.shape[2:4]).copy_(pages)
    if index.tail is not None:
        ids, offset, first, count = index.tail
        out[:, :, first : first + count] = _tokens(blocks, ids, rows)[:, :, offset : offset + count]


def write(index: WriteIndex, tokens: torch.Tensor, blocks: torch.Tensor) -> None:
    """Writes real tokens ``[R, HKV, n, D]`` to one layer's blocks."""
    if index.source is not None:
        tokens = tokens.index_select(2, index.source)
    blocks[index.blocks, :, index.offsets] = tokens.transpose(1, 2).to(blocks.dtype)  # [R, n, HKV, D]


def _ids(tables: Sequence[Sequence[int]], columns: Sequence[int], device: torch.device) -> torch.Tensor:
    return torch.tensor([table[column] for table in tables for column in columns], device=device)


def _tokens(blocks: torch.Tensor, ids: torch.Tensor, rows: int) -> torch.Tensor:
    """Blocks one behind the other: ``[R, HKV, n * BLOCK, D]``."""
    chosen = blocks.index_select(0, ids).unflatten(0, (rows, -1))  # [R, n, HKV, BLOCK, D]
    return chosen.transpose(1, 2).flatten(2, 3)
