"""A forward pass of a few tokens a row that repeats the same launches, so that a CUDA graph can hold it.

Everything that differs from step to step is read from ``DecodeTables``; nothing here waits for the device or depends on what a
row holds.
"""

from __future__ import annotations

import torch
from transformers import PreTrainedModel

from kitty_kernels.append.api import append
from kitty_kernels.decode_attention.api import decode_attention

from ..cache.decode_tables import DecodeTables
from ..cache.views import layer_of
from .traced_cache import TracedCache


class DecodeCache(TracedCache):
    """Adds each row's tokens to its blocks and attends to what the row holds.

    Args:
        tables: of the batch.
        layers: how many the model has, all of them full attention.
        impl: of the operations.
    """

    def __init__(self, tables: DecodeTables, layers: int, impl: str) -> None:
        super().__init__(layers)
        self.tables = tables
        self.impl = impl

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        scaling: float,
        softcap: float | None,
    ) -> torch.Tensor:
        """A layer's attention of ``[B, HQ, S, D]``, zero at padding rows."""
        tables = self.tables
        view = layer_of(tables.view, layer)
        counters = {"first_new": tables.past, "starts": tables.starts, "counts": tables.counts}
        append(keys, values, view, **counters, impl=self.impl)
        options = {"scaling": scaling, "softcap": softcap, "impl": self.impl}
        return decode_attention(query, view, first_positions=tables.past, **options)

    def decode(self, model: PreTrainedModel) -> torch.Tensor:
        """Feeds the tokens that the tables say: logits ``[B, S, V]``, of padding meaningless.

        Raises:
            CacheError: the model has left layers out.
        """
        tables, new_tokens = self.tables, self.tables.shape.new_tokens
        # Nothing reads cache_position: there is no mask, and the rows' positions are given.
        cache_position = torch.arange(new_tokens, device=tables.tokens.device)
        return self.run(model, tables.tokens.long(), tables.positions.long(), cache_position, new_tokens)
