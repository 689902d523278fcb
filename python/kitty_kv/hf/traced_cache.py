"""What a model is called with in a pass whose layers may be compiled: a cache that the compiler need not look into.

``update`` hands keys and values on as they are; the attention function then gives them to ``attend`` of the cache that runs on
this thread, through one operation that is opaque to the compiler. Layers are counted as they come, so that code compiled for
one of them serves all.
"""

from __future__ import annotations

import threading
from typing import Any

import torch
from transformers import Cache, PreTrainedModel

from ..errors import CacheError, UnsupportedError

_running = threading.local()  # .cache: the TracedCache whose pass runs on this thread


class TracedCache(Cache):
    """Base of such caches.

    Args:
        layers: how many the model has, all of them full attention.
    """

    def __init__(self, layers: int) -> None:
        super().__init__()
        self._layers = layers
        self._next = 0

    @property
    def layers_done(self) -> int:
        """How many layers have attended in the pass."""
        return self._next

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        layer_idx: int,
        cache_kwargs: dict[str, Any] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the new keys and values ``[B, HKV, S, D]`` as they are: the attention function adds them."""
        # layer_idx is not looked at: the compiler would make code for each of its values.
        return key_states, value_states

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        scaling: float,
        softcap: float | None,
    ) -> torch.Tensor:
        """Adds a layer's new tokens and attends to all, ``[B, HQ, S, D]``."""
        raise NotImplementedError

    def get_seq_length(self, layer_idx: int | None = 0) -> int:
        """0: positions come with ``position_ids``."""
        return 0

    def get_max_cache_shape(self) -> int | None:
        """None: it grows."""
        return None

    def get_mask_sizes(self, cache_position: torch.Tensor, layer_idx: int) -> tuple[int, int]:
        """Those of the pass alone: there is no mask."""
        return cache_position.shape[0], 0

    def run(
        self,
        model: PreTrainedModel,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        cache_position: torch.Tensor,
        logits_to_keep: int,
    ) -> torch.Tensor:
        """A pass over ``input_ids`` ``[B, S]`` at ``position_ids`` ``[B, S]``: logits ``[B, logits_to_keep, V]``.

        Raises:
            CacheError: the model has left layers out.
        """
        self._next = 0
        _running.cache = self
        try:
            output = model(
                input_ids=input_ids,
                position_ids=position_ids,
                cache_position=cache_position,
                past_key_values=self,
                use_cache=True,
                logits_to_keep=logits_to_keep,
            )
        finally:
            _running.cache = None
        if self._next != self._layers:
            raise CacheError(
                f"Cannot run {type(model).__name__}: {self._next} of its {self._layers} layers attended through the cache."
            )
        return output.logits

    def attend_next(
        self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scaling: float, softcap: float | None
    ) -> torch.Tensor:
        """``attend`` of the layer whose turn it is."""
        self._next += 1
        return self.attend(self._next - 1, query, keys, values, scaling, softcap)


def is_traced() -> bool:
    """Whether a pass of this kind runs on this thread."""
    return getattr(_running, "cache", None) is not None


# The schema is written out because early versions of torch cannot read it from annotations that are text.
@torch.library.custom_op(
    "kitty_kv::attend_next_layer",
    mutates_args=(),
    schema="(Tensor query, Tensor keys, Tensor values, float scaling, float? softcap) -> Tensor",
)
def attend_next_layer(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scaling: float, softcap: float | None
) -> torch.Tensor:
    """``TracedCache.attend_next`` of the running pass, as one operation that the compiler does not look into."""
    cache = getattr(_running, "cache", None)
    if cache is None:
        raise UnsupportedError(
            "Cannot run the kitty attention in a model compiled with torch.compile: its cache changes shape; run the model "
            "as it is, or through kitty_kv's engine, which compiles its passes itself."
        )
    return cache.attend_next(query, keys, values, scaling, softcap).contiguous()


@attend_next_layer.register_fake
def _(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scaling: float, softcap: float | None
) -> torch.Tensor:
    return query.new_empty(query.shape)
