"""Writes a call's own keys and values to the blocks that hold a row's sinks and latest tokens."""

from __future__ import annotations

import torch

from ..dispatch import choose
from ..pages import CacheView
from ..validation import FLOAT_TYPES, check_counter, check_tensor, check_view
from . import reference

__all__ = ["CacheView", "append"]


def append(
    keys: torch.Tensor,
    values: torch.Tensor,
    view: CacheView,
    *,
    first_new: torch.Tensor,
    starts: torch.Tensor,
    counts: torch.Tensor,
    impl: str = "auto",
) -> None:
    """Writes each real token to its block, keys and values in one launch, without waiting for the device.

    Token s of row b is real when ``starts[b] <= s < starts[b] + counts[b]``; its position is
    ``t = first_new[b] + s - starts[b]``. Tokens whose page is already counted are skipped: ``pack_cached`` has read them.
    Of more tokens than the ring holds, the last ones stay. A token whose block does not exist is not written.

    Args:
        keys: float ``[B, HKV, S, D]``, after RoPE; cast to the dtype of the blocks.
        values: like ``keys``, with strides of its own.
        view: the cache; ``lengths`` is neither read nor changed.
        first_new: int32 ``[B]`` on the device, position of a row's first real token.
        starts: int32 ``[B]``, where in S it lies.
        counts: int32 ``[B]``, how many real tokens the row has.
        impl: ``auto`` (triton on CUDA, reference on the CPU), ``triton`` or ``reference``.

    Raises:
        TypeError, ValueError: an argument is not as described.
        NotImplementedError: ``impl`` does not exist or cannot run here.
    """
    check_view("append", view)
    rows, kv_heads, head_dim = view.lengths.shape[0], view.blocks.shape[1], view.blocks.shape[3]
    device = view.blocks.device
    new_tokens = keys.shape[2] if isinstance(keys, torch.Tensor) and keys.ndim == 4 else None
    for name, tensor in (("keys", keys), ("values", values)):
        wanted = (rows, kv_heads, new_tokens, head_dim)
        check_tensor("append", name, tensor, wanted, FLOAT_TYPES, device)
    for name, counter in (("first_new", first_new), ("starts", starts), ("counts", counts)):
        check_counter("append", name, counter, rows, device)
    run = choose("append", {"reference": reference.append, "triton": _triton}, impl, device)
    run(keys, values, view, first_new=first_new, starts=starts, counts=counts)


def _triton(keys: torch.Tensor, values: torch.Tensor, view: CacheView, **counters: torch.Tensor) -> None:
    from . import triton

    triton.append(keys, values, view, **counters)
