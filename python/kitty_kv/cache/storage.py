"""Pages and blocks of the layers that lie on one device."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

from kitty_kernels.decode_attention.api import BLOCK
from kitty_kernels.pack.api import PageLayout

from ..errors import CacheOutOfMemoryError


class Counts(NamedTuple):
    """How many of each a layer has, or needs."""

    key_pages: int
    value_pages: int
    blocks: int


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
        self.version = 0  # changes with the tensors below
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
    def counts(self) -> Counts:
        """Room for so many pages and blocks a layer."""
        return Counts(self.key_pages.shape[1], self.value_pages.shape[1], self.blocks.shape[1])

    @property
    def bytes_allocated(self) -> int:
        """Bytes of all pools, free pages and blocks included."""
        return sum(pool.nbytes for pool in (self.key_pages, self.value_pages, self.blocks))

    def bytes_for(self, counts: Counts) -> int:
        """Bytes of pools with room for so many."""
        pools = (self.key_pages, self.value_pages, self.blocks)
        sizes = (pool.shape[0] * pool.shape[2:].numel() * pool.itemsize for pool in pools)
        return sum(size * count for size, count in zip(sizes, counts, strict=True))

    def resize(self, layers: int) -> None:
        """Holds ``layers`` layers from now on, the first of which are those held before.

        Raises:
            CacheOutOfMemoryError: the device has no such memory.
        """
        pools = (self.key_pages, self.value_pages, self.blocks)
        self.replace(*(_resized(pool, layers, pool.shape[1]) for pool in pools))

    def make_room(self, counts: Counts) -> None:
        """Grows the pools to hold at least so many pages and blocks a layer.

        Raises:
            CacheOutOfMemoryError: the device has no such memory; nothing that the pools hold is lost.
        """
        for name, count in zip(("key_pages", "value_pages", "blocks"), counts, strict=True):
            pool = getattr(self, name)
            if pool.shape[1] < count:
                setattr(self, name, _resized(pool, pool.shape[0], count))
                self.version += 1

    def compacted(self, kept: Sequence[Sequence[int] | None]) -> list[torch.Tensor]:
        """Copies of the pools that hold only these ids of key pages, value pages and blocks; for None the pool as it is.

        Raises:
            CacheOutOfMemoryError: the device has no memory for the copies.
        """
        pools = (self.key_pages, self.value_pages, self.blocks)
        with torch.inference_mode(False), torch.no_grad(), _saying(f"compact the cache on {self.device}"):
            return [
                pool if ids is None else pool.index_select(1, to_device(ids, self.device))
                for pool, ids in zip(pools, kept, strict=True)
            ]

    def replace(self, key_pages: torch.Tensor, value_pages: torch.Tensor, blocks: torch.Tensor) -> None:
        """Takes other pools."""
        self.key_pages, self.value_pages, self.blocks = key_pages, value_pages, blocks
        self.version += 1

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


def _resized(pool: torch.Tensor, layers: int, count: int) -> torch.Tensor:
    shape = torch.Size((layers, count, *pool.shape[2:]))
    with torch.inference_mode(False), torch.no_grad():
        with _saying(f"grow a pool of the cache on {pool.device} to {pool.itemsize * shape.numel():,} bytes"):
            out = pool.new_zeros(shape)
        kept_layers, kept = min(layers, pool.shape[0]), min(count, pool.shape[1])
        out[:kept_layers, :kept] = pool[:kept_layers, :kept]
    return out


@contextlib.contextmanager
def _saying(action: str) -> Iterator[None]:
    try:
        yield
    # The CPU's allocator raises RuntimeError itself, a GPU's the subclass OutOfMemoryError.
    except (MemoryError, RuntimeError) as error:
        raise CacheOutOfMemoryError(
            f"Cannot {action}: the device has no such memory left; crop or drop rows, free other memory, or use "
            "fewer tokens."
        ) from error
