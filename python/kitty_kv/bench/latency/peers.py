"""The ways of generating that are compared: caches of stock Transformers, ours under stock ``generate()``, and our engine."""

from __future__ import annotations

import dataclasses
import importlib.util
from typing import Any, Literal

import torch

from ...config import PRESETS, KittyConfig
from ...hf.cache import KittyCache
from ...hf.recorded_steps import asking_for_compiled_layers

Kind = Literal["dynamic", "static", "quantized", "kitty", "engine"]


@dataclasses.dataclass(frozen=True, slots=True)
class Peer:
    """A way of generating.

    Args:
        name: as reports call it.
        kind: a cache of Transformers or ours under ``generate()``, or our engine.
        config: of ``kitty`` and ``engine``.
        backend: of ``quantized``.
        is_compiled: whether ``generate()`` compiles its decode step.
        missing: packages without which it cannot run, by import name.
        needs_cuda: whether it runs on a GPU only.
    """

    name: str
    kind: Kind
    config: KittyConfig | None = None
    backend: str | None = None
    is_compiled: bool = False
    missing: tuple[str, ...] = ()
    needs_cuda: bool = False

    @property
    def attention(self) -> str:
        """``attn_implementation`` to run the model with."""
        return "sdpa" if self.config is None else "kitty"

    def reason_against(self, device: torch.device) -> str | None:
        """Why it cannot run here, or None."""
        absent = [name for name in self.missing if importlib.util.find_spec(name) is None]
        if absent:
            return f"{' and '.join(absent)} not installed"
        return "needs a CUDA GPU" if self.needs_cuda and device.type != "cuda" else None

    def cache_config(self, model: Any) -> dict[str, Any]:
        """Of ``quantized``, for ``QuantizedCacheConfig``."""
        sizes = {"nbits": 2, "q_group_size": 64, "residual_length": 128}
        axes = {"axis_key": 1, "axis_value": 1} if self.backend == "HQQ" else {}
        return {"backend": self.backend, **sizes, **axes, "device": str(model.device), "compute_dtype": model.dtype}

    def arguments(self, model: Any, max_bytes: int | None = None) -> dict[str, Any]:
        """Of ``generate()``, where it makes the cache; ours keeps to ``max_bytes``."""
        if self.kind == "static":
            return {"cache_implementation": "static", **self.compiling()}
        if self.kind == "quantized":
            return {"cache_implementation": "quantized", "cache_config": self.cache_config(model)}
        if self.kind == "kitty":
            cache = KittyCache.for_model(model, config=self.config, max_bytes=max_bytes)
            return {"past_key_values": cache, **self.compiling()}
        return {}

    def compiling(self, is_wanted: bool = True) -> dict[str, Any]:
        """Of ``generate()``, what has a peer that compiles do so, if it is wanted, and no other."""
        is_compiled = self.is_compiled and is_wanted
        if self.kind == "kitty":
            return {"compile_config": asking_for_compiled_layers()} if is_compiled else {}
        # generate() compiles its decode step where the cache is static and the device is a GPU, unless told not to.
        return {"disable_compile": not is_compiled}


def peers(preset: str) -> list[Peer]:
    """All that are compared, ours with pages of 16 bits and with ``preset``; last what may take many times as long as the others, so
    that a time limit costs least.
    """
    presets = dict.fromkeys(("fp16", preset))
    quanto = "optimum.quanto" if importlib.util.find_spec("optimum") is not None else "optimum"
    return [
        Peer("hf-dynamic", "dynamic"),
        Peer("hf-static", "static"),
        *(Peer(f"kitty {name}", "kitty", PRESETS[name]) for name in presets),
        *(Peer(f"engine {name}", "engine", PRESETS[name]) for name in presets),
        Peer(f"kitty {preset} compiled", "kitty", PRESETS[preset], is_compiled=True, needs_cuda=True),
        Peer("hf-static-compiled", "static", is_compiled=True, needs_cuda=True),
        Peer("hf-quanto-2", "quantized", backend="quanto", missing=(quanto,)),
        Peer("hf-hqq-2", "quantized", backend="HQQ", missing=("hqq",)),
    ]
