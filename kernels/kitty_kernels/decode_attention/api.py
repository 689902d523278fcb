"""Attention of S new tokens a row over its cached tokens, these included."""

from __future__ import annotations

import math

import torch

from ..dispatch import choose
from ..pages import BLOCK, CacheView
from . import reference

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
        _check_counter("first_positions", first_positions, query)
    implementations = {"reference": _run_reference, "triton": _run_triton}
    run = choose("decode_attention", implementations, impl, query.device)
    return run(query, view, scaling=scaling, first_positions=first_positions, window=window, softcap=softcap)


def _run_reference(query: torch.Tensor, view: CacheView, **options: object) -> torch.Tensor:
    return reference.decode_attention(query, view, **options)


def _run_triton(query: torch.Tensor, view: CacheView, **options: object) -> torch.Tensor:
    from . import triton

    return triton.decode_attention(query, view, **options)


def _check(query: torch.Tensor, view: CacheView, scaling: float, window: int | None, softcap: float | None) -> None:
    if query.ndim != 4 or not query.is_floating_point():
        raise ValueError(
            f"Cannot attend: query must be floating point [B, HQ, S, D], got {query.dtype} {tuple(query.shape)}."
        )
    batch, query_heads, _, head_dim = query.shape
    if view.blocks.ndim != 4 or view.blocks.shape[2] != BLOCK:
        raise ValueError(f"Cannot attend: blocks must be [NB, HKV, {BLOCK}, D], got {tuple(view.blocks.shape)}.")
    kv_heads = view.blocks.shape[1]
    if head_dim != view.layout.head_dim or view.blocks.shape[3] != head_dim:
        raise ValueError(
            f"Cannot attend: query has head_dim {head_dim}, the cache's layout {view.layout.head_dim} and its blocks "
            f"{view.blocks.shape[3]}."
        )
    if query_heads % kv_heads:
        raise ValueError(f"Cannot attend: {query_heads} query heads do not divide among {kv_heads} KV heads.")
    for name, pages, record in (
        ("key_pages", view.key_pages, view.layout.key_bytes),
        ("value_pages", view.value_pages, view.layout.value_bytes),
    ):
        if pages.dtype != torch.uint8 or pages.shape[1:] != (kv_heads, record) or not pages.is_contiguous():
            raise ValueError(
                f"Cannot attend: {name} must be contiguous uint8 [N, {kv_heads}, {record}], got {pages.dtype} "
                f"{tuple(pages.shape)} with strides {pages.stride()}."
            )
    if not view.blocks.is_contiguous():
        raise ValueError(f"Cannot attend: blocks must be contiguous, got strides {view.blocks.stride()}.")
    for name in ("lengths", "key_page_counts", "value_page_counts"):
        _check_counter(name, getattr(view, name), query)
    for name in ("key_table", "value_table", "key_block_table", "value_block_table"):
        table = getattr(view, name)
        if table.dtype != torch.int32 or table.ndim != 2 or table.shape[0] != batch or table.stride(1) != 1:
            raise ValueError(
                f"Cannot attend: {name} must be int32 [{batch}, n] with adjacent entries, got {table.dtype} "
                f"{tuple(table.shape)} with strides {table.stride()}."
            )
    for name in ("key_block_table", "value_block_table"):
        if getattr(view, name).shape[1] < view.sink_blocks:
            raise ValueError(
                f"Cannot attend: {name} must have at least {view.sink_blocks} columns for {view.sink_tokens} sinks, "
                f"got {getattr(view, name).shape[1]}."
            )
    devices = {tensor.device for tensor in (query, *(part for part in view if isinstance(part, torch.Tensor)))}
    if len(devices) > 1:
        raise ValueError(f"Cannot attend: query and cache must lie on one device, got {sorted(map(str, devices))}.")
    if not math.isfinite(scaling):
        raise ValueError(f"Cannot attend: scaling must be finite, got {scaling}.")
    if window is not None and window < 1:
        raise ValueError(f"Cannot attend: window must be at least 1 or None, got {window}.")
    if softcap is not None and not softcap > 0:
        raise ValueError(f"Cannot attend: softcap must be over 0 or None, got {softcap}.")


def _check_counter(name: str, counter: torch.Tensor, query: torch.Tensor) -> None:
    if counter.dtype != torch.int32 or tuple(counter.shape) != (query.shape[0],) or counter.device != query.device:
        raise ValueError(
            f"Cannot attend: {name} must be int32 [{query.shape[0]}] on {query.device}, got {counter.dtype} "
            f"{tuple(counter.shape)} on {counter.device}."
        )
