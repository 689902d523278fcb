"""What a packed page looks like in memory: the types that every operation shares.

Legend: B batch, HQ/HKV query/KV heads, N pages in a pool, P pages of a row, PAGE tokens of a page, D head_dim,
DB boosted channels, S new tokens, T cached tokens. A word is 16 bits holding eight 2-bit fields, field f at bits 2f
and 2f+1:

    word   f7 f6 f5 f4 f3 f2 f1 f0        codes 3 2 1 0 0 0 0 0 in f0.. -> 00 00 00 00 00 01 10 11 -> 0x001B

Keys: field f of word (i, d) is the code of token ``i + (PAGE/8) f`` and channel d, so the words of neighbouring
channels are neighbours. Values: field f of word (i, t) is the code of channel ``i + (D/8) f`` and token t. Words are
kept as int16 because torch has no arithmetic on uint16; only their bits count. A 4-bit key code is two 2-bit planes:
``low`` of all channels and ``high`` of the boosted ones, compacted in the order of ``channels``.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

FIELDS_PER_WORD = 8
BITS_PER_FIELD = 2


class PackedKeys(NamedTuple):
    """Key pages, any leading dimensions ``...`` (such as B, HKV, P or N, HKV)."""

    low: torch.Tensor  # int16 [..., PAGE/8, D]
    high: torch.Tensor  # int16 [..., PAGE/8, DB]
    channels: torch.Tensor  # uint8 [..., DB], ascending
    scale: torch.Tensor  # float16 [..., D]
    minimum: torch.Tensor  # float16 [..., D]


class PackedValues(NamedTuple):
    """Value pages, any leading dimensions ``...``."""

    words: torch.Tensor  # int16 [..., D/8, PAGE]
    scale: torch.Tensor  # float16 [..., PAGE]
    minimum: torch.Tensor  # float16 [..., PAGE]


class CacheView(NamedTuple):
    """One layer's cache as the attention operations read it; the first ``B`` dimension is the row.

    A row holds, in token order: sinks, then the pages its tables name, then its tail. Keys and values flush at
    different times, so each has its own table and tail. Counts are real tokens; what lies beyond a count is never read.
    """

    sink_keys: torch.Tensor  # 16-bit [B, HKV, SINK, D]
    sink_values: torch.Tensor
    sink_counts: torch.Tensor  # int32 [B]
    key_pages: PackedKeys | None  # leading [N, HKV]; None when keys are not quantized
    key_table: torch.Tensor  # int32 [B, P], indices into N
    key_page_counts: torch.Tensor  # int32 [B]
    tail_keys: torch.Tensor  # 16-bit [B, HKV, CAP, D]
    tail_key_counts: torch.Tensor  # int32 [B]
    value_pages: PackedValues | None
    value_table: torch.Tensor
    value_page_counts: torch.Tensor
    tail_values: torch.Tensor
    tail_value_counts: torch.Tensor


def key_page_bytes(page_size: int, head_dim: int, boosted: int) -> int:
    """Bytes of one head's packed key page: two planes, an index byte a boosted channel, scale and minimum a channel."""
    planes = page_size * BITS_PER_FIELD * (head_dim + boosted) // 8
    return planes + boosted + 2 * 2 * head_dim


def value_page_bytes(page_size: int, head_dim: int) -> int:
    """Bytes of one KV head's packed value page: one plane, scale and minimum a token."""
    return page_size * BITS_PER_FIELD * head_dim // 8 + 2 * 2 * page_size
