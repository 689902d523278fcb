"""What a cache holds, told to Transformers and to users."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import Cache

from ..cache.layer import KittyLayer
from ..cache.memory import CacheMemory, cache_memory
from ..cache.paged_cache import PagedCache
from ..cache.sliding_store import SlidingLayer, SlidingStore
from ..errors import CacheError
from .memory import with_sliding_layers


class CacheContents(Cache):
    """The part of ``KittyCache`` that only looks."""

    pages: PagedCache
    sliding: SlidingStore | None
    layers: Sequence[KittyLayer | SlidingLayer]

    def get_seq_length(self, layer_idx: int | None = 0) -> int:
        """Positions seen so far, padding included."""
        return self.layers[layer_idx or 0].slots

    def get_max_cache_shape(self) -> int | None:
        """None: the cache grows with its content."""
        return None

    @property
    def lengths(self) -> list[int]:
        """Real tokens of each row."""
        return self.layers[0].lengths

    @property
    def bytes_allocated(self) -> int:
        """Bytes of all memory held, free pages and blocks included."""
        return self.pages.bytes_allocated + (self.sliding.bytes_held if self.sliding is not None else 0)

    def memory(self) -> CacheMemory:
        """Bytes held for real tokens; see ``kitty_kv.cache.memory.cache_memory``."""
        return with_sliding_layers(cache_memory(self.pages), self.sliding)

    def dequantize(self, layer_idx: int) -> tuple[torch.Tensor, torch.Tensor]:
        """A layer's keys and values as attention sees them, float32 ``[B, H_KV, T, D]``; shorter rows end in zeros.

        Of a sliding-window layer, tokens that no window reaches any more are zeros too.
        """
        layer = self.layers[layer_idx]
        if not layer.slots:
            raise CacheError(f"Cannot dequantize layer {layer_idx}: the cache is empty.")
        return layer.dequantize()
