"""Packing: a prompt's pages at once, and one page of every layer and row."""

from __future__ import annotations

import dataclasses

import torch

from ..pack.api import flush_layers, pack_cached
from ..pages import CacheView
from .decode import Conditions
from .random_cache import PAGE, CacheShape, random_view
from .timing import graph_ms, plain_ms

KINDS = ("keys", "values")
LAYERS = 36


@dataclasses.dataclass(frozen=True, slots=True)
class PackRow:
    """What was measured, in milliseconds.

    Args:
        shape: what was packed.
        ms, plain_ms: keys and values together, by a CUDA graph and by do_bench.
        keys_ms, values_ms: each by itself.
        read_ms: reading the 16-bit tokens once, at copy bandwidth.
        most_ms: issue 3's limit for an H200.
    """

    shape: str
    ms: float
    plain_ms: float
    keys_ms: float
    values_ms: float
    read_ms: float
    most_ms: float

    @property
    def is_met(self) -> bool:
        return self.ms <= self.most_ms


def measure_prefill(at: Conditions, *, batch: int = 8, tokens: int = 32768) -> PackRow:
    """Packs all pages of a prompt in place, from the layout that a projection leaves."""
    shape = CacheShape((tokens,) * batch)
    view = random_view(shape, at.device)
    size = (batch, tokens, shape.kv_heads, shape.head_dim)
    new = [torch.randn(size, dtype=shape.dtype, device=at.device).transpose(1, 2) for _ in KINDS]
    zeros = torch.zeros(batch, dtype=torch.int32, device=at.device)
    jobs = [jobs_of(view, kind) for kind in KINDS]

    def pack(side: int) -> None:
        pack_cached(view, jobs[side], kind=KINDS[side], new=new[side], first_new=zeros, starts=zeros)

    read = sum(len(one) for one in jobs) * PAGE * shape.kv_heads * shape.head_dim * shape.dtype.itemsize
    return _measure(f"prefill {batch} x {tokens // 1024}K", pack, at, read, 2 * read / at.bytes_per_ms)


def measure_flush(at: Conditions, *, batch: int = 32, layers: int = LAYERS) -> PackRow:
    """Packs one page of every row in every layer from the rings."""
    shape = CacheShape((32 + 2 * PAGE,) * batch)
    view = with_layers(random_view(shape, at.device), layers)
    rows = torch.arange(batch, dtype=torch.int32, device=at.device)
    jobs = torch.stack([rows, torch.zeros_like(rows), rows], 1).contiguous()

    def flush(side: int) -> None:
        flush_layers(view, jobs, kind=KINDS[side])

    read = 2 * layers * batch * PAGE * shape.kv_heads * shape.head_dim * shape.dtype.itemsize
    return _measure(f"flush of one page, {layers} layers x {batch} rows", flush, at, read, 0.25)


def jobs_of(view: CacheView, kind: str) -> torch.Tensor:
    """Every page of every row as (row, page, destination), int32 ``[J, 3]``."""
    side = "key" if kind == "keys" else "value"
    table, counts = getattr(view, f"{side}_table"), getattr(view, f"{side}_page_counts")
    row, page = torch.nonzero(torch.arange(table.shape[1], device=table.device) < counts[:, None], as_tuple=True)
    return torch.stack([row, page, table[row, page]], 1).int().contiguous()


def with_layers(view: CacheView, layers: int) -> CacheView:
    """The same cache with pools for many layers; the blocks of all layers hold the same tokens."""
    names = ("blocks", "key_pages", "value_pages")
    return view._replace(
        **{name: getattr(view, name).expand(layers, *getattr(view, name).shape).contiguous() for name in names}
    )


def _measure(name: str, pack, at: Conditions, read_bytes: int, most_ms: float) -> PackRow:
    sides = [lambda: pack(0), lambda: pack(1)]

    def both() -> None:
        for side in sides:
            side()

    ms, keys_ms, values_ms = (graph_ms([call], at.replays) for call in (both, *sides))
    return PackRow(name, ms, plain_ms(both), keys_ms, values_ms, read_bytes / at.bytes_per_ms, most_ms)
