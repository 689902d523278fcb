"""Quantizes and packs full pages of keys and values; the contract's codec."""

from __future__ import annotations

import torch

from ..dispatch import choose
from ..pages import FIELDS_PER_WORD, PackedKeys, PackedValues
from . import reference

SELECTIONS = ("magnitude", "range", "variance", "random")


def pack_keys(
    keys: torch.Tensor, *, boosted: int, selection: str = "magnitude", seed: int = 0, impl: str = "auto"
) -> PackedKeys:
    """Quantizes key pages per channel: 2 bits, and 4 for the ``boosted`` channels of the highest score.

    Args:
        keys: floating point ``[..., PAGE, D]``, after RoPE; PAGE a multiple of 8.
        boosted: number of 4-bit channels of every page, 0 to D.
        selection: score of a channel over the page: ``magnitude`` (mean of absolute values), ``range``,
            ``variance``, or ``random`` (the same channels in every page, from ``seed``). Ties go to the lower channel.
        impl: ``auto`` or ``reference``.

    Returns:
        Packed pages with the leading dimensions of ``keys``.

    Raises:
        TypeError, ValueError: ``keys`` or an option is not as described.
        NotImplementedError: ``impl`` does not exist.

    Source: arXiv 2511.18643 section 4; rounding and scale floor as in the project's contract.
    """
    _check_pages("keys", keys)
    head_dim = keys.shape[-1]
    if not 0 <= boosted <= head_dim:
        raise ValueError(f"Cannot pack keys: boosted must be 0 to D = {head_dim}, got {boosted}.")
    if head_dim > 256 and boosted:
        raise ValueError(f"Cannot pack keys: boosted channels need head_dim <= 256, got {head_dim}.")
    if selection not in SELECTIONS:
        raise ValueError(f"Cannot pack keys: selection must be one of {SELECTIONS}, got {selection!r}.")
    run = choose("pack_keys", {"reference": reference.pack_keys}, impl)
    return run(keys, boosted=boosted, selection=selection, seed=seed)


def pack_values(values: torch.Tensor, *, impl: str = "auto") -> PackedValues:
    """Quantizes value pages to 2 bits per token over D.

    Args:
        values: floating point ``[..., PAGE, D]``; PAGE and D multiples of 8.
        impl: ``auto`` or ``reference``.

    Returns:
        Packed pages with the leading dimensions of ``values``.

    Raises:
        TypeError, ValueError: ``values`` is not as described.
        NotImplementedError: ``impl`` does not exist.
    """
    _check_pages("values", values)
    if values.shape[-1] % FIELDS_PER_WORD:
        raise ValueError(
            f"Cannot pack values: head_dim must be a multiple of {FIELDS_PER_WORD}, got {values.shape[-1]}."
        )
    return choose("pack_values", {"reference": reference.pack_values}, impl)(values)


def _check_pages(name: str, pages: torch.Tensor) -> None:
    if not isinstance(pages, torch.Tensor) or not pages.is_floating_point():
        got = getattr(pages, "dtype", type(pages).__name__)
        raise TypeError(f"Cannot pack {name}: want a floating point tensor, got {got}.")
    if pages.ndim < 2 or pages.shape[-2] == 0 or pages.shape[-2] % FIELDS_PER_WORD:
        raise ValueError(
            f"Cannot pack {name}: want [..., PAGE, D] with PAGE a multiple of {FIELDS_PER_WORD}, "
            f"got shape {tuple(pages.shape)}."
        )
