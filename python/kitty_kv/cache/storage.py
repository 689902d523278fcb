"""Pages and blocks of the layers that lie on one device."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from kitty_kernels.decode_attention.api import BLOCK
from kitty_kernels.pack.api import PageLayout

_GROWTH = 8  # a pool that is full grows by at least an eighth


class Storage:
    """Three pools with a leading layer dimension; page and block ids are the same in every layer.

    Args:
        layers: LAYERS, how many layers lie here.
        layout: of a page.
        kv_heads: HKV.
        dtype: of the blocks.
        device: where all of it lies.
    """

    def __init__(
        self, layers: int, layout: PageLayout, kv_heads: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.device = device
        self.layout = layout
        # Inference tensors could not be written outside inference mode later.
        with torch.inference_mode(False):
            bytes_like = {"dtype": torch.uint8, "device": device}
            self.key_pages = torch.zeros(layers, 0, kv_heads, layout.key_bytes, **bytes_like)
            self.value_pages = torch.zeros(layers, 0, kv_heads, layout.value_bytes, **bytes_like)
            self.blocks = torch.zeros(layers, 0, kv_heads, BLOCK, layout.head_dim, dtype=dtype, device=device)

    @property
    def layers(self) -> int:
        return self.blocks.shape[0]

    @property
    def bytes_allocated(self) -> int:
        """Bytes of all pools, free pages and blocks included."""
        return sum(pool.nbytes for pool in (self.key_pages, self.value_pages, self.blocks))

    def resize(self, layers: int) -> None:
        """Holds ``layers`` layers from now on, the first of which are those held before."""
        self.key_pages, self.value_pages, self.blocks = (
            _resized(pool, layers, pool.shape[1]) for pool in (self.key_pages, self.value_pages, self.blocks)
        )

    def make_room(self, key_pages: int, value_pages: int, blocks: int) -> None:
        """Grows the pools to hold at least so many pages and blocks a layer."""
        self.key_pages = _grown(self.key_pages, key_pages)
        self.value_pages = _grown(self.value_pages, value_pages)
        self.blocks = _grown(self.blocks, blocks)

    def copy_blocks(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Copies blocks (from, to) in all layers."""
        if not pairs:
            return
        sources, targets = to_device([list(ids) for ids in zip(*pairs, strict=True)], self.device).long().unbind(0)
        self.blocks.index_copy_(1, targets, self.blocks.index_select(1, sources))


def to_device(numbers: Sequence[int] | Sequence[Sequence[int]], device: torch.device) -> torch.Tensor:
    """int32 on ``device`` without waiting for it."""
    if device.type != "cuda":
        return torch.tensor(numbers, dtype=torch.int32, device=device)
    return torch.tensor(numbers, dtype=torch.int32, pin_memory=True).to(device, non_blocking=True)


def _grown(pool: torch.Tensor, needed: int) -> torch.Tensor:
    held = pool.shape[1]
    return pool if needed <= held else _resized(pool, pool.shape[0], max(needed, held + held // _GROWTH))


def _resized(pool: torch.Tensor, layers: int, count: int) -> torch.Tensor:
    with torch.inference_mode(False), torch.no_grad():
        out = pool.new_zeros(layers, count, *pool.shape[2:])
        kept_layers, kept = min(layers, pool.shape[0]), min(count, pool.shape[1])
        out[:kept_layers, :kept] = pool[:kept_layers, :kept]
    return out
