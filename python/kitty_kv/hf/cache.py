"""``KittyCache``: the packed cache as a Transformers ``Cache`` (4.53)."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from transformers import PretrainedConfig, PreTrainedModel

from ..cache.channel_weights import ChannelWeights
from ..cache.layer import KittyLayer
from ..cache.paged_cache import PagedCache
from ..cache.sliding_store import SlidingLayer, SlidingStore
from ..cache.store import PageStore
from ..config import KittyConfig
from ..errors import CacheError, CacheOutOfMemoryError, UnsupportedError
from .arguments import check_tokens, check_window, resolve_config
from .cache_contents import CacheContents
from .copies import Copies
from .forward_pass import Cached, ForwardPass
from .layer_order import in_order
from .model_identity import ModelIdentity
from .model_layers import layer_windows
from .padding import new_tokens
from .query_weights import weights_for
from .row_operations import RowOperations
from .slot_map import SlotMap
from .staged import Staged, stage
from .stock_attention import append_by_position
from .told_mask import ToldMask
from .warn_once import warn_once

ATTENTION_NAME = "kitty"


class KittyCache(CacheContents, RowOperations, Copies):
    """A 2-bit KV cache for one batch of sequences of any lengths.

    With ``attn_implementation="kitty"`` attention reads the pages. With a stock attention function the whole cache is
    dequantized at every step, which is slower. Padding never enters the cache. Sliding-window layers keep what their
    window reaches as the stock cache does, unquantized.

    Args:
        model_config: the model's (text) config.
        config: what is quantized, and how.
        impl: what runs: ``triton``, ``reference``, or ``auto`` for ``triton`` on CUDA and plain torch elsewhere.
        max_bytes: most bytes of pages and blocks that this cache and its forks may allocate together; None for no limit.
            A pass that needs more raises ``CacheOutOfMemoryError`` before it changes them.
        store: pages and blocks that this cache shares with others of the same model and config, whose limit
            then counts; None for its own.
        weights: of the key channels of full-attention layers, for selection ``query``.

    Raises:
        UnsupportedError: the model has layers that this cache cannot hold.
    """

    def __init__(
        self,
        model_config: PretrainedConfig,
        config: KittyConfig,
        impl: str = "auto",
        max_bytes: int | None = None,
        store: PageStore | None = None,
        weights: ChannelWeights | None = None,
    ) -> None:
        super().__init__()
        self.windows = windows = layer_windows(model_config)
        self.model_config = model_config
        self.config = config
        full, sliding = windows.count(None), [window for window in windows if window is not None]
        if not full:
            warn_once(
                f"Nothing is quantized: all {len(windows)} layers of this {model_config.model_type} model attend to a "
                f"sliding window of {sliding[0]} tokens, which stays as in the stock cache."
            )
        self.pages = PagedCache(config, full, impl, max_bytes, store, weights)
        self.sliding = SlidingStore(sliding[0], len(sliding)) if sliding else None
        self.layers: list[KittyLayer | SlidingLayer] = in_order(windows, self.pages, self.sliding)
        self.identity = ModelIdentity(model_config)
        self.slots = SlotMap()
        self._pass = ForwardPass(model_config, len(windows))
        self._told = ToldMask()

    @classmethod
    def for_model(
        cls,
        model: PreTrainedModel,
        preset: str | None = None,
        config: KittyConfig | None = None,
        impl: str = "auto",
        max_bytes: int | None = None,
        store: PageStore | None = None,
        weights: ChannelWeights | None = None,
        **fields: Any,
    ) -> KittyCache:
        """A cache for ``model``, and for no other.

        Args:
            model: any causal language model of Transformers.
            preset: name of a preset; default ``kitty-pro``.
            config: a whole config instead of ``preset`` and ``fields``.
            impl, max_bytes, store: as in the constructor.
            weights: of the key channels; None for the model's own, which are measured now if selection ``query`` wants them and
                nobody has measured them before (``query_weights``).
            **fields: single fields of ``KittyConfig`` over the preset's.

        Raises:
            ConfigError: both ways of configuring at once, or a wrong value.
            UnsupportedError: the model's layers cannot use this cache.
        """
        if not model._supports_cache_class:
            raise UnsupportedError(
                f"Cannot use the Kitty cache with {type(model).__name__}: in this version of Transformers it takes no cache "
                "objects at all."
            )
        text_config = model.config.get_text_config()
        if text_config._attn_implementation == ATTENTION_NAME and not model._supports_attention_backend:
            raise UnsupportedError(
                f"Cannot use the Kitty cache with {type(model).__name__} under attn_implementation='kitty': this model "
                "does not call attention functions by name; load it with 'eager'."
            )
        resolved = resolve_config(preset, config, fields)
        weights = weights_for(model, resolved) if weights is None else weights
        cache = cls(text_config, resolved, impl, max_bytes, store, weights)
        cache.identity.bind(model)
        return cache

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
            For stock attention functions everything cached so far and the new tokens at their positions, dequantized,
            zeros at padding, ``[B, HKV, T, D]``.

        Raises:
            CacheError: an earlier forward pass failed half-way, or the tokens do not fit this cache.
            UnsupportedError: the model does something that this cache cannot follow.
        """
        self._check_layer(layer_idx)
        check_tokens(key_states, value_states, len(self.lengths))
        if self.model_config._attn_implementation == ATTENTION_NAME:
            self._pass.stage(layer_idx)
            return stage(key_states, value_states, Staged(self, layer_idx))
        warn_once(
            f"The Kitty cache runs under attn_implementation={self.model_config._attn_implementation!r} and "
            "dequantizes everything at every step; call kitty_kv.install() and load the model with "
            "attn_implementation='kitty' for speed."
        )
        rows, _, count, _ = key_states.shape
        cached = Cached(self.slots, self.lengths)
        read = functools.partial(self._told.new_tokens, *cached, rows, count)
        with self._layer_pass(layer_idx, key_states, cached, read) as real:
            return append_by_position(self.layers[layer_idx], self.slots, key_states, value_states, real)

    def attend(
        self,
        layer_idx: int,
        module: torch.nn.Module | None,
        query: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        *,
        mask: torch.Tensor | None,
        scaling: float,
        window: int | None = None,
        softcap: float | None = None,
    ) -> torch.Tensor:
        """Attends a layer's new tokens to the cache and to each other, and adds them; for the attention function.

        Args:
            layer_idx, module: which layer; without a module nothing checks that it is the model's.
            query: ``[B, HQ, S, D]``.
            keys, values: ``[B, HKV, S, D]`` that ``update`` took.
            mask: bool ``[B, T]`` over all positions, False at padding; None if there is none.
            scaling, window, softcap: as in ``kitty_attention``.

        Returns:
            ``[B, HQ, S, D]``; zero at padding.

        Raises:
            CacheError: the mask contradicts what the cache holds, or the cache belongs to another model.
            UnsupportedError: the layer's window is not the one that the config says.
        """
        if module is not None:
            self.identity.check_module(layer_idx, module)
            check_window(layer_idx, module, self.windows[layer_idx], window)
        cached = Cached(self.slots, self.lengths)
        read = functools.partial(self.new_tokens, mask, keys.shape[2])
        with self._layer_pass(layer_idx, keys, cached, read) as real:
            return self.layers[layer_idx].attend(query, keys, values, scaling=scaling, real=real, softcap=softcap)

    def tell_mask(self, mask: Any, config: PretrainedConfig | None = None) -> None:
        """Says which positions of the coming forward pass are padding; stock attention never shows a cache its mask.

        Args:
            mask: what the model got as ``attention_mask``: bool or integer ``[B, T]``, or None.
            config: of the model that asks.
        """
        if config is not None:
            self.identity.check_config(config)
        if self.model_config._attn_implementation != ATTENTION_NAME:
            self._told.tell(mask)

    def reset(self) -> None:
        """Forgets all tokens; the cache then takes a batch of any size."""
        self.pages.reset()
        if self.sliding is not None:
            self.sliding.reset()
        self.slots = SlotMap()
        self._pass = ForwardPass(self.model_config, len(self.layers))
        self._told = ToldMask()

    def new_tokens(self, mask: torch.Tensor | None, count: int) -> torch.Tensor | None:
        """Which of ``count`` new positions ``mask`` ``[B, T]`` says are real, bool ``[B, S]``; None for all.

        Raises:
            CacheError: the mask contradicts what the cache holds.
        """
        return new_tokens(mask, self.slots.count, self.lengths, count)

    @contextlib.contextmanager
    def _layer_pass(
        self, layer_idx: int, keys: torch.Tensor, cached: Cached, read: Callable[[], torch.Tensor | None]
    ) -> Iterator[torch.Tensor | None]:
        """As ``ForwardPass.of_layer``; a pass for which there is no memory leaves what was there before it."""
        try:
            with self._pass.of_layer(layer_idx, keys, cached, read, self._make_room) as real:
                yield real
        except CacheOutOfMemoryError:
            # Only a first pass gets as far as to change layers: where the later ones lie shows when their tokens come.
            if not self.slots.count:
                self._pass = ForwardPass(self.model_config, len(self.layers))
                if self.sliding is not None:
                    self.sliding.reset()
            raise

    def _make_room(self, count: int, real: torch.Tensor | None) -> None:
        # Without sliding-window layers the first layer to take tokens makes room itself.
        if self.sliding is not None:
            self.pages.make_room(count, real)

    def check_context(self, count: int) -> None:
        """Checks that each row has room for ``count`` more tokens in the model's context.

        Raises:
            CacheError: one has not, or a forward pass failed half-way.
        """
        self._pass.check_idle("decode")
        self._pass.check_context(Cached(self.slots, self.lengths), count, None)

    def _check_layer(self, layer_idx: int) -> None:
        if not 0 <= layer_idx < len(self.layers):
            raise CacheError(f"Cannot update layer {layer_idx}: this cache was made for {len(self.layers)} layers.")
        self._pass.check_whole(layer_idx)
        self.layers[layer_idx].check_whole()
