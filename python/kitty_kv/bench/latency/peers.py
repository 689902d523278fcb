"""The ways of generating that are compared: caches of stock Transformers, and ours under stock ``generate()``."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable
from typing import Any

import torch

from ...config import PRESETS
from ...hf.cache import KittyCache

Arguments = Callable[[Any], dict[str, Any]]  # of generate(), for a model


@dataclasses.dataclass(frozen=True, slots=True)
class Peer:
    """A way of generating.

    Args:
        name: as reports call it.
        attention: ``attn_implementation`` to run the model with.
        arguments: of ``generate()``.
        missing: packages without which it cannot run, by import name.
        needs_cuda: whether it runs on a GPU only.
    """

    name: str
    attention: str
    arguments: Arguments
    missing: tuple[str, ...] = ()
    needs_cuda: bool = False

    def reason_against(self, device: torch.device) -> str | None:
        """Why it cannot run here, or None."""
        absent = [name for name in self.missing if importlib.util.find_spec(name) is None]
        if absent:
            return f"{' and '.join(absent)} not installed"
        return "needs a CUDA GPU" if self.needs_cuda and device.type != "cuda" else None


def peers(preset: str) -> list[Peer]:
    """All that are compared, ours last: with pages of 16 bits, and with ``preset``."""
    return [
        Peer("hf-dynamic", "sdpa", lambda model: {}),
        Peer("hf-static", "sdpa", _static(is_compiled=False)),
        Peer("hf-static-compiled", "sdpa", _static(is_compiled=True), needs_cuda=True),
        Peer("hf-quanto-2", "sdpa", _quantized("quanto", 2), ("optimum.quanto",) if _has("optimum") else ("optimum",)),
        Peer("hf-hqq-2", "sdpa", _quantized("HQQ", 2), ("hqq",)),
        *(Peer(f"kitty {name}", "kitty", _kitty(name)) for name in dict.fromkeys(("fp16", preset))),
    ]


def _has(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _static(*, is_compiled: bool) -> Arguments:
    def arguments(model: Any) -> dict[str, Any]:
        # generate() compiles its decode step where the cache is static and the device is a GPU, unless told not to.
        return {"cache_implementation": "static", "disable_compile": not is_compiled}

    return arguments


def _quantized(backend: str, bits: int) -> Arguments:
    def arguments(model: Any) -> dict[str, Any]:
        config = {"backend": backend, "nbits": bits, "q_group_size": 64, "residual_length": 128}
        return {"cache_implementation": "quantized", "cache_config": config | {"device": str(model.device)}}

    return arguments


def _kitty(preset: str) -> Arguments:
    def arguments(model: Any) -> dict[str, Any]:
        return {"past_key_values": KittyCache.for_model(model, config=PRESETS[preset])}

    return arguments
