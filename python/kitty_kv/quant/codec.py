"""Configs to packed pages and back, over whole sequences. The arithmetic itself is ``kitty_kernels.pack.reference``."""

from __future__ import annotations

import torch

from kitty_kernels.dequantize import api as dequantize_op
from kitty_kernels.pack import api as pack_op
from kitty_kernels.pack.api import FIELDS_PER_BYTE, PackedKeys, PackedValues

from ..config import FULL_PRECISION_BITS, KittyConfig
from ..errors import ConfigError, UnsupportedError

# The contract's codec: plain torch on every device, for any page size and dtype.
IMPL = "reference"
PACKED_BITS = 2
BOOSTED_BITS = 4


def quantize_keys(k: torch.Tensor, config: KittyConfig, weights: torch.Tensor | None = None) -> PackedKeys:
    """Quantizes a sequence of keys.

    Args:
        k: floating point ``[B, H_KV, T, D]`` after RoPE, T a multiple of ``config.page_size``.
        config: with ``k_bits`` 2; ``boost_ratio``, ``selection`` and ``seed`` choose the 4-bit channels.
        weights: of selection ``query``, float32 ``[H_KV, D]``; None for the others.

    Returns:
        Pages with leading dimensions ``[B, H_KV, T / page_size]``.

    Raises:
        ConfigError: shape, config or weights do not fit.
        UnsupportedError: bit widths other than 2 with 4-bit boosting.
    """
    _check_sequence("keys", k, config, config.k_bits)
    if weights is not None:
        if tuple(weights.shape) != (k.shape[1], k.shape[3]):
            raise ConfigError(
                f"Cannot quantize keys: weights must be [H_KV, D] = {(k.shape[1], k.shape[3])}, got {tuple(weights.shape)}."
            )
        weights = weights.unsqueeze(-2)  # the same in every page
    return pack_key_pages(k.unflatten(2, (-1, config.page_size)), config, weights)


def dequantize_keys(pages: PackedKeys) -> torch.Tensor:
    """Keys as attention sees them: pages ``[B, H_KV, P]`` to float32 ``[B, H_KV, P * page_size, D]``."""
    return dequantize_op.dequantize_keys(pages, impl=IMPL).flatten(-3, -2)


def quantize_values(v: torch.Tensor, config: KittyConfig) -> PackedValues:
    """Quantizes a sequence of values ``[B, H_KV, T, D]``; as ``quantize_keys``, with 2 bits per token over D."""
    _check_sequence("values", v, config, config.v_bits)
    return pack_value_pages(v.unflatten(2, (-1, config.page_size)), config)


def dequantize_values(pages: PackedValues) -> torch.Tensor:
    """Values as attention sees them: pages ``[B, H_KV, P]`` to float32 ``[B, H_KV, P * page_size, D]``."""
    return dequantize_op.dequantize_values(pages, impl=IMPL).flatten(-3, -2)


def pack_key_pages(pages: torch.Tensor, config: KittyConfig, weights: torch.Tensor | None = None) -> PackedKeys:
    """Packs key pages ``[..., page_size, D]``, any leading dimensions, against which ``weights`` of ``query`` broadcast.

    Raises:
        ConfigError: ``query`` without weights, or weights without it.
    """
    if (weights is not None) != config.weighs_channels(pages.shape[-1]):
        raise ConfigError(
            f"Cannot quantize keys by selection {config.selection!r}: weights belong to 'query' where it has channels to choose, and "
            f"{'were given' if weights is not None else 'none were given'}."
        )
    options = {"selection": config.selection, "seed": config.seed, "weights": weights, "impl": IMPL}
    return pack_op.pack_keys(pages, boosted=config.boosted_channels(pages.shape[-1]), **options)


def pack_value_pages(pages: torch.Tensor, config: KittyConfig) -> PackedValues:
    """Packs value pages ``[..., page_size, D]``, any leading dimensions."""
    return pack_op.pack_values(pages, impl=IMPL)


def check_packable(config: KittyConfig, head_dim: int) -> None:
    """Raises unless ``config`` can be stored packed for heads of ``head_dim`` channels.

    Raises:
        UnsupportedError: names the field, what is possible and what was given.
    """
    widths = (PACKED_BITS, FULL_PRECISION_BITS)
    for name in ("k_bits", "v_bits"):
        if getattr(config, name) not in widths:
            raise UnsupportedError(
                f"Cannot store a packed cache with {name} = {getattr(config, name)}: packed storage has "
                f"{PACKED_BITS} bits or {FULL_PRECISION_BITS}; choose one of these.",
                details={"field": name, "value": getattr(config, name)},
            )
    if config.boosted_channels(head_dim) and config.boost_bits != BOOSTED_BITS:
        raise UnsupportedError(
            f"Cannot store a packed cache with boost_bits = {config.boost_bits}: packed storage boosts to "
            f"{BOOSTED_BITS} bits; set boost_bits to {BOOSTED_BITS} or boost_ratio to 0.",
            details={"field": "boost_bits", "value": config.boost_bits},
        )
    if config.quantizes_values and head_dim % FIELDS_PER_BYTE:
        raise UnsupportedError(
            f"Cannot store a packed cache for head_dim {head_dim}: values pack {FIELDS_PER_BYTE} channels to a byte; "
            "use preset fp16 for this model.",
            details={"head_dim": head_dim},
        )


def _check_sequence(name: str, x: torch.Tensor, config: KittyConfig, bits: int) -> None:
    if x.ndim != 4 or x.shape[2] == 0 or x.shape[2] % config.page_size:
        raise ConfigError(
            f"Cannot quantize {name}: want [B, H_KV, T, D] with T a positive multiple of {config.page_size}, "
            f"got shape {tuple(x.shape)}."
        )
    if bits == FULL_PRECISION_BITS:
        raise ConfigError(f"Cannot quantize {name}: preset {config.preset!r} keeps them in 16 bits.")
    check_packable(config, x.shape[-1])
