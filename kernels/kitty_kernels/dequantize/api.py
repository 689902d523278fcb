"""Packed pages back to float32, for stock attention functions and for checks."""

from __future__ import annotations

import torch

from ..dispatch import choose
from ..pages import CacheView, PackedKeys, PackedValues
from . import reference

__all__ = [
    "CacheView",
    "PackedKeys",
    "PackedValues",
    "dequantize_keys",
    "dequantize_row",
    "dequantize_values",
    "key_codes",
    "value_codes",
]


def dequantize_keys(pages: PackedKeys, *, impl: str = "auto") -> torch.Tensor:
    """``code * scale + minimum`` of key pages.

    Args:
        pages: key pages with leading dimensions ``...``.
        impl: ``auto`` or ``reference``.

    Returns:
        float32 ``[..., PAGE, D]``.

    Raises:
        NotImplementedError: ``impl`` does not exist.
    """
    return choose("dequantize_keys", {"reference": reference.dequantize_keys}, impl)(pages)


def dequantize_values(pages: PackedValues, *, impl: str = "auto") -> torch.Tensor:
    """``code * scale + minimum`` of value pages.

    Args:
        pages: value pages with leading dimensions ``...``.
        impl: ``auto`` or ``reference``.

    Returns:
        float32 ``[..., PAGE, D]``.

    Raises:
        NotImplementedError: ``impl`` does not exist.
    """
    return choose("dequantize_values", {"reference": reference.dequantize_values}, impl)(pages)


def dequantize_row(cache: CacheView, row: int, *, impl: str = "auto") -> tuple[torch.Tensor, torch.Tensor]:
    """One row's cached keys and values in token order: sinks, pages, tail.

    Args:
        cache: the rows' cached tokens.
        row: index into B.
        impl: ``auto`` or ``reference``.

    Returns:
        Keys and values as attention sees them, float32 ``[HKV, T, D]``.

    Raises:
        NotImplementedError: ``impl`` does not exist.
    """
    return choose("dequantize_row", {"reference": reference.dequantize_row}, impl)(cache, row)


def key_codes(pages: PackedKeys) -> torch.Tensor:
    """The stored integer codes of key pages, int16 ``[..., PAGE, D]``: 0 to 3, or 0 to 15 in boosted channels."""
    return reference.key_codes(pages)


def value_codes(pages: PackedValues) -> torch.Tensor:
    """The stored integer codes of value pages, int16 ``[..., PAGE, D]``, 0 to 3."""
    return reference.value_codes(pages)
