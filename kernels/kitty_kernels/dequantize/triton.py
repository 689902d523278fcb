"""``code * scale + minimum`` of one page of one KV head a program; pages are drawn in ``pages.py``.

Legend: B batch, HKV KV heads, T tokens, D head_dim, DB boosted channels, PAGE tokens of a page. Byte (i, d) of keys holds the
tokens i, i + 32, i + 64, i + 96; byte (i, t) of values the channels i, i + D/4, i + D/2, i + 3D/4. So a tile of bytes gives
four tiles of results, each with one shift and one AND.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from ..common.triton import block_offsets, load_rows, narrowed
from ..pages import BLOCK, FIELDS_PER_BYTE, CacheView, PackedKeys, PackedValues
from ..validation import check_half_blocks

PAGE = 128
MAX_HEAD_DIM = 256
# Pools and rows grow; that must not compile the kernel anew.
SIZES = [
    *("tokens", "sink_tokens", "sink_tiles", "key_columns", "value_columns", "key_pages", "value_pages"),
    *("key_ring", "value_ring", "blocks"),
]


@triton.jit
def places_of(channels_ptr, BOOSTED: tl.constexpr, BOOSTED_BLOCK: tl.constexpr, COLUMNS: tl.constexpr):
    """Each channel's place among the boosted ones, int32 ``[COLUMNS]``, and whether it is one."""
    j, channel = tl.arange(0, BOOSTED_BLOCK), tl.arange(0, COLUMNS)
    boosted = tl.load(channels_ptr + j, mask=j < BOOSTED, other=0).to(tl.int32)
    boosted = tl.where(j < BOOSTED, boosted, COLUMNS)[:, None]
    place = tl.sum((boosted < channel[None, :]).to(tl.int32), 0)
    return place, tl.sum((boosted == channel[None, :]).to(tl.int32), 0) > 0


@triton.jit
def store_tile(out_ptr, x, row, column, is_row, is_column, stride_ot):
    """Stores float32 ``[ROWS, COLUMNS]`` as the dtype of ``out_ptr``."""
    pointers = out_ptr + row[:, None].to(tl.int64) * stride_ot + column[None, :]
    tl.store(pointers, narrowed(x, out_ptr.dtype.element_ty), mask=is_row[:, None] & is_column[None, :])


@triton.jit
def store_keys(
    low_ptr, high_ptr, scale_ptr, minimum_ptr, channels_ptr, out_ptr, first, tokens, length, stride_ot,
    PAGE: tl.constexpr, HEAD_DIM: tl.constexpr, BOOSTED: tl.constexpr, BOOSTED_BLOCK: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Writes a page that begins at token ``first`` to ``out_ptr [tokens, D]``, zeros from ``length`` on."""
    i, channel = tl.arange(0, PAGE // 4), tl.arange(0, COLUMNS)
    in_head = channel < HEAD_DIM
    mask = in_head[None, :] & (i >= 0)[:, None]
    bits = tl.load(low_ptr + i[:, None] * HEAD_DIM + channel[None, :], mask=mask, other=0).to(
        tl.int32
    )  # [PAGE/4, COLUMNS]
    scale = tl.load(scale_ptr + channel, mask=in_head, other=0.0).to(tl.float32)[None, :]
    minimum = tl.load(minimum_ptr + channel, mask=in_head, other=0.0).to(tl.float32)[None, :]
    if BOOSTED > 0:
        place, is_boosted = places_of(channels_ptr, BOOSTED, BOOSTED_BLOCK, COLUMNS)
        high_ptr += i[:, None] * BOOSTED + place[None, :]
        high = tl.load(high_ptr, mask=mask & is_boosted[None, :], other=0).to(tl.int32)
    for field in tl.static_range(4):
        code = (bits >> (2 * field)) & 3
        if BOOSTED > 0:
            code += ((high >> (2 * field)) & 3) << 2
        token = first + field * (PAGE // 4) + i
        x = tl.where((token < length)[:, None], code.to(tl.float32) * scale + minimum, 0.0)
        store_tile(out_ptr, x, token, channel, token < tokens, in_head, stride_ot)


@triton.jit
def store_values(
    codes_ptr, scale_ptr, minimum_ptr, out_ptr, first, tokens, length, stride_ot,
    PAGE: tl.constexpr, HEAD_DIM: tl.constexpr, QUARTER_BLOCK: tl.constexpr,
):  # fmt: skip
    """Writes a page that begins at token ``first`` to ``out_ptr [tokens, D]``, zeros from ``length`` on."""
    i, t = tl.arange(0, QUARTER_BLOCK), tl.arange(0, PAGE)
    is_channel = i < HEAD_DIM // 4
    bits = tl.load(codes_ptr + i[None, :] * PAGE + t[:, None], mask=is_channel[None, :] & (t >= 0)[:, None], other=0)
    bits = bits.to(tl.int32)  # [PAGE, QUARTER_BLOCK]
    scale = tl.load(scale_ptr + t).to(tl.float32)[:, None]
    minimum = tl.load(minimum_ptr + t).to(tl.float32)[:, None]
    token = first + t
    for field in tl.static_range(4):
        code = (bits >> (2 * field)) & 3
        x = tl.where((token < length)[:, None], code.to(tl.float32) * scale + minimum, 0.0)
        store_tile(out_ptr, x, token, i + field * (HEAD_DIM // 4), token < tokens, is_channel, stride_ot)


@triton.jit
def store_blocks(
    blocks_ptr, table_ptr, out_ptr, first, tokens, length, sink_tokens, ring, blocks, stride_bn, stride_bt, stride_ot,
    PAGE: tl.constexpr, BLOCK: tl.constexpr, HEAD_DIM: tl.constexpr, COLUMNS: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Writes PAGE tokens from ``first`` on that lie in blocks, zeros from ``length`` on."""
    channel = tl.arange(0, COLUMNS)
    for part in range(PAGE // ROWS):
        token = first + part * ROWS + tl.arange(0, ROWS)
        offsets, exists = block_offsets(
            table_ptr, token, token < length, sink_tokens, ring, blocks, stride_bn, stride_bt, BLOCK
        )
        x = load_rows(blocks_ptr + offsets, exists, HEAD_DIM, COLUMNS, 8).to(tl.float32)
        store_tile(out_ptr, x, token, channel, token < tokens, channel < HEAD_DIM, stride_ot)


@triton.jit
def page_of(pages_ptr, table_ptr, counts_ptr, row, page, columns, pages, stride_tb, stride_pn):
    """Address of a row's page, whether it exists, and whether the page count says that it should."""
    is_packed = (page >= 0) & (page < tl.load(counts_ptr + row))
    index = tl.load(table_ptr + row * stride_tb + page, mask=is_packed & (page < columns), other=-1)
    return pages_ptr + index.to(tl.int64) * stride_pn, (index >= 0) & (index < pages), is_packed


@triton.jit(do_not_specialize=SIZES)
def dequantize_view_kernel(
    keys_out_ptr, values_out_ptr, lengths_ptr, key_pages_ptr, key_table_ptr, key_counts_ptr, value_pages_ptr, value_table_ptr,
    value_counts_ptr, blocks_ptr, key_block_table_ptr, value_block_table_ptr,
    tokens, sink_tokens, sink_tiles, key_columns, value_columns, key_pages, value_pages, key_ring, value_ring, blocks,
    stride_ob, stride_oh, stride_ot, stride_kpn, stride_kph, stride_ktb, stride_vpn, stride_vph, stride_vtb,
    stride_bn, stride_bh, stride_bt, stride_kbb, stride_vbb,
    PAGE: tl.constexpr, BLOCK: tl.constexpr, HEAD_DIM: tl.constexpr, BOOSTED: tl.constexpr, BOOSTED_BLOCK: tl.constexpr,
    COLUMNS: tl.constexpr, QUARTER_BLOCK: tl.constexpr, ROWS: tl.constexpr, HIGH_OFFSET: tl.constexpr,
    KEY_SCALE_OFFSET: tl.constexpr, CHANNELS_OFFSET: tl.constexpr, VALUE_SCALE_OFFSET: tl.constexpr,
):  # fmt: skip
    # program = (sinks or page, KV head, row)
    tile, head, row = tl.program_id(0), tl.program_id(1).to(tl.int64), tl.program_id(2).to(tl.int64)
    page = tile - sink_tiles
    first = tl.where(page < 0, tile * PAGE, sink_tokens + page * PAGE)
    tokens = tl.where(page < 0, tl.minimum(tokens, sink_tokens), tokens)
    length = tl.load(lengths_ptr + row)
    blocks_ptr += head * stride_bh
    keys_out_ptr += row * stride_ob + head * stride_oh
    values_out_ptr += row * stride_ob + head * stride_oh
    record_ptr, exists, is_packed = page_of(
        key_pages_ptr + head * stride_kph,
        key_table_ptr,
        key_counts_ptr,
        row,
        page,
        key_columns,
        key_pages,
        stride_ktb,
        stride_kpn,
    )
    if exists:
        half_ptr = (record_ptr + KEY_SCALE_OFFSET).to(tl.pointer_type(tl.float16))
        store_keys(
            record_ptr, record_ptr + HIGH_OFFSET, half_ptr, half_ptr + HEAD_DIM, record_ptr + CHANNELS_OFFSET, keys_out_ptr,
            first, tokens, length, stride_ot, PAGE, HEAD_DIM, BOOSTED, BOOSTED_BLOCK, COLUMNS,
        )  # fmt: skip
    else:
        store_blocks(
            blocks_ptr, key_block_table_ptr + row * stride_kbb, keys_out_ptr, first, tokens, tl.where(is_packed, 0, length),
            sink_tokens, key_ring, blocks, stride_bn, stride_bt, stride_ot, PAGE, BLOCK, HEAD_DIM, COLUMNS, ROWS,
        )  # fmt: skip
    record_ptr, exists, is_packed = page_of(
        value_pages_ptr + head * stride_vph, value_table_ptr, value_counts_ptr, row, page, value_columns, value_pages,
        stride_vtb, stride_vpn,
    )  # fmt: skip
    if exists:
        half_ptr = (record_ptr + VALUE_SCALE_OFFSET).to(tl.pointer_type(tl.float16))
        store_values(
            record_ptr,
            half_ptr,
            half_ptr + PAGE,
            values_out_ptr,
            first,
            tokens,
            length,
            stride_ot,
            PAGE,
            HEAD_DIM,
            QUARTER_BLOCK,
        )
    else:
        store_blocks(
            blocks_ptr, value_block_table_ptr + row * stride_vbb, values_out_ptr, first, tokens, tl.where(is_packed, 0, length),
            sink_tokens, value_ring, blocks, stride_bn, stride_bt, stride_ot, PAGE, BLOCK, HEAD_DIM, COLUMNS, ROWS,
        )  # fmt: skip


@triton.jit
def dequantize_keys_kernel(
    low_ptr, high_ptr, scale_ptr, minimum_ptr, channels_ptr, out_ptr, stride_l, stride_h, stride_s, stride_m, stride_c, stride_o,
    PAGE: tl.constexpr, HEAD_DIM: tl.constexpr, BOOSTED: tl.constexpr, BOOSTED_BLOCK: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    # program = page
    n = tl.program_id(0).to(tl.int64)
    store_keys(
        low_ptr + n * stride_l, high_ptr + n * stride_h, scale_ptr + n * stride_s, minimum_ptr + n * stride_m,
        channels_ptr + n * stride_c, out_ptr + n * stride_o, 0, PAGE, PAGE, HEAD_DIM,
        PAGE, HEAD_DIM, BOOSTED, BOOSTED_BLOCK, COLUMNS,
    )  # fmt: skip


@triton.jit
def dequantize_values_kernel(
    codes_ptr, scale_ptr, minimum_ptr, out_ptr, stride_c, stride_s, stride_m, stride_o,
    PAGE: tl.constexpr, HEAD_DIM: tl.constexpr, QUARTER_BLOCK: tl.constexpr,
):  # fmt: skip
    # program = page
    n = tl.program_id(0).to(tl.int64)
    store_values(
        codes_ptr + n * stride_c, scale_ptr + n * stride_s, minimum_ptr + n * stride_m, out_ptr + n * stride_o,
        0, PAGE, PAGE, HEAD_DIM, PAGE, HEAD_DIM, QUARTER_BLOCK,
    )  # fmt: skip


def dequantize_keys(pages: PackedKeys) -> torch.Tensor:
    """See ``api.dequantize_keys``."""
    lead, (rows, head_dim), boosted = pages.low.shape[:-2], pages.low.shape[-2:], pages.high.shape[-1]
    _check_page(rows * FIELDS_PER_BYTE, head_dim)
    parts = [_pages_of(part, len(lead)) for part in pages]
    out = torch.empty(*lead, PAGE, head_dim, dtype=torch.float32, device=pages.low.device)
    if out.numel():
        sizes = _key_sizes(head_dim, boosted)
        with torch.cuda.device_of(out):
            dequantize_keys_kernel[(parts[0].shape[0],)](
                *parts, out, *(part.stride(0) for part in parts), PAGE * head_dim, PAGE=PAGE, num_warps=4, **sizes
            )
    return out


def dequantize_values(pages: PackedValues) -> torch.Tensor:
    """See ``api.dequantize_values``."""
    lead, (rows, page_size) = pages.codes.shape[:-2], pages.codes.shape[-2:]
    head_dim = rows * FIELDS_PER_BYTE
    _check_page(page_size, head_dim)
    parts = [_pages_of(part, len(lead)) for part in pages]
    out = torch.empty(*lead, PAGE, head_dim, dtype=torch.float32, device=pages.codes.device)
    if out.numel():
        with torch.cuda.device_of(out):
            dequantize_values_kernel[(parts[0].shape[0],)](
                *parts, out, *(part.stride(0) for part in parts), PAGE * head_dim,
                PAGE=PAGE, HEAD_DIM=head_dim, QUARTER_BLOCK=triton.next_power_of_2(rows), num_warps=4,
            )  # fmt: skip
    return out


def dequantize_view(view: CacheView, *, tokens: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """See ``api.dequantize_view``."""
    check_half_blocks("dequantize", view)
    layout, rows, kv_heads = view.layout, view.lengths.shape[0], view.blocks.shape[1]
    _check_page(layout.page_size, layout.head_dim)
    keys, values = (
        torch.empty(rows, kv_heads, tokens, layout.head_dim, dtype=dtype, device=view.blocks.device) for _ in range(2)
    )
    if not keys.numel():
        return keys, values
    sink_tiles = triton.cdiv(min(view.sink_tokens, tokens), PAGE)
    grid = (sink_tiles + triton.cdiv(max(tokens - view.sink_tokens, 0), PAGE), kv_heads, rows)
    rings = [table.shape[1] - view.sink_blocks for table in (view.key_block_table, view.value_block_table)]
    with torch.cuda.device_of(keys):
        dequantize_view_kernel[grid](
            keys, values, view.lengths, view.key_pages, view.key_table, view.key_page_counts, view.value_pages,
            view.value_table, view.value_page_counts, view.blocks, view.key_block_table, view.value_block_table,
            tokens, view.sink_tokens, sink_tiles, view.key_table.shape[1], view.value_table.shape[1],
            view.key_pages.shape[0], view.value_pages.shape[0], *rings, view.blocks.shape[0],
            *keys.stride()[:3], *view.key_pages.stride()[:2], view.key_table.stride(0), *view.value_pages.stride()[:2],
            view.value_table.stride(0), *view.blocks.stride()[:3], view.key_block_table.stride(0),
            view.value_block_table.stride(0), PAGE=PAGE, BLOCK=BLOCK, **_key_sizes(layout.head_dim, layout.boosted),
            QUARTER_BLOCK=triton.next_power_of_2(layout.head_dim // FIELDS_PER_BYTE), ROWS=PAGE // FIELDS_PER_BYTE,
            HIGH_OFFSET=layout.key_high_offset, KEY_SCALE_OFFSET=layout.key_scale_offset,
            CHANNELS_OFFSET=layout.key_channels_offset, VALUE_SCALE_OFFSET=layout.value_scale_offset, num_warps=4,
        )  # fmt: skip
    return keys, values


def _check_page(page_size: int, head_dim: int) -> None:
    if page_size != PAGE or head_dim > MAX_HEAD_DIM:
        raise ValueError(
            f"Cannot dequantize with impl='triton': it takes {PAGE} tokens a page and head_dim up to {MAX_HEAD_DIM}, "
            f"got {page_size} and {head_dim}; choose impl='reference'."
        )


def _key_sizes(head_dim: int, boosted: int) -> dict[str, int]:
    return {
        "HEAD_DIM": head_dim,
        "BOOSTED": boosted,
        "BOOSTED_BLOCK": triton.next_power_of_2(max(boosted, 1)),
        "COLUMNS": triton.next_power_of_2(head_dim),
    }


def _pages_of(part: torch.Tensor, lead: int) -> torch.Tensor:
    """A part with one leading dimension; a copy where the pages do not lie at one distance or their bytes do not touch."""
    pages = part.flatten(0, lead - 1) if lead else part.unsqueeze(0)
    return pages if pages[0].is_contiguous() else pages.contiguous()
