"""``x = code * scale + minimum`` in plain torch, float32."""

from __future__ import annotations

import torch

from ..blocks import read_blocks
from ..pages import BITS_PER_FIELD, FIELDS_PER_BYTE, CacheView, PackedKeys, PackedValues


def dequantize_keys(pages: PackedKeys) -> torch.Tensor:
    """See ``api.dequantize_keys``."""
    return key_codes(pages) * pages.scale.float().unsqueeze(-2) + pages.minimum.float().unsqueeze(-2)


def dequantize_values(pages: PackedValues) -> torch.Tensor:
    """See ``api.dequantize_values``."""
    return value_codes(pages) * pages.scale.float().unsqueeze(-1) + pages.minimum.float().unsqueeze(-1)


def dequantize_view(view: CacheView, *, tokens: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """See ``api.dequantize_view``."""
    batch, (_, kv_heads, _, head_dim) = view.lengths.shape[0], view.blocks.shape
    out = [view.blocks.new_zeros(batch, kv_heads, tokens, head_dim, dtype=dtype) for _ in range(2)]
    for row in range(batch):
        length = min(max(int(view.lengths[row]), 0), tokens)
        for side, kind in zip(out, ("key", "value"), strict=True):
            side[row, :, :length] = _row(view, row, length, kind).to(dtype)
    return out[0], out[1]


def key_codes(pages: PackedKeys) -> torch.Tensor:
    """See ``api.key_codes``."""
    codes = unpack_fields(pages.low)  # [..., PAGE, D]
    high = unpack_fields(pages.high) << BITS_PER_FIELD  # [..., PAGE, DB]
    index = pages.channels.long().unsqueeze(-2).expand(high.shape)
    return codes.scatter_add_(-1, index, high)


def value_codes(pages: PackedValues) -> torch.Tensor:
    """See ``api.value_codes``."""
    return unpack_fields(pages.codes).transpose(-1, -2)


def unpack_fields(packed: torch.Tensor) -> torch.Tensor:
    """Inverse of ``pack.reference.pack_fields``: uint8 ``[..., R/4, C]`` to uint8 ``[..., R, C]``."""
    shifts = BITS_PER_FIELD * torch.arange(FIELDS_PER_BYTE, device=packed.device, dtype=torch.uint8)
    fields = (packed.unsqueeze(-3) >> shifts[:, None, None]) & 3  # [..., 4, R/4, C]
    return fields.flatten(-3, -2)


def _row(view: CacheView, row: int, length: int, kind: str) -> torch.Tensor:
    """The first ``length`` tokens of a row, float32 ``[HKV, length, D]``."""
    table, block_table = getattr(view, f"{kind}_table"), getattr(view, f"{kind}_block_table")
    tokens = torch.arange(length, device=view.blocks.device)
    out = read_blocks(view, block_table, torch.full_like(tokens, row), tokens).float().transpose(0, 1)
    size, sinks = view.layout.page_size, view.sink_tokens
    needed = -(-max(length - sinks, 0) // size)
    count = min(max(int(getattr(view, f"{kind}_page_counts")[row]), 0), needed)
    out[:, sinks : sinks + count * size] = 0.0
    if count:
        packed = _pages(view, table[row, :count], kind).transpose(0, 1).flatten(1, 2)  # [HKV, p*PAGE, D]
        end = min(sinks + packed.shape[1], length)
        out[:, sinks:end] = packed[:, : end - sinks]
    return out


def _pages(view: CacheView, ids: torch.Tensor, kind: str) -> torch.Tensor:
    """Pages ``[p, HKV, PAGE, D]`` in float32; zeros for ids that do not exist."""
    records, layout = getattr(view, f"{kind}_pages"), view.layout
    exists = (ids >= 0) & (ids < records.shape[0])
    chosen = records[ids[exists].long()]
    shape = (ids.shape[0], records.shape[1], layout.page_size, layout.head_dim)
    pages = torch.zeros(shape, dtype=torch.float32, device=records.device)
    pages[exists] = dequantize_keys(layout.keys(chosen)) if kind == "key" else dequantize_values(layout.values(chosen))
    return pages
