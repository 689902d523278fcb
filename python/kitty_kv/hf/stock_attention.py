"""What stock attention functions get from a Kitty cache: everything, dequantized, at its position."""

from __future__ import annotations

import torch

from ..cache.layer import KittyLayer
from ..cache.sliding_store import SlidingLayer
from ..errors import UnsupportedError
from .slot_map import SlotMap


def append_by_position(
    layer: KittyLayer | SlidingLayer,
    slots: SlotMap,
    keys: torch.Tensor,
    values: torch.Tensor,
    real: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Adds new tokens ``[B, HKV, S, D]`` to ``layer``.

    Args:
        slots: of the tokens before them.
        real: which of them are real, bool ``[B, S]``; None for all.

    Returns:
        What was there and then the new tokens, ``[B, HKV, T, D]``, zeros at padding and where no window reaches.

    Raises:
        UnsupportedError: a sliding window over padding between tokens, which stock masks count.
    """
    if real is not None:
        padding = ~real[:, None, :, None]
        keys, values = keys.masked_fill(padding, 0), values.masked_fill(padding, 0)
    if not layer.slots:
        layer.append(keys, values, real)
        return keys, values
    if isinstance(layer, SlidingLayer) and slots.is_padded_inside():
        raise UnsupportedError(
            "Cannot attend to a sliding window with padding between tokens under a stock attention function: its mask "
            "counts padding; load the model with attn_implementation='kitty'."
        )
    old = [slots.spread(side) for side in layer.dequantize(dtype=keys.dtype)]
    layer.append(keys, values, real)
    return torch.cat((old[0], keys), dim=2), torch.cat((old[1], values), dim=2)
