"""The codec at any bit width: selection, scales and codes as the contract has them, unpacked.

At 2 bits with 4-bit boosting it equals ``kitty_kv.quant`` code for code, which tests prove. It is written apart from it so
that ``--verify`` compares two implementations.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from ..config import KittyConfig
from ..errors import ConfigError

SCALE_FLOOR = 1e-4


class AffineCodes(NamedTuple):
    """Codes of pages and what they stand for: ``code * scale + minimum``."""

    codes: torch.Tensor  # int32 [..., PAGE, D]
    scale: torch.Tensor  # float16 [..., 1, D] for keys, [..., PAGE, 1] for values
    minimum: torch.Tensor  # as scale

    def dequantize(self) -> torch.Tensor:
        """Float32 ``[..., PAGE, D]``, as attention sees it."""
        return self.codes * self.scale.float() + self.minimum.float()


def encode_keys(pages: torch.Tensor, config: KittyConfig, weights: torch.Tensor | None = None) -> AffineCodes:
    """Quantizes key pages per channel.

    Args:
        pages: floating point ``[..., PAGE, D]``, after RoPE.
        config: ``k_bits``, and ``boost_bits`` for the channels that ``boost_ratio``, ``selection`` and ``seed`` choose.
        weights: factors of the selection's scores, broadcast to ``[..., D]``, which ``query`` is named after; None for none.
    """
    x = pages.float()
    bits = torch.full_like(x[..., :1, :], config.k_bits, dtype=torch.int32)  # [..., 1, D]
    channels = boosted_channels(x, config, weights).unsqueeze(-2)  # [..., 1, DB]
    return _encode(x, bits.scatter_(-1, channels, config.boost_bits), dim=-2)


def encode_values(pages: torch.Tensor, config: KittyConfig) -> AffineCodes:
    """Quantizes value pages ``[..., PAGE, D]`` per token over D, to ``v_bits``."""
    x = pages.float()
    return _encode(x, torch.full_like(x[..., :1], config.v_bits, dtype=torch.int32), dim=-1)


def boosted_channels(pages: torch.Tensor, config: KittyConfig, weights: torch.Tensor | None = None) -> torch.Tensor:
    """The key channels of each page that get ``boost_bits``: float32 ``[..., PAGE, D]`` to int64 ``[..., DB]``, ascending."""
    count = config.boosted_channels(pages.shape[-1])
    if weights is None and config.weighs_channels(pages.shape[-1]):
        raise ConfigError("Cannot choose channels by selection 'query': no weights were given.")
    score = _score(pages.double(), config)  # [..., D]
    if weights is not None:
        score = score * weights.double()
    best = score.argsort(dim=-1, descending=True, stable=True)[..., :count]  # ties go to the lower channel
    return best.sort(dim=-1).values


def _score(pages: torch.Tensor, config: KittyConfig) -> torch.Tensor:
    if config.selection == "magnitude":
        return _sum_in_order(pages.abs())
    if config.selection in ("range", "query"):
        return pages.amax(-2) - pages.amin(-2)
    if config.selection == "variance":
        mean = _sum_in_order(pages) * (1.0 / pages.shape[-2])
        return _sum_in_order((pages - mean.unsqueeze(-2)).square())
    generator = torch.Generator().manual_seed(config.seed)
    scores = torch.rand(pages.shape[-1], generator=generator, dtype=torch.float64)
    return scores.to(pages.device).expand(*pages.shape[:-2], -1)


def _sum_in_order(x: torch.Tensor) -> torch.Tensor:
    """Sums tokens one after the other, as the codec does: another order would break near-ties differently."""
    total = torch.zeros_like(x[..., 0, :])
    for token in x.unbind(-2):
        total = total + token
    return total


def _encode(x: torch.Tensor, bits: torch.Tensor, dim: int) -> AffineCodes:
    levels = (1 << bits) - 1
    low, high = x.amin(dim, keepdim=True), x.amax(dim, keepdim=True)
    # Both are rounded before they are used, so that codes fit what is stored.
    scale = ((high - low) / levels).clamp_min(SCALE_FLOOR).half()
    minimum = low.half() + 0.0  # a zero without a sign
    steps = torch.round((x - minimum.float()) / scale.float())  # half to even
    return AffineCodes(steps.clamp_min(0).minimum(levels.float()).int(), scale, minimum)
