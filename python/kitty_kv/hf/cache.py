"""``KittyCache``: the packed cache as a Transformers ``Cache`` (4.53)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import Cache, PretrainedConfig, PreTrainedModel

from ..cache.layer import KittyLayer
from ..cache.memory import CacheMemory, cache_memory
from ..cache.paged_cache import PagedCache
from ..config import KittyConfig
from ..errors import CacheError, ConfigError, UnsupportedError
from .staged import stage
from .warn_once import warn_once

ATTENTION_NAME = "kitty"


class KittyCache(Cache):
    """A 2-bit KV cache for one batch of sequences of any lengths.

    With ``attn_implementation="kitty"`` attention reads the pages and padding never enters the cache. With a stock
    attention function the whole cache is dequantized at every step, which is slower, and ``generate()`` refuses
    padded batches.

    Args:
        model_config: the model's (text) config.
        config: what is quantized, and how.
        impl: what runs: ``triton``, ``reference``, or ``auto`` for ``triton`` on CUDA and plain torch elsewhere.
    """

    def __init__(self, model_config: PretrainedConfig, config: KittyConfig, impl: str = "auto") -> None:
        super().__init__()
        _check_model(model_config)
        self.model_config = model_config
        self.config = config
        self.pages = PagedCache(config, model_config.num_hidden_layers, impl)

    @property
    def layers(self) -> list[KittyLayer]:
        """What each attention layer holds."""
        return self.pages.layers

    @classmethod
    def for_model(
        cls,
        model: PreTrainedModel,
        preset: str | None = None,
        config: KittyConfig | None = None,
        impl: str = "auto",
        **fields: Any,
    ) -> KittyCache:
        """A cache for ``model``.

        Args:
            model: any causal language model of Transformers.
            preset: name of a preset; default ``kitty-pro``.
            config: a whole config instead of ``preset`` and ``fields``.
            impl: as in the constructor.
            **fields: single fields of ``KittyConfig`` over the preset's.

        Raises:
            ConfigError: both ways of configuring at once, or a wrong value.
            UnsupportedError: the model's layers cannot use this cache.
        """
        if config is not None and (preset is not None or fields):
            raise ConfigError("Cannot build the cache: got both config and preset or single fields; pass one of them.")
        if config is None:
            config = KittyConfig.from_dict({**({"preset": preset} if preset is not None else {}), **fields})
        elif not isinstance(config, KittyConfig):
            raise ConfigError(f"Cannot build the cache: config must be a KittyConfig, got {type(config).__name__}.")
        return cls(model.config.get_text_config(), config, impl)

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        layer_idx: int,
        cache_kwargs: dict[str, Any] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Takes a layer's new keys and values ``[B, HKV, S, D]``.

        Returns:
            For the ``kitty`` attention function the same tensors, tied to their layer: it knows the padding, so it adds
            them to the cache.
            For stock attention functions everything cached so far and the new tokens, dequantized, ``[B, HKV, T, D]``.

        Raises:
            CacheError: an earlier forward pass failed half-way.
        """
        layer = self._layer(layer_idx)
        if self.model_config._attn_implementation == ATTENTION_NAME:
            return stage(key_states, value_states, layer)
        warn_once(
            f"The Kitty cache runs under attn_implementation={self.model_config._attn_implementation!r} and "
            "dequantizes everything at every step; call kitty_kv.install() and load the model with "
            "attn_implementation='kitty' for speed."
        )
        if not layer.slots:
            layer.append(key_states, value_states)
            return key_states, value_states
        old_keys, old_values = layer.dequantize(dtype=key_states.dtype)
        layer.append(key_states, value_states)
        return torch.cat((old_keys, key_states), dim=2), torch.cat((old_values, value_states), dim=2)

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
        return self.pages.bytes_allocated

    def memory(self) -> CacheMemory:
        """Bytes held for real tokens; see ``kitty_kv.cache.memory.cache_memory``."""
        return cache_memory(self.pages)

    def dequantize(self, layer_idx: int) -> tuple[torch.Tensor, torch.Tensor]:
        """A layer's keys and values as attention sees them, float32 ``[B, H_KV, T, D]``; shorter rows end in zeros."""
        layer = self.layers[layer_idx]
        if not layer.slots:
            raise CacheError(f"Cannot dequantize layer {layer_idx}: the cache is empty.")
        return layer.dequantize()

    def reset(self) -> None:
        """Forgets all tokens; the cache then takes a batch of any size."""
        self.pages.reset()

    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        """Makes row ``beam_idx[i]`` the new row i; pages are shared, not copied."""
        self._select(beam_idx.tolist())

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keeps only the rows at ``indices``, in that order."""
        self._select(indices.tolist())

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeats every row ``repeats`` times; pages are shared, not copied."""
        self._select([row for row in range(len(self.lengths)) for _ in range(repeats)])

    def crop(self, max_length: int) -> None:
        """Not in this version.

        Raises:
            UnsupportedError: always.
        """
        raise UnsupportedError(
            "Cannot crop a Kitty cache: this version cannot; use DynamicCache where tokens are taken back."
        )

    def _select(self, indices: Sequence[int]) -> None:
        if self.lengths:
            self.pages.select_rows(indices)

    def _layer(self, layer_idx: int) -> KittyLayer:
        if not 0 <= layer_idx < len(self.layers):
            raise CacheError(f"Cannot update layer {layer_idx}: this cache was made for {len(self.layers)} layers.")
        layer = self.layers[layer_idx]
        layer.check_whole()
        return layer


def _check_model(config: PretrainedConfig) -> None:
    if getattr(config, "is_encoder_decoder", False):
        raise UnsupportedError(
            "Cannot use the Kitty cache with an encoder-decoder model: only decoder-only models are supported."
        )
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if kinds != {"full_attention"}:
        raise UnsupportedError(
            f"Cannot use the Kitty cache with {config.model_type}: it has layers of kind {', '.join(sorted(kinds))}, "
            "and this version holds full attention only.",
            details={"layer_types": sorted(kinds)},
        )
