"""Decode attention over the packed cache beside its peers on dense 16-bit tensors."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import torch

from ..decode_attention.api import decode_attention
from ..dequantize.api import dequantize_view
from ..pages import CacheView
from .peers import PeerTime, best_of, time_peers
from .random_cache import random_view, rows_of
from .shapes import QUERY_HEADS, DecodeShape
from .timing import copies_needed, free_bytes, graph_ms, plain_ms


@dataclasses.dataclass(frozen=True, slots=True)
class DecodeRow:
    """What was measured; times in milliseconds of one layer."""

    shape: str
    ms: float
    plain_ms: float
    peers: tuple[PeerTime, ...]
    held_bytes: int
    limit_ms: float
    error: float
    least_ratio: float | None

    @property
    def best(self) -> PeerTime | None:
        return best_of(self.peers)

    @property
    def ratio(self) -> float | None:
        """How many times as fast as the best peer."""
        return None if self.best is None else self.best.ms / self.ms

    @property
    def share(self) -> float:
        """Of the byte limit: reading what the rows hold at copy bandwidth, over the time taken."""
        return self.limit_ms / self.ms

    @property
    def is_met(self) -> bool | None:
        return None if self.least_ratio is None or self.ratio is None else self.ratio >= self.least_ratio


@dataclasses.dataclass(frozen=True, slots=True)
class Conditions:
    """What all lines of one run share."""

    device: torch.device
    bytes_per_ms: float
    cache_bytes: int
    replays: int
    skip: dict[str, str]


def measure_decode(shape: DecodeShape, at: Conditions) -> DecodeRow:
    """Times the peers, then ours, and compares ours with float64.

    Raises:
        MemoryError: K, V and the cache do not fit, with the numbers.
    """
    torch.cuda.empty_cache()
    check_memory(shape, free_bytes(at.device))
    peers = time_peers(shape.dense_shape, at.device, cache=at.cache_bytes, replays=at.replays, skip=at.skip)
    torch.cuda.empty_cache()
    cache = shape.cache_shape
    batch = len(shape.lengths)
    copies = copies_needed(cache.held_bytes, at.cache_bytes)
    everything = dataclasses.replace(cache, lengths=shape.lengths * copies)
    whole = random_view(everything, at.device)
    views = [rows_of(whole, slice(i * batch, (i + 1) * batch)) for i in range(copies)]
    query = torch.randn(batch, QUERY_HEADS, 1, cache.head_dim, dtype=cache.dtype, device=at.device)
    scaling = cache.head_dim**-0.5

    def attend(view: CacheView) -> torch.Tensor:
        return decode_attention(query, view, scaling=scaling)

    return DecodeRow(
        shape.name,
        graph_ms([lambda view=view: attend(view) for view in views], at.replays),
        plain_ms(lambda: attend(views[0])),
        tuple(peers),
        cache.held_bytes,
        cache.held_bytes / at.bytes_per_ms,
        error_of(attend(views[-1]), query, views[-1], scaling),
        shape.least_ratio,
    )


def check_memory(shape: DecodeShape, free: int) -> None:
    """Raises MemoryError unless K, V and the cache fit."""
    if shape.needed_bytes > free:
        raise MemoryError(f"needs {shape.needed_bytes / 2**30:.0f} GiB, {free / 2**30:.0f} GiB are free")


def error_of(out: torch.Tensor, query: torch.Tensor, view: CacheView, scaling: float, rows: int = 2) -> float:
    """Distance to float64 attention over the dequantized cache, over that one's size, in the first and the last rows."""
    chosen = sorted({*range(min(rows, len(query))), len(query) - 1})
    wrong = right = 0.0
    for row in chosen:
        want = exact_row(query[row, :, 0], rows_of(view, slice(row, row + 1)), scaling)
        wrong += float((out[row, :, 0].double() - want).square().sum())
        right += float(want.square().sum())
    return (wrong / right) ** 0.5


def exact_row(query: torch.Tensor, view: CacheView, scaling: float) -> torch.Tensor:
    """Float64 attention of the last token ``[HQ, D]`` over one row's dequantized cache, a head at a time."""
    keys, values = dequantize_view(view, tokens=int(view.lengths[0]), dtype=torch.float32, impl="reference")
    group = len(query) // keys.shape[1]
    heads: Iterator[torch.Tensor] = (
        torch.softmax(query[h * group : (h + 1) * group].double() @ keys[0, h].double().T * scaling, -1)
        @ values[0, h].double()
        for h in range(keys.shape[1])
    )
    return torch.cat([*heads])
