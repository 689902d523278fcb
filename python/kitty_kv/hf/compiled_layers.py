"""Decoder layers through ``torch.compile``: of the few microseconds that a small kernel takes, a model of Transformers has dozens
a layer. The compiler fuses those between the matrix products, with the roundings that they have apart, and products of one
input are merged.

Code that is made is kept on disk by torch, so that the next process has it in seconds. ``KITTY_KV_COMPILE=0`` turns it off.
"""

from __future__ import annotations

import contextlib
import os
import weakref
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from transformers import PreTrainedModel

from ..errors import UnsupportedError
from .merged_products import make_adjacent, merging
from .warn_once import warn_once

T = TypeVar("T")

_SWITCH = "KITTY_KV_COMPILE"
_of_models: weakref.WeakKeyDictionary[PreTrainedModel, CompiledLayers | None] = weakref.WeakKeyDictionary()


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


def run_compiled(model: PreTrainedModel, run: Callable[[], T], may_repeat: Callable[[], bool]) -> T:
    """Calls ``run``, which calls the model, with its layers compiled where it lies on one GPU, unless that is turned off.

    Args:
        model: compiled once, when it is first needed.
        run: what to do; called a second time, with the layers as they are, when compiling failed.
        may_repeat: whether that can be, asked after a failure.
    """
    layers = _layers_of(model)
    if layers is None:
        return run()
    try:
        with layers.active():
            return run()
    except torch._dynamo.exc.TorchDynamoException as error:
        if not may_repeat():
            raise
        _of_models[model] = None
        reason = str(error).strip().split("\n", 1)[0][:200]
        warn_once(f"{type(model).__name__} runs without torch.compile, and slower: compiling it failed: {reason}")
        return run()


def use_backend(model: PreTrainedModel, backend: str | None) -> None:
    """Compiles a model's layers with ``backend``, or with None not at all, whatever suits its device."""
    _of_models[model] = None if backend is None else CompiledLayers(model, backend)


def _layers_of(model: PreTrainedModel) -> CompiledLayers | None:
    if model not in _of_models:
        devices = {weight.device for weight in model.parameters()}
        is_on_a_gpu = len(devices) == 1 and model.device.type == "cuda"
        use_backend(model, suiting_backend(model, is_on_a_gpu=is_on_a_gpu))
    return _of_models[model]


def suiting_backend(model: PreTrainedModel, *, is_on_a_gpu: bool) -> str | None:
    """What compiles a model's layers unless something else is asked for; None for nothing."""
    if not is_on_a_gpu or os.environ.get(_SWITCH) == "0":
        return None
    try:
        decoder_layers(model)
    except UnsupportedError as error:
        warn_once(f"{type(model).__name__} runs without torch.compile, and slower. {error}")
        return None
    return "inductor"


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
