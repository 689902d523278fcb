"""A pass of one sequence's next tokens through a Kitty cache, in which the layers may run compiled."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel

from .cache import KittyCache
from .compiled_layers import run_compiled
from .traced_cache import TracedCache


class ChunkCache(TracedCache):
    """Hands every layer's new tokens to a Kitty cache of one row without padding, under the kitty attention."""

    def __init__(self, cache: KittyCache) -> None:
        super().__init__(len(cache.layers))
        self._cache = cache

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        scaling: float,
        softcap: float | None,
    ) -> torch.Tensor:
        """As ``KittyCache.attend``."""
        options = {"mask": None, "scaling": scaling, "softcap": softcap}
        return self._cache.attend(layer, None, query, keys, values, **options)


def feed_chunk(model: PreTrainedModel, cache: KittyCache, tokens: list[int]) -> torch.Tensor:
    """Feeds ``tokens`` to ``cache``: the logits ``[V]`` behind the last of them.

    Raises:
        CacheError: from ``KittyCache.attend``.
    """
    chunk, past = ChunkCache(cache), cache.get_seq_length()
    input_ids = torch.tensor([tokens], device=model.device)  # [1, S]
    positions = torch.arange(past, past + len(tokens), device=model.device)
    logits = run_compiled(
        model,
        lambda: chunk.run(model, input_ids, positions.unsqueeze(0), positions, 1),
        may_repeat=lambda: not chunk.layers_done,
    )
    return logits[0, -1]
