"""What a packed page looks like in memory, and the cache as every operation reads it.

Legend: B batch, HQ/HKV query/KV heads, N pages in a pool, NB blocks in a pool, PAGE tokens of a page, BLOCK tokens of a
block, D head_dim, DB boosted channels, S new tokens, T cached tokens. A byte holds four 2-bit fields, field f at bits 2f
and 2f+1:

    byte   f3 f2 f1 f0        codes 3 2 1 0 in f0.. -> 00 01 10 11 -> 0x1B

Keys: field f of byte (i, d) is the code of token ``i + (PAGE/4) f`` and channel d, so that one AND leaves neighbouring
channels of one token in neighbouring bytes, as an 8-bit tensor core operand wants them. Values: field f of byte (i, t) is
the code of channel ``i + (D/4) f`` and token t. A 4-bit key code is two 2-bit planes: ``low`` of all channels and
``high`` of the boosted ones, compacted in the order of ``channels``.

The fields of one page and KV head lie behind each other in one record, so a page has one address.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import torch

FIELDS_PER_BYTE = 4
BITS_PER_FIELD = 2
BLOCK = 16  # tokens of a 16-bit block
_ALIGNMENT = 16  # bytes a thread loads at once


class PackedKeys(NamedTuple):
    """Key pages, any leading dimensions ``...`` (such as B, HKV, P or N, HKV)."""

    low: torch.Tensor  # uint8 [..., PAGE/4, D]
    high: torch.Tensor  # uint8 [..., PAGE/4, DB]
    scale: torch.Tensor  # float16 [..., D]
    minimum: torch.Tensor  # float16 [..., D]
    channels: torch.Tensor  # uint8 [..., DB], ascending


class PackedValues(NamedTuple):
    """Value pages, any leading dimensions ``...``."""

    codes: torch.Tensor  # uint8 [..., D/4, PAGE]
    scale: torch.Tensor  # float16 [..., PAGE]
    minimum: torch.Tensor  # float16 [..., PAGE]


@dataclasses.dataclass(frozen=True, slots=True)
class PageLayout:
    """Sizes of a page and where its parts lie in a record.

    Args:
        head_dim: D.
        boosted: DB, key channels of a page with 4 bits.
        page_size: tokens of a page.
    """

    head_dim: int
    boosted: int
    page_size: int = 128

    @property
    def key_high_offset(self) -> int:
        return self.page_size // FIELDS_PER_BYTE * self.head_dim

    @property
    def key_scale_offset(self) -> int:
        # float16 behind an odd number of bytes would be misaligned.
        return _aligned(self.key_high_offset + self.page_size // FIELDS_PER_BYTE * self.boosted)

    @property
    def key_minimum_offset(self) -> int:
        return self.key_scale_offset + 2 * self.head_dim

    @property
    def key_channels_offset(self) -> int:
        return self.key_minimum_offset + 2 * self.head_dim

    @property
    def key_bytes(self) -> int:
        """Bytes of one KV head's packed key page."""
        return _aligned(self.key_channels_offset + self.boosted)

    @property
    def value_scale_offset(self) -> int:
        return self.head_dim // FIELDS_PER_BYTE * self.page_size

    @property
    def value_minimum_offset(self) -> int:
        return self.value_scale_offset + 2 * self.page_size

    @property
    def value_bytes(self) -> int:
        """Bytes of one KV head's packed value page."""
        return self.value_minimum_offset + 2 * self.page_size

    def keys(self, records: torch.Tensor) -> PackedKeys:
        """The parts of key records uint8 ``[..., key_bytes]``, as views into them."""
        rows = self.page_size // FIELDS_PER_BYTE
        return PackedKeys(
            low=records[..., : self.key_high_offset].unflatten(-1, (rows, self.head_dim)),
            high=_planes(records, self.key_high_offset, rows, self.boosted),
            scale=_half(records, self.key_scale_offset, self.head_dim),
            minimum=_half(records, self.key_minimum_offset, self.head_dim),
            channels=records[..., self.key_channels_offset : self.key_channels_offset + self.boosted],
        )

    def values(self, records: torch.Tensor) -> PackedValues:
        """The parts of value records uint8 ``[..., value_bytes]``, as views into them."""
        rows = self.head_dim // FIELDS_PER_BYTE
        return PackedValues(
            codes=records[..., : self.value_scale_offset].unflatten(-1, (rows, self.page_size)),
            scale=_half(records, self.value_scale_offset, self.page_size),
            minimum=_half(records, self.value_minimum_offset, self.page_size),
        )


class CacheView(NamedTuple):
    """One layer's cache as the operations read it; all counters are int32 on the device.

    Token t of a row lies, in this order of preference, in

    - block ``t // BLOCK`` of the row's block tables, while ``t < sink_tokens``;
    - page ``p = (t - sink_tokens) // PAGE`` of its page tables, while ``p`` is below its page count;
    - block ``sink_blocks + ((t - sink_tokens) // BLOCK) % ring`` of its block tables, where ``sink_blocks`` is
      ``ceil(sink_tokens / BLOCK)`` and ``ring`` what the tables hold beyond them.

    Keys and values have their own counts and tables, since they are packed at different times. Entries that no token
    needs are never followed.
    """

    layout: PageLayout
    sink_tokens: int
    lengths: torch.Tensor  # int32 [B], real tokens, those of the current call included once they are appended
    key_pages: torch.Tensor  # uint8 [N, HKV, key_bytes]; N may be 0
    key_table: torch.Tensor  # int32 [B, P], indices into N
    key_page_counts: torch.Tensor  # int32 [B]
    value_pages: torch.Tensor  # uint8 [N, HKV, value_bytes]
    value_table: torch.Tensor
    value_page_counts: torch.Tensor
    blocks: torch.Tensor  # 16-bit (references: or float32) [NB, HKV, BLOCK, D], of keys and of values
    key_block_table: torch.Tensor  # int32 [B, sink_blocks + ring], indices into NB
    value_block_table: torch.Tensor

    @property
    def sink_blocks(self) -> int:
        return -(-self.sink_tokens // BLOCK)


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _planes(records: torch.Tensor, offset: int, rows: int, columns: int) -> torch.Tensor:
    # unflatten refuses to split nothing into rows of nothing.
    if not columns:
        return records.new_empty(*records.shape[:-1], rows, 0)
    return records[..., offset : offset + rows * columns].unflatten(-1, (rows, columns))


def _half(records: torch.Tensor, offset: int, count: int) -> torch.Tensor:
    return records[..., offset : offset + 2 * count].view(torch.float16)
