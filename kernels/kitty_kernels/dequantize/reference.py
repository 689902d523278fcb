"""``x = code * scale + minimum`` in plain torch, float32."""

from __future__ import annotations

import torch

from ..pages import BITS_PER_FIELD, FIELDS_PER_WORD, CacheView, PackedKeys, PackedValues


def dequantize_keys(pages: PackedKeys) -> torch.Tensor:
    """See ``api.dequantize_keys``."""
    return key_codes(pages) * pages.scale.float().unsqueeze(-2) + pages.minimum.float().unsqueeze(-2)


def dequantize_values(pages: PackedValues) -> torch.Tensor:
    """See ``api.dequantize_values``."""
    return value_codes(pages) * pages.scale.float().unsqueeze(-1) + pages.minimum.float().unsqueeze(-1)


def dequantize_row(cache: CacheView, row: int) -> tuple[torch.Tensor, torch.Tensor]:
    """See ``api.dequantize_row``."""
    sinks = int(cache.sink_counts[row])
    key_parts = [cache.sink_keys[row, :, :sinks].float()]
    value_parts = [cache.sink_values[row, :, :sinks].float()]
    key_ids = cache.key_table[row, : int(cache.key_page_counts[row])]
    if cache.key_pages is not None and key_ids.numel():
        pages = PackedKeys(*(part[key_ids] for part in cache.key_pages))
        key_parts.append(dequantize_keys(pages).transpose(0, 1).flatten(1, 2))  # [HKV, P*PAGE, D]
    value_ids = cache.value_table[row, : int(cache.value_page_counts[row])]
    if cache.value_pages is not None and value_ids.numel():
        pages = PackedValues(*(part[value_ids] for part in cache.value_pages))
        value_parts.append(dequantize_values(pages).transpose(0, 1).flatten(1, 2))
    key_parts.append(cache.tail_keys[row, :, : int(cache.tail_key_counts[row])].float())
    value_parts.append(cache.tail_values[row, :, : int(cache.tail_value_counts[row])].float())
    return torch.cat(key_parts, dim=1), torch.cat(value_parts, dim=1)


def key_codes(pages: PackedKeys) -> torch.Tensor:
    """See ``api.key_codes``."""
    codes = unpack_words(pages.low)  # [..., PAGE, D]
    high = unpack_words(pages.high) << BITS_PER_FIELD  # [..., PAGE, DB]
    index = pages.channels.long().unsqueeze(-2).expand(high.shape)
    return codes.scatter_add_(-1, index, high)


def value_codes(pages: PackedValues) -> torch.Tensor:
    """See ``api.value_codes``."""
    return unpack_words(pages.words).transpose(-1, -2)


def unpack_words(words: torch.Tensor) -> torch.Tensor:
    """Inverse of ``pack.reference.pack_words``: int16 ``[..., R/8, C]`` to int16 ``[..., R, C]``.

    The shift extends the sign, which the mask removes again; staying in 16 bits halves the memory that is moved.
    """
    shifts = BITS_PER_FIELD * torch.arange(FIELDS_PER_WORD, device=words.device, dtype=torch.int16)
    fields = (words.unsqueeze(-3) >> shifts[:, None, None]) & 3  # [..., 8, R/8, C]
    return fields.flatten(-3, -2)
