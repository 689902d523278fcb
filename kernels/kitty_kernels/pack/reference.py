"""The codec in plain torch: selection, scales, rounding, packing. Every other implementation equals it bit for bit.

    scale = max((max - min) / (2^b - 1), 1e-4);  code = clamp(round_half_even((x - min) / scale), 0, 2^b - 1)

with ``min`` and ``scale`` rounded to float16 before they are used, and all arithmetic in float32.
"""

from __future__ import annotations

import torch

from ..blocks import read_blocks
from ..pages import BITS_PER_FIELD, FIELDS_PER_BYTE, CacheView, PackedKeys, PackedValues, PageLayout
from .random_scores import random_scores

LOW_BITS = 2
BOOSTED_BITS = 4
SCALE_FLOOR = 1e-4
# Bounds the float64 copies of pages that are packed together.
JOBS_AT_ONCE = 32


def pack_keys(
    keys: torch.Tensor, *, boosted: int, selection: str, seed: int, weights: torch.Tensor | None
) -> PackedKeys:
    """See ``api.pack_keys``."""
    layout = PageLayout(keys.shape[-1], boosted, keys.shape[-2])
    return layout.keys(key_records(keys, layout, selection, seed, weights))


def pack_values(values: torch.Tensor) -> PackedValues:
    """See ``api.pack_values``."""
    layout = PageLayout(values.shape[-1], 0, values.shape[-2])
    return layout.values(value_records(values, layout))


def pack_cached(
    view: CacheView,
    jobs: torch.Tensor,
    *,
    kind: str,
    new: torch.Tensor | None,
    first_new: torch.Tensor | None,
    starts: torch.Tensor | None,
    selection: str,
    seed: int,
    weights: torch.Tensor | None,
) -> None:
    """See ``api.pack_cached``."""
    pages = view.key_pages if kind == "keys" else view.value_pages
    row, page, destination = jobs.long().unbind(1)
    valid = (row >= 0) & (row < view.lengths.shape[0]) & (page >= 0)
    valid &= (destination >= 0) & (destination < pages.shape[0])
    for chunk in jobs[valid].long().split(JOBS_AT_ONCE):
        row, page, destination = chunk.unbind(1)
        tokens = _page_tokens(view, row, page, kind, new, first_new, starts)
        if kind == "keys":
            pages[destination] = key_records(tokens, view.layout, selection, seed, weights)
        else:
            pages[destination] = value_records(tokens, view.layout)


def flush_layers(
    view: CacheView, jobs: torch.Tensor, *, kind: str, selection: str, seed: int, weights: torch.Tensor | None
) -> None:
    """See ``api.flush_layers``."""
    nothing_new = {"new": None, "first_new": None, "starts": None}
    for layer in range(view.blocks.shape[0]):
        of_layer = {name: getattr(view, name)[layer] for name in ("blocks", "key_pages", "value_pages")}
        options = {"selection": selection, "seed": seed, "weights": None if weights is None else weights[layer]}
        pack_cached(view._replace(**of_layer), jobs, kind=kind, **options, **nothing_new)


def key_records(
    keys: torch.Tensor, layout: PageLayout, selection: str, seed: int, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Packs keys ``[..., PAGE, D]`` to records uint8 ``[..., key_bytes]``; ``weights`` as in ``select_channels``."""
    keys = keys.float()
    channels = select_channels(keys, layout.boosted, selection, seed, weights)  # [..., DB]
    bits = torch.full_like(keys[..., 0, :], LOW_BITS).scatter_(-1, channels, BOOSTED_BITS)  # [..., D]
    scale, minimum = affine_range(keys, bits, dim=-2)  # [..., D]
    codes = quantize(keys, scale.unsqueeze(-2), minimum.unsqueeze(-2), bits.unsqueeze(-2))  # [..., PAGE, D]
    index = channels.unsqueeze(-2).expand(*codes.shape[:-1], layout.boosted)
    high = codes.gather(-1, index) >> LOW_BITS  # [..., PAGE, DB]
    records = torch.zeros(*keys.shape[:-2], layout.key_bytes, dtype=torch.uint8, device=keys.device)
    parts = PackedKeys(pack_fields(codes & 3), pack_fields(high), scale, minimum, channels)
    for stored, part in zip(layout.keys(records), parts, strict=True):
        stored.copy_(part)
    return records


def value_records(values: torch.Tensor, layout: PageLayout) -> torch.Tensor:
    """Packs values ``[..., PAGE, D]`` to records uint8 ``[..., value_bytes]``."""
    values = values.float()
    bits = torch.full_like(values[..., 0], LOW_BITS)  # [..., PAGE]
    scale, minimum = affine_range(values, bits, dim=-1)  # [..., PAGE]
    codes = quantize(values, scale.unsqueeze(-1), minimum.unsqueeze(-1), bits.unsqueeze(-1))
    records = torch.zeros(*values.shape[:-2], layout.value_bytes, dtype=torch.uint8, device=values.device)
    parts = PackedValues(pack_fields(codes.transpose(-1, -2)), scale, minimum)
    for stored, part in zip(layout.values(records), parts, strict=True):
        stored.copy_(part)
    return records


def select_channels(
    keys: torch.Tensor, boosted: int, selection: str, seed: int, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """The ``boosted`` channels of the highest score, ascending: ``[..., PAGE, D]`` float32 to ``[..., DB]`` int64.

    Sums are in float64 and in the order of ``ordered_sum``, so that every implementation can repeat them to the bit; the
    range and its product with a weight are one rounding to float64 each.

    Args:
        weights: of ``query``, broadcast to ``[..., D]``; None where ``boosted`` leaves no choice.
    """
    wide = keys.double()
    if selection == "magnitude":
        score = ordered_sum(wide.abs())  # [..., D]
    elif selection in ("range", "query"):
        score = wide.amax(-2) - wide.amin(-2)
        if selection == "query" and weights is not None:
            score = score * weights.double().abs()
    elif selection == "variance":
        mean = ordered_sum(wide) * (1.0 / wide.shape[-2])
        score = ordered_sum((wide - mean.unsqueeze(-2)).square())
    else:
        score = random_scores(keys.shape[-1], seed).to(keys.device).expand(*keys.shape[:-2], -1)
    best = score.argsort(dim=-1, descending=True, stable=True)[..., :boosted]
    return best.sort(-1).values


def ordered_sum(x: torch.Tensor) -> torch.Tensor:
    """Sums float64 ``[..., R, D]`` over R, one row after the other."""
    total = x[..., 0, :].clone()
    for row in range(1, x.shape[-2]):
        total += x[..., row, :]
    return total


def affine_range(x: torch.Tensor, bits: torch.Tensor, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale and minimum of float32 ``x`` over ``dim`` for ``bits``-bit codes, rounded to float16 as they are stored."""
    low, high = x.amin(dim), x.amax(dim)
    steps = torch.exp2(bits) - 1
    scale = ((high - low) / steps).clamp_min(SCALE_FLOOR)
    # Which of two zeros is the minimum is no one's choice: it has no sign.
    return scale.half(), low.half() + 0.0


def quantize(x: torch.Tensor, scale: torch.Tensor, minimum: torch.Tensor, bits: torch.Tensor) -> torch.Tensor:
    """Codes of float32 ``x`` as int32; the other arguments broadcast against it."""
    steps = torch.round((x - minimum.float()) / scale.float())  # torch rounds half to even
    return steps.clamp_min(0).minimum(torch.exp2(bits) - 1).to(torch.int32)


def pack_fields(codes: torch.Tensor) -> torch.Tensor:
    """Packs 2-bit codes along the second to last dimension: int32 ``[..., R, C]`` to uint8 ``[..., R/4, C]``.

    Field f of byte i is row ``i + (R/4) f``: rows 0..3 of R = 4 with codes 3 2 1 0 become 0x1B.
    """
    rows, columns = codes.shape[-2:]
    fields = codes.reshape(*codes.shape[:-2], FIELDS_PER_BYTE, rows // FIELDS_PER_BYTE, columns)
    shifts = BITS_PER_FIELD * torch.arange(FIELDS_PER_BYTE, device=codes.device, dtype=torch.int32)
    return (fields << shifts[:, None, None]).sum(-3, dtype=torch.int32).to(torch.uint8)


def _page_tokens(
    view: CacheView,
    row: torch.Tensor,
    page: torch.Tensor,
    kind: str,
    new: torch.Tensor | None,
    first_new: torch.Tensor | None,
    starts: torch.Tensor | None,
) -> torch.Tensor:
    """Tokens of pages ``[J, HKV, PAGE, D]`` for jobs ``[J]``, from the call's own tokens or from the ring."""
    size = view.layout.page_size
    inside = torch.arange(size, device=row.device)
    tokens = view.sink_tokens + page[:, None] * size + inside  # [J, PAGE]
    table = view.key_block_table if kind == "keys" else view.value_block_table
    found = read_blocks(view, table, row[:, None], tokens)  # [J, PAGE, HKV, D]
    if new is not None and new.shape[2]:
        index = starts[row, None].long() + tokens - first_new[row, None]  # [J, PAGE]
        is_new = tokens >= first_new[row, None]
        exists = is_new & (index >= 0) & (index < new.shape[2])
        # A cached token has the dtype of the blocks, wherever it is read.
        own = new[row[:, None], :, index.clamp(0, new.shape[2] - 1)].to(found.dtype)  # [J, PAGE, HKV, D]
        own = torch.where(exists[..., None, None], own, 0)
        found = torch.where(is_new[..., None, None], own, found)
    return found.transpose(1, 2)
