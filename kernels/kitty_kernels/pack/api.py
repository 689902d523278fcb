"""Quantizes and packs full pages of keys and values; the contract's codec."""

from __future__ import annotations

import torch

from ..dispatch import choose
from ..pages import BLOCK, FIELDS_PER_BYTE, CacheView, PackedKeys, PackedValues, PageLayout
from ..validation import FLOAT_TYPES, check_counter, check_tensor, check_view
from . import reference

__all__ = [
    "FIELDS_PER_BYTE",
    "PackedKeys",
    "PackedValues",
    "PageLayout",
    "flush_layers",
    "pack_cached",
    "pack_keys",
    "pack_values",
]

SELECTIONS = ("magnitude", "range", "query", "variance", "random")
KINDS = ("keys", "values")
PAGE_MULTIPLE = 8


def pack_keys(
    keys: torch.Tensor,
    *,
    boosted: int,
    selection: str = "magnitude",
    seed: int = 0,
    weights: torch.Tensor | None = None,
    impl: str = "auto",
) -> PackedKeys:
    """Quantizes key pages per channel: 2 bits, and 4 for the ``boosted`` channels of the highest score.

    Args:
        keys: floating point ``[..., PAGE, D]``, after RoPE; PAGE a multiple of 8. Triton: 16 bits, PAGE 128.
        boosted: number of 4-bit channels of every page, 0 to D.
        selection: score of a channel over the page: ``magnitude`` (mean of absolute values), ``range``, ``query`` (range
            times ``weights``), ``variance``, or ``random`` (the same channels in every page, from ``seed``). Ties go to
            the lower channel.
        seed: of ``random``.
        weights: of ``query``: float32, finite, broadcast to ``[..., D]``; taken without their sign. None for the others.
        impl: ``auto`` (triton on CUDA, reference on the CPU), ``triton`` or ``reference``.

    Returns:
        Packed pages with the leading dimensions of ``keys``, views of one new tensor of records.

    Raises:
        TypeError, ValueError: ``keys`` or an option is not as described.
        NotImplementedError: ``impl`` does not exist or cannot run here.

    Source: arXiv 2511.18643 section 4; rounding and scale floor as in the project's contract.
    """
    _check_pages("keys", keys)
    head_dim = keys.shape[-1]
    if not 0 <= boosted <= head_dim:
        raise ValueError(f"Cannot pack keys: boosted must be 0 to D = {head_dim}, got {boosted}.")
    if head_dim > 256 and boosted:
        raise ValueError(f"Cannot pack keys: boosted channels need head_dim <= 256, got {head_dim}.")
    _check_selection(selection)
    _check_weights(selection, weights, has_choice=0 < boosted < head_dim)
    if weights is not None:
        weights = _broadcast(weights, keys)
    run = choose("pack_keys", {"reference": reference.pack_keys, "triton": _triton_keys}, impl, keys.device)
    return run(keys, boosted=boosted, selection=selection, seed=seed, weights=weights)


def pack_values(values: torch.Tensor, *, impl: str = "auto") -> PackedValues:
    """Quantizes value pages to 2 bits per token over D.

    Args:
        values: floating point ``[..., PAGE, D]``; PAGE a multiple of 8, D of 4. Triton: 16 bits, PAGE 128.
        impl: ``auto`` (triton on CUDA, reference on the CPU), ``triton`` or ``reference``.

    Returns:
        Packed pages with the leading dimensions of ``values``, views of one new tensor of records.

    Raises:
        TypeError, ValueError: ``values`` is not as described.
        NotImplementedError: ``impl`` does not exist or cannot run here.
    """
    _check_pages("values", values)
    if values.shape[-1] % FIELDS_PER_BYTE:
        raise ValueError(
            f"Cannot pack values: head_dim must be a multiple of {FIELDS_PER_BYTE}, got {values.shape[-1]}."
        )
    run = choose("pack_values", {"reference": reference.pack_values, "triton": _triton_values}, impl, values.device)
    return run(values)


def pack_cached(
    view: CacheView,
    jobs: torch.Tensor,
    *,
    kind: str,
    new: torch.Tensor | None = None,
    first_new: torch.Tensor | None = None,
    starts: torch.Tensor | None = None,
    selection: str = "magnitude",
    seed: int = 0,
    weights: torch.Tensor | None = None,
    impl: str = "auto",
) -> None:
    """Packs pages of cached tokens in place, all jobs and heads in one launch, without waiting for the device.

    A job is (row, page index p of the row, destination page id). Token ``t = sink_tokens + PAGE p + i`` of the page is
    ``new[row, :, starts[row] + t - first_new[row]]`` when ``t >= first_new[row]``, and else the row's ring has it. A job
    whose destination is negative does nothing, so that a fixed number of jobs can be launched; nor does a job with a row,
    page or destination that does not exist. What a page holds for a token that is in neither place is not defined.

    Args:
        view: the cache; the pages of ``jobs`` are not yet in its page counts, which are not read.
        jobs: int32 ``[J, 3]`` on the device.
        kind: ``keys`` or ``values``.
        new: 16-bit ``[B, HKV, S, D]``, the call's own tokens, read through their strides; None reads the ring alone.
        first_new: int32 ``[B]``, position of a row's first new token; with ``new``.
        starts: int32 ``[B]``, where in S that token lies; with ``new``.
        selection: as in ``pack_keys``; ``layout.boosted`` channels are chosen.
        seed: of ``random``.
        weights: of ``query``: float32 ``[HKV, D]`` on the device, contiguous; of no use for values.
        impl: ``auto`` (triton on CUDA, reference on the CPU), ``triton`` or ``reference``.

    Raises:
        TypeError, ValueError: an argument is not as described.
        NotImplementedError: ``impl`` does not exist or cannot run here.
    """
    _check_job_arguments(view, jobs, kind, selection, weights, None)
    if (first_new is None) != (new is None) or (starts is None) != (new is None):
        raise ValueError("Cannot pack pages: new, first_new and starts must be given together.")
    if new is not None:
        rows, device = view.lengths.shape[0], view.blocks.device
        wanted = (rows, view.blocks.shape[1], None, view.layout.head_dim)
        check_tensor("pack pages", "new", new, wanted, FLOAT_TYPES, device)
        check_counter("pack pages", "first_new", first_new, rows, device)
        check_counter("pack pages", "starts", starts, rows, device)
    implementations = {"reference": reference.pack_cached, "triton": _triton_cached}
    run = choose("pack_cached", implementations, impl, view.blocks.device)
    options = {"selection": selection, "seed": seed, "weights": weights}
    run(view, jobs, kind=kind, new=new, first_new=first_new, starts=starts, **options)


def flush_layers(
    view: CacheView,
    jobs: torch.Tensor,
    *,
    kind: str,
    selection: str = "magnitude",
    seed: int = 0,
    weights: torch.Tensor | None = None,
    impl: str = "auto",
) -> None:
    """Packs the same pages of every layer from the rings in one launch; what ``pack_cached`` does, LAYERS times.

    Args:
        view: a cache whose ``blocks``, ``key_pages`` and ``value_pages`` have a leading LAYERS dimension; tables and
            counters are those of every layer.
        jobs: int32 ``[J, 3]`` as in ``pack_cached``.
        kind: ``keys`` or ``values``.
        selection, seed, impl: as in ``pack_cached``.
        weights: of ``query``: float32 ``[LAYERS, HKV, D]`` on the device, contiguous.

    Raises:
        TypeError, ValueError: an argument is not as described.
        NotImplementedError: ``impl`` does not exist or cannot run here.
    """
    _check_job_arguments(view, jobs, kind, selection, weights, view.blocks.shape[0] if view.blocks.ndim else 0)
    implementations = {"reference": reference.flush_layers, "triton": _triton_flush}
    run = choose("flush_layers", implementations, impl, view.blocks.device)
    run(view, jobs, kind=kind, selection=selection, seed=seed, weights=weights)


def _check_pages(name: str, pages: torch.Tensor) -> None:
    if not isinstance(pages, torch.Tensor) or not pages.is_floating_point():
        got = getattr(pages, "dtype", type(pages).__name__)
        raise TypeError(f"Cannot pack {name}: want a floating point tensor, got {got}.")
    if pages.ndim < 2 or pages.shape[-2] == 0 or pages.shape[-2] % PAGE_MULTIPLE:
        raise ValueError(
            f"Cannot pack {name}: want [..., PAGE, D] with PAGE a multiple of {PAGE_MULTIPLE}, "
            f"got shape {tuple(pages.shape)}."
        )


def _check_selection(selection: str) -> None:
    if selection not in SELECTIONS:
        raise ValueError(f"Cannot pack keys: selection must be one of {SELECTIONS}, got {selection!r}.")


def _check_weights(selection: str, weights: torch.Tensor | None, *, has_choice: bool) -> None:
    if selection != "query" and weights is not None:
        raise ValueError(f"Cannot pack keys: weights belong to selection 'query', got {selection!r}; leave them out.")
    if selection == "query" and weights is None and has_choice:
        raise ValueError("Cannot pack keys: selection 'query' needs weights, how large queries are on each channel.")
    if weights is not None and (not isinstance(weights, torch.Tensor) or weights.dtype != torch.float32):
        got = getattr(weights, "dtype", type(weights).__name__)
        raise TypeError(f"Cannot pack keys: weights must be float32, got {got}.")


def _broadcast(weights: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    shape = (*keys.shape[:-2], keys.shape[-1])
    if weights.device != keys.device:
        raise ValueError(f"Cannot pack keys: weights must be on {keys.device}, got {weights.device}.")
    try:
        return weights.expand(shape)
    except RuntimeError as error:
        raise ValueError(
            f"Cannot pack keys: weights must broadcast to {shape}, got shape {tuple(weights.shape)}."
        ) from error


def _check_job_arguments(
    view: CacheView,
    jobs: torch.Tensor,
    kind: str,
    selection: str,
    weights: torch.Tensor | None,
    layers: int | None,
) -> None:
    if kind not in KINDS:
        raise ValueError(f"Cannot pack pages: kind must be one of {KINDS}, got {kind!r}.")
    _check_selection(selection)
    check_view("pack pages", view, layers=layers)
    _check_weights(selection, weights, has_choice=kind == "keys" and 0 < view.layout.boosted < view.layout.head_dim)
    if weights is not None:
        wanted = (*(() if layers is None else (layers,)), view.blocks.shape[-3], view.layout.head_dim)
        check_tensor("pack pages", "weights", weights, wanted, (torch.float32,), view.blocks.device)
        if not weights.is_contiguous():
            raise ValueError("Cannot pack pages: weights must be contiguous; pass weights.contiguous().")
    check_tensor("pack pages", "jobs", jobs, (None, 3), (torch.int32,), view.blocks.device)
    table = view.key_block_table if kind == "keys" else view.value_block_table
    ring, page_blocks = table.shape[1] - view.sink_blocks, -(-view.layout.page_size // BLOCK)
    if ring < page_blocks:
        raise ValueError(f"Cannot pack {kind}: the ring must hold a page, {page_blocks} blocks, got {ring}.")
    if kind == "values" and view.layout.head_dim % FIELDS_PER_BYTE:
        raise ValueError(
            f"Cannot pack values: head_dim must be a multiple of {FIELDS_PER_BYTE}, got {view.layout.head_dim}."
        )


def _triton_keys(keys: torch.Tensor, **options: object) -> PackedKeys:
    from . import triton

    return triton.pack_keys(keys, **options)


def _triton_values(values: torch.Tensor) -> PackedValues:
    from . import triton

    return triton.pack_values(values)


def _triton_cached(view: CacheView, jobs: torch.Tensor, **options: object) -> None:
    from . import triton

    triton.pack_cached(view, jobs, **options)


def _triton_flush(view: CacheView, jobs: torch.Tensor, **options: object) -> None:
    from . import triton

    triton.flush_layers(view, jobs, **options)
