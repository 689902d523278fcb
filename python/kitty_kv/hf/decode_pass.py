"""A forward pass of a few tokens a row that repeats the same launches, so that a CUDA graph can hold it.

Everything that differs from step to step is read from ``DecodeTables``; nothing here waits for the device or depends on what a
row holds. On CUDA the layers run compiled: of the few microseconds that a small kernel takes a model of Transformers has
dozens a layer, and the compiler fuses those between the matrix products, with the roundings that they have apart. Products
of one input are merged.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import torch
from transformers import Cache, PreTrainedModel

from kitty_kernels.append.api import append
from kitty_kernels.decode_attention.api import decode_attention

from ..cache.decode_tables import DecodeTables
from ..cache.views import layer_of
from ..errors import CacheError, UnsupportedError
from .merged_products import make_adjacent, merging

_running = threading.local()  # .cache: the DecodeCache whose pass runs on this thread


class DecodeCache(Cache):
    """What a model is called with in such a pass: adds each row's tokens to its blocks and attends to what the row holds.

    Args:
        tables: of the batch.
        layers: how many the model has, all of them full attention.
        impl: of the operations.
    """

    def __init__(self, tables: DecodeTables, layers: int, impl: str) -> None:
        super().__init__()
        self.tables = tables
        self.impl = impl
        self._layers = layers
        self._next = 0

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
        self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scaling: float, softcap: float | None
    ) -> torch.Tensor:
        """The next layer's attention of ``[B, HQ, S, D]``, zero at padding rows."""
        tables = self.tables
        view = layer_of(tables.view, self._next)
        self._next += 1
        counters = {"first_new": tables.past, "starts": tables.starts, "counts": tables.counts}
        append(keys, values, view, **counters, impl=self.impl)
        options = {"scaling": scaling, "softcap": softcap, "impl": self.impl}
        return decode_attention(query, view, first_positions=tables.past, **options)

    def get_seq_length(self, layer_idx: int | None = 0) -> int:
        """0: positions come with ``position_ids``."""
        return 0

    def get_max_cache_shape(self) -> int | None:
        """None: tables grow with their rows."""
        return None

    def get_mask_sizes(self, cache_position: torch.Tensor, layer_idx: int) -> tuple[int, int]:
        """Those of the pass alone: there is no mask."""
        return cache_position.shape[0], 0

    def run(self, model: PreTrainedModel) -> torch.Tensor:
        """Feeds the tokens that the tables say: logits ``[B, S, V]``, of padding meaningless.

        Raises:
            CacheError: the model has left layers out.
        """
        tables, new_tokens = self.tables, self.tables.shape.new_tokens
        self._next = 0
        _running.cache = self
        try:
            output = model(
                input_ids=tables.tokens.long(),
                position_ids=tables.positions.long(),
                # Nothing reads them: there is no mask, and the rows' positions are given.
                cache_position=torch.arange(new_tokens, device=tables.tokens.device),
                past_key_values=self,
                use_cache=True,
                logits_to_keep=new_tokens,
            )
        finally:
            _running.cache = None
        if self._next != self._layers:
            raise CacheError(
                f"Cannot decode with {type(model).__name__}: {self._next} of its {self._layers} layers attended through the cache."
            )
        return output.logits


def is_decoding() -> bool:
    """Whether a pass of this kind runs on this thread."""
    return getattr(_running, "cache", None) is not None


# The schema is written out because early versions of torch cannot read it from annotations that are text.
@torch.library.custom_op(
    "kitty_kv::decode_next_layer",
    mutates_args=(),
    schema="(Tensor query, Tensor keys, Tensor values, float scaling, float? softcap) -> Tensor",
)
def decode_next_layer(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scaling: float, softcap: float | None
) -> torch.Tensor:
    """``DecodeCache.attend`` of the running pass, as one operation that the compiler does not look into."""
    cache = getattr(_running, "cache", None)
    if cache is None:
        raise UnsupportedError(
            "Cannot run the kitty attention in a model compiled with torch.compile: its cache changes shape; run the model "
            "as it is, or through kitty_kv's engine, which compiles its decode steps itself."
        )
    return cache.attend(query, keys, values, scaling, softcap).contiguous()


@decode_next_layer.register_fake
def _(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scaling: float, softcap: float | None
) -> torch.Tensor:
    return query.new_empty(query.shape)


def _inductor(graph: torch.fx.GraphModule, inputs: list[Any]) -> Any:
    from torch._inductor.compile_fx import compile_fx

    return compile_fx(graph, inputs, config_patches={"emulate_precision_casts": True})


_BACKENDS = {"inductor": _inductor, "eager": lambda graph, inputs: graph.forward}


class CompiledLayers:
    """A model's decoder layers, compiled: code is made for one of them and serves all.

    Args:
        model: whose layers. Weights of products that are merged move in memory; see ``merged_products.py``.
        backend: what compiles: ``inductor``, or ``eager`` to run what is traced as it is.

    Raises:
        UnsupportedError: the model has no list of as many modules as its config says.
    """

    def __init__(self, model: PreTrainedModel, backend: str = "inductor") -> None:
        self._layers = decoder_layers(model)
        compile_graph = _BACKENDS[backend]
        if make_adjacent(self._layers):
            compile_graph = merging(compile_graph)
        self._compiled = [torch.compile(layer._call_impl, backend=compile_graph) for layer in self._layers]

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Inside, the layers run compiled, on any thread."""
        before = [layer._compiled_call_impl for layer in self._layers]
        for layer, compiled in zip(self._layers, self._compiled, strict=True):
            layer._compiled_call_impl = compiled
        try:
            yield
        finally:
            for layer, call in zip(self._layers, before, strict=True):
                layer._compiled_call_impl = call


def decoder_layers(model: PreTrainedModel) -> list[torch.nn.Module]:
    """The model's decoder layers, in their order.

    Raises:
        UnsupportedError: it has no list of as many modules as its config says.
    """
    count = model.config.get_text_config().num_hidden_layers
    for module in model.modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == count:
            return list(module)
    raise UnsupportedError(
        f"Cannot compile the layers of {type(model).__name__}: it has no list of {count} decoder layers."
    )
