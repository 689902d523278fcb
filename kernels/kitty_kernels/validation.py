"""Checks that several operations share; all of them look at shapes, dtypes and devices only, so none waits for a GPU."""

from __future__ import annotations

import torch

from .pages import BLOCK, CacheView

HALF_TYPES = (torch.float16, torch.bfloat16)
FLOAT_TYPES = (*HALF_TYPES, torch.float32)


def check_view(action: str, view: CacheView, *, layers: int | None = None) -> None:
    """Raises unless the parts of ``view`` fit together; its blocks may be float32, which only the references take.

    Args:
        action: what is attempted, such as ``pack pages``, for the error.
        view: see ``CacheView``.
        layers: number of a leading LAYERS dimension of the pools, None for pools without one.
    """
    layout, lead = view.layout, () if layers is None else (layers,)
    blocks, device = view.blocks, view.blocks.device
    kv_heads = blocks.shape[-3] if blocks.ndim >= 3 else None
    check_tensor(action, "blocks", blocks, (*lead, None, kv_heads, BLOCK, layout.head_dim), FLOAT_TYPES, device)
    check_tensor(action, "lengths", view.lengths, (None,), (torch.int32,), device)
    rows = view.lengths.shape[0]
    for kind, page_bytes in (("key", layout.key_bytes), ("value", layout.value_bytes)):
        pages = getattr(view, f"{kind}_pages")
        check_tensor(action, f"{kind}_pages", pages, (*lead, None, kv_heads, page_bytes), (torch.uint8,), device)
        check_counter(action, f"{kind}_page_counts", getattr(view, f"{kind}_page_counts"), rows, device)
        for name in (f"{kind}_table", f"{kind}_block_table"):
            check_tensor(action, name, getattr(view, name), (rows, None), (torch.int32,), device)
        if getattr(view, f"{kind}_block_table").shape[1] < view.sink_blocks:
            got = getattr(view, f"{kind}_block_table").shape[1]
            raise ValueError(
                f"Cannot {action}: {kind}_block_table must have at least the {view.sink_blocks} sink blocks of a row, "
                f"got {got} columns."
            )


def check_half_blocks(action: str, view: CacheView) -> None:
    """Raises a TypeError unless the blocks of ``view`` have 16 bits, as the Triton kernels want."""
    if view.blocks.dtype not in HALF_TYPES:
        raise TypeError(
            f"Cannot {action} with impl='triton': blocks must be float16 or bfloat16, got {_short(view.blocks.dtype)}; "
            "choose impl='reference'."
        )


def check_counter(action: str, name: str, counter: torch.Tensor, rows: int, device: torch.device) -> None:
    """Raises unless ``counter`` is int32 ``[rows]`` on ``device``."""
    check_tensor(action, name, counter, (rows,), (torch.int32,), device)


def check_tensor(
    action: str,
    name: str,
    tensor: torch.Tensor,
    shape: tuple[int | None, ...],
    dtypes: tuple[torch.dtype, ...],
    device: torch.device,
) -> None:
    """Raises unless ``tensor`` has this shape (None fits any size), one of these dtypes and this device.

    The last dimension's elements must lie next to each other.

    Raises:
        TypeError: it is no tensor or has another dtype.
        ValueError: shape, stride or device are others.
    """
    wanted = " or ".join(_short(dtype) for dtype in dtypes)
    if not isinstance(tensor, torch.Tensor) or tensor.dtype not in dtypes:
        got = _short(tensor.dtype) if isinstance(tensor, torch.Tensor) else type(tensor).__name__
        raise TypeError(f"Cannot {action}: {name} must be {wanted}, got {got}.")
    fits = tensor.ndim == len(shape) and all(size in (None, got) for size, got in zip(shape, tensor.shape, strict=True))
    if not fits:
        text = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"Cannot {action}: {name} must have shape ({text}), got {tuple(tensor.shape)}.")
    if tensor.device != device:
        raise ValueError(f"Cannot {action}: {name} must lie on {device}, got {tensor.device}.")
    if tensor.numel() and tensor.shape[-1] > 1 and tensor.stride(-1) != 1:
        raise ValueError(f"Cannot {action}: {name} must have stride 1 in its last dimension, got {tensor.stride(-1)}.")


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
