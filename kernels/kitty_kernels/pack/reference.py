"""The codec in plain torch: selection, scales, rounding, packing. Every other implementation equals it bit for bit.

    scale = max((max - min) / (2^b - 1), 1e-4);  code = clamp(round_half_even((x - min) / scale), 0, 2^b - 1)

with ``min`` and ``scale`` rounded to float16 before they are used, and all arithmetic in float32.
"""

from __future__ import annotations

import torch

from ..pages import BITS_PER_FIELD, FIELDS_PER_WORD, PackedKeys, PackedValues

LOW_BITS = 2
BOOSTED_BITS = 4
SCALE_FLOOR = 1e-4


def pack_keys(keys: torch.Tensor, *, boosted: int, selection: str, seed: int) -> PackedKeys:
    """See ``api.pack_keys``."""
    keys = keys.float()  # [..., PAGE, D]
    channels = select_channels(keys, boosted, selection, seed)  # [..., DB]
    bits = torch.full_like(keys[..., 0, :], LOW_BITS).scatter_(-1, channels, BOOSTED_BITS)  # [..., D]
    scale, minimum = affine_range(keys, bits, dim=-2)  # [..., D]
    codes = quantize(keys, scale.unsqueeze(-2), minimum.unsqueeze(-2), bits.unsqueeze(-2))  # [..., PAGE, D]
    index = channels.unsqueeze(-2).expand(*codes.shape[:-1], boosted)
    high = codes.gather(-1, index) >> LOW_BITS  # [..., PAGE, DB]
    return PackedKeys(pack_words(codes & 3), pack_words(high), channels.to(torch.uint8), scale, minimum)


def pack_values(values: torch.Tensor) -> PackedValues:
    """See ``api.pack_values``."""
    values = values.float()  # [..., PAGE, D]
    bits = torch.full_like(values[..., 0], LOW_BITS)  # [..., PAGE]
    scale, minimum = affine_range(values, bits, dim=-1)  # [..., PAGE]
    codes = quantize(values, scale.unsqueeze(-1), minimum.unsqueeze(-1), bits.unsqueeze(-1))
    return PackedValues(pack_words(codes.transpose(-1, -2)), scale, minimum)


def select_channels(keys: torch.Tensor, boosted: int, selection: str, seed: int) -> torch.Tensor:
    """The ``boosted`` channels of the highest score, ascending: ``[..., PAGE, D]`` float32 to ``[..., DB]`` int64.

    Sums are in float64, where those of 16-bit inputs are exact, so that no order of summation can change a choice.
    """
    wide = keys.double()
    if selection == "magnitude":
        score = wide.abs().sum(-2)  # [..., D]
    elif selection == "range":
        score = wide.amax(-2) - wide.amin(-2)
    elif selection == "variance":
        score = wide.var(-2, correction=0)
    else:
        generator = torch.Generator().manual_seed(seed)
        row = torch.rand(keys.shape[-1], generator=generator, dtype=torch.float64)
        score = row.to(keys.device).expand(*keys.shape[:-2], -1)
    best = score.argsort(dim=-1, descending=True, stable=True)[..., :boosted]
    return best.sort(-1).values


def affine_range(x: torch.Tensor, bits: torch.Tensor, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale and minimum of float32 ``x`` over ``dim`` for ``bits``-bit codes, rounded to float16 as they are stored."""
    low, high = x.amin(dim), x.amax(dim)
    steps = torch.exp2(bits) - 1
    scale = ((high - low) / steps).clamp_min(SCALE_FLOOR)
    return scale.half(), low.half()


def quantize(x: torch.Tensor, scale: torch.Tensor, minimum: torch.Tensor, bits: torch.Tensor) -> torch.Tensor:
    """Codes of float32 ``x`` as int32; the other arguments broadcast against it."""
    steps = torch.round((x - minimum.float()) / scale.float())  # torch rounds half to even
    return steps.clamp_min(0).minimum(torch.exp2(bits) - 1).to(torch.int32)


def pack_words(codes: torch.Tensor) -> torch.Tensor:
    """Packs 2-bit codes along the second to last dimension: int32 ``[..., R, C]`` to int16 ``[..., R/8, C]``.

    Field f of word i is row ``i + (R/8) f``: rows 0..7 of R = 8 with codes 3 2 1 0 0 0 0 0 become 0x001B.
    """
    rows, columns = codes.shape[-2:]
    fields = codes.reshape(*codes.shape[:-2], FIELDS_PER_WORD, rows // FIELDS_PER_WORD, columns)
    shifts = BITS_PER_FIELD * torch.arange(FIELDS_PER_WORD, device=codes.device, dtype=torch.int32)
    words = (fields << shifts[:, None, None]).sum(-3, dtype=torch.int32)
    return torch.where(words >= 1 << 15, words - (1 << 16), words).to(torch.int16)
