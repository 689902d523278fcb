"""Attention of S new tokens a row over its cached tokens, these included."""

from __future__ import annotations

import math

import torch

from ..dispatch import choose
from ..pages import BLOCK, CacheView
from ..validation import check_counter, check_view
from . import reference

__all__ = ["BLOCK", "MAX_TRITON_QUERIES", "CacheView", "decode_attention"]

MAX_TRITON_QUERIES = 16


def decode_attention(
    query: torch.Tensor,
    view: CacheView,
    *,
    scaling: float,
    first_positions: torch.Tensor | None = None,
    window: int | None = None,
    softcap: float | None = None,
    impl: str = "auto",
) -> torch.Tensor:
    """Softmax attention over what the cache holds; the call's own tokens must be in it already.

    Query s of row b stands at position ``first_positions[b] + s`` and sees the row's tokens up to its own; a query whose
    position is not one of the row's tokens is padding and gives zeros.

    Args:
        query: float16 or bfloat16 ``[B, HQ, S, D]`` (the reference takes any floating point), S at most 16 in Triton.
        view: the rows' cached tokens.
        scaling: factor of the scores, usually ``D ** -0.5``.
        first_positions: int32 ``[B]`` on the device; default ``lengths - S``.
        window: a query sees the last ``window`` tokens only, itself included; None for all.
        softcap: scores become ``softcap * tanh(score / softcap)``; None for none.
        impl: ``auto`` (triton on CUDA, reference on the CPU), ``triton`` or ``reference``.

    Returns:
        ``[B, HQ, S, D]`` in the dtype of ``query``; accumulated in float32.

    Raises:
        TypeError, ValueError: an argument is not as described.
        NotImplementedError: ``impl`` does not exist or cannot run here.

    Source: arXiv 2511.18643 section 4 (the cache); the maths is in README.md beside this file.
    """
    _check(query, view, scaling, window, softcap)
    if first_positions is not None:
        check_counter("attend", "first_positions", first_positions, query.shape[0], query.device)
    implementations = {"reference": _run_reference, "triton": _run_triton}
    run = choose("decode_attention", implementations, impl, query.device)
    return run(query, view, scaling=scaling, first_positions=first_positions, window=window, softcap=softcap)


def _run_reference(query: torch.Tensor, view: CacheView, **options: object) -> torch.Tensor:
    return reference.decode_attention(query, view, **options)


def _run_triton(query: torch.Tensor, view: CacheView, **options: object) -> torch.Tensor:
    from . import triton

    return triton.decode_attention(query, view, **options)


def _check(query: torch.Tensor, view: CacheView, scaling: float, window: int | None, softcap: float | None) -> None:
    check_view("attend", view)
    rows, head_dim, device = view.lengths.shape[0], view.layout.head_dim, view.blocks.device
    fits = query.ndim == 4 and (query.shape[0], query.shape[3]) == (rows, head_dim)
    if not fits or not query.is_floating_point():
        raise ValueError(
            f"Cannot attend: query must be floating point of shape ({rows}, any, any, {head_dim}), got {query.dtype} of "
            f"{tuple(query.shape)}."
        )
    if query.device != device:
        raise ValueError(f"Cannot attend: query must lie on {device}, got {query.device}.")
    kv_heads = view.blocks.shape[1]
    if query.shape[1] % kv_heads:
        raise ValueError(f"Cannot attend: {query.shape[1]} query heads do not divide among {kv_heads} KV heads.")
    for name in ("blocks", "key_pages", "value_pages"):
        pool = getattr(view, name)
        if not pool.is_contiguous():
            raise ValueError(f"Cannot attend: {name} must be contiguous, got strides {pool.stride()}.")
    if not math.isfinite(scaling):
        raise ValueError(f"Cannot attend: scaling must be finite, got {scaling}.")
    if window is not None and window < 1:
        raise ValueError(f"Cannot attend: window must be at least 1 or None, got {window}.")
    if softcap is not None and not softcap > 0:
        raise ValueError(f"Cannot attend: softcap must be over 0 or None, got {softcap}.")
