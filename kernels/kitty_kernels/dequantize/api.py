"""Packed pages back to floating point, for stock attention functions and for checks."""

from __future__ import annotations

import torch

from ..dispatch import choose
from ..pages import CacheView, PackedKeys, PackedValues
from ..validation import FLOAT_TYPES, check_view
from . import reference

__all__ = [
    "CacheView",
    "PackedKeys",
    "PackedValues",
    "dequantize_keys",
    "dequantize_values",
    "dequantize_view",
    "key_codes",
    "value_codes",
]


def dequantize_keys(pages: PackedKeys, *, impl: str = "auto") -> torch.Tensor:
    """``code * scale + minimum`` of key pages.

    Args:
        pages: key pages with leading dimensions ``...``; Triton: PAGE 128.
        impl: ``auto`` (triton on CUDA, reference on the CPU), ``triton`` or ``reference``.

    Returns:
        float32 ``[..., PAGE, D]``.

    Raises:
        NotImplementedError: ``impl`` does not exist or cannot run here.
    """
    implementations = {"reference": reference.dequantize_keys, "triton": _triton_keys}
    return choose("dequantize_keys", implementations, impl, pages.low.device)(pages)


def dequantize_values(pages: PackedValues, *, impl: str = "auto") -> torch.Tensor:
    """``code * scale + minimum`` of value pages.

    Args:
        pages: value pages with leading dimensions ``...``; Triton: PAGE 128.
        impl: ``auto`` (triton on CUDA, reference on the CPU), ``triton`` or ``reference``.

    Returns:
        float32 ``[..., PAGE, D]``.

    Raises:
        NotImplementedError: ``impl`` does not exist or cannot run here.
    """
    implementations = {"reference": reference.dequantize_values, "triton": _triton_values}
    return choose("dequantize_values", implementations, impl, pages.codes.device)(pages)


def dequantize_view(
    view: CacheView, *, tokens: int, dtype: torch.dtype = torch.float32, impl: str = "auto"
) -> tuple[torch.Tensor, torch.Tensor]:
    """Every row's keys and values in token order, as attention sees them.

    Args:
        view: the rows' cached tokens.
        tokens: how many of each row; those at and beyond its length are zero, as are those whose page or block
            does not exist.
        dtype: of the result, float16, bfloat16 or float32.
        impl: ``auto`` (triton on CUDA, reference on the CPU), ``triton`` or ``reference``.

    Returns:
        Keys and values ``[B, HKV, tokens, D]``.

    Raises:
        TypeError, ValueError: an argument is not as described.
        NotImplementedError: ``impl`` does not exist or cannot run here.
    """
    check_view("dequantize", view)
    if not isinstance(tokens, int) or tokens < 0:
        raise ValueError(f"Cannot dequantize: tokens must be an integer >= 0, got {tokens!r}.")
    if dtype not in FLOAT_TYPES:
        raise TypeError(f"Cannot dequantize: dtype must be float16, bfloat16 or float32, got {dtype}.")
    implementations = {"reference": reference.dequantize_view, "triton": _triton_view}
    return choose("dequantize_view", implementations, impl, view.blocks.device)(view, tokens=tokens, dtype=dtype)


def key_codes(pages: PackedKeys) -> torch.Tensor:
    """The stored integer codes of key pages, uint8 ``[..., PAGE, D]``: 0 to 3, or 0 to 15 in boosted channels."""
    return reference.key_codes(pages)


def value_codes(pages: PackedValues) -> torch.Tensor:
    """The stored integer codes of value pages, uint8 ``[..., PAGE, D]``, 0 to 3."""
    return reference.value_codes(pages)


def _triton_keys(pages: PackedKeys) -> torch.Tensor:
    from . import triton

    return triton.dequantize_keys(pages)


def _triton_values(pages: PackedValues) -> torch.Tensor:
    from . import triton

    return triton.dequantize_values(pages)


def _triton_view(view: CacheView, **options: object) -> tuple[torch.Tensor, torch.Tensor]:
    from . import triton

    return triton.dequantize_view(view, **options)
