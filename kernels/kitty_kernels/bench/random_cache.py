"""Caches filled with random tokens, laid out as in use: shuffled pages and blocks, rows of any length."""

from __future__ import annotations

import dataclasses

import torch

from ..pack.api import pack_keys, pack_values
from ..pages import BLOCK, CacheView, PageLayout

PAGE = 128
# Bounds what is dense at a time: 512 pages of 8 heads and D 128 are 128 MiB in 16 bits.
PAGES_AT_ONCE = 512


@dataclasses.dataclass(frozen=True, slots=True)
class CacheShape:
    """One layer's cache as ``kitty-pro`` holds it, unless told otherwise.

    Args:
        lengths: tokens of each row.
        head_dim: D.
        boosted: DB, key channels with 4 bits.
        kv_heads: HKV.
        dtype: of the blocks.
        sink_tokens: first tokens of a row, in 16 bits.
        recent_tokens: last tokens of a row whose values are in 16 bits.
        ring: blocks of a row's ring, of keys and of values.
    """

    lengths: tuple[int, ...]
    head_dim: int = 128
    boosted: int = 32
    kv_heads: int = 8
    dtype: torch.dtype = torch.float16
    sink_tokens: int = 32
    recent_tokens: int = 128
    ring: int = 24

    @property
    def layout(self) -> PageLayout:
        return PageLayout(self.head_dim, self.boosted, PAGE)

    @property
    def key_page_counts(self) -> list[int]:
        """A key page is packed when it is full."""
        return [max(0, length - self.sink_tokens) // PAGE for length in self.lengths]

    @property
    def value_page_counts(self) -> list[int]:
        """A value page is packed when its last token is no longer recent."""
        return [max(0, length - self.sink_tokens - self.recent_tokens) // PAGE for length in self.lengths]

    @property
    def held_bytes(self) -> int:
        """Bytes that one attention must read: packed records and 16-bit tokens of all rows, keys and values."""
        token = self.head_dim * self.dtype.itemsize
        total = 0
        sides = (
            (self.key_page_counts, self.layout.key_bytes),
            (self.value_page_counts, self.layout.value_bytes),
        )
        for counts, record in sides:
            total += sum(counts) * record + (sum(self.lengths) - PAGE * sum(counts)) * token
        return total * self.kv_heads

    @property
    def dense_bytes(self) -> int:
        """Bytes of the same tokens in 16 bits."""
        return 2 * sum(self.lengths) * self.kv_heads * self.head_dim * self.dtype.itemsize


def random_view(shape: CacheShape, device: torch.device, *, seed: int = 0, impl: str = "auto") -> CacheView:
    """A cache of this shape with normal keys and values; page and block ids are shuffled.

    Args:
        shape: see ``CacheShape``.
        device: where it lies.
        seed: of tokens and ids.
        impl: of packing.
    """
    generator = torch.Generator(device).manual_seed(seed)
    rows, sink_blocks = len(shape.lengths), -(-shape.sink_tokens // BLOCK)
    width = sink_blocks + shape.ring
    blocks = torch.empty(2 * rows * width, shape.kv_heads, BLOCK, shape.head_dim, dtype=shape.dtype, device=device)
    blocks.normal_(generator=generator)
    block_ids = _shuffled(2 * rows * width, device, generator).view(2, rows, width)
    keys = _random_pages(shape, shape.key_page_counts, device, generator, impl, is_keys=True)
    values = _random_pages(shape, shape.value_page_counts, device, generator, impl, is_keys=False)
    return CacheView(
        layout=shape.layout,
        sink_tokens=shape.sink_tokens,
        lengths=torch.tensor(shape.lengths, dtype=torch.int32, device=device),
        key_pages=keys[0],
        key_table=keys[1],
        key_page_counts=keys[2],
        value_pages=values[0],
        value_table=values[1],
        value_page_counts=values[2],
        blocks=blocks,
        key_block_table=block_ids[0],
        value_block_table=block_ids[1],
    )


def rows_of(view: CacheView, rows: slice) -> CacheView:
    """The same pools with some of the rows."""
    names = ("lengths", "key_table", "key_page_counts", "value_table", "value_page_counts")
    names += ("key_block_table", "value_block_table")
    return view._replace(**{name: getattr(view, name)[rows] for name in names})


def _random_pages(
    shape: CacheShape,
    counts: list[int],
    device: torch.device,
    generator: torch.Generator,
    impl: str,
    *,
    is_keys: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A pool of as many pages as all rows have, the rows' table and their counts."""
    total, most = sum(counts), max([*counts, 1])
    record = shape.layout.key_bytes if is_keys else shape.layout.value_bytes
    pool = torch.empty(total, shape.kv_heads, record, dtype=torch.uint8, device=device)
    for start in range(0, total, PAGES_AT_ONCE):
        part = pool[start : start + PAGES_AT_ONCE]
        tokens = torch.empty(len(part), shape.kv_heads, PAGE, shape.head_dim, dtype=shape.dtype, device=device)
        tokens.normal_(generator=generator)
        packed = pack_keys(tokens, boosted=shape.boosted, impl=impl) if is_keys else pack_values(tokens, impl=impl)
        fields = shape.layout.keys(part) if is_keys else shape.layout.values(part)
        for field, source in zip(fields, packed, strict=True):
            field.copy_(source)
    ids = _shuffled(total, device, generator)
    count = torch.tensor(counts, dtype=torch.int32, device=device)
    # Row b's ids begin where those of the rows before it end.
    place = (count.cumsum(0) - count)[:, None] + torch.arange(most, device=device)
    is_page = torch.arange(most, device=device) < count[:, None]
    table = torch.zeros(len(counts), most, dtype=torch.int32, device=device)
    table[is_page] = ids[place[is_page]]
    return pool, table, count


def _shuffled(count: int, device: torch.device, generator: torch.Generator) -> torch.Tensor:
    return torch.randperm(count, generator=generator, device=device, dtype=torch.int32)
