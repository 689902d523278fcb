"""What each cache does to each token: likelihood and divergence from the 16-bit cache, position by position."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import torch
import torch.nn.functional as F

from ..config import PRESETS
from .cache import SimulatedCache
from .calls import call_spans

MakeCache = Callable[[], SimulatedCache]


@dataclasses.dataclass(frozen=True, slots=True)
class Trace:
    """Of one cache, float64 ``[windows, T - 1]``: by predicted token, in order."""

    nats: np.ndarray
    divergence: np.ndarray  # KL of its next-token distribution from the 16-bit one
    agrees: np.ndarray  # 1 where the most probable token is the same

    @property
    def mean_divergence(self) -> float:
        return float(self.divergence.mean())


def trace(
    model: torch.nn.Module,
    windows: torch.Tensor,
    caches: Mapping[str, MakeCache],
    tell: Callable[[str], None] = lambda line: None,
) -> tuple[np.ndarray, dict[str, Trace]]:
    """Feeds ``windows``, int64 ``[B, T]``, one at a time through a 16-bit cache and through each of ``caches``.

    Calls end where pages are quantized (``calls.py``), so that every token sees what it would see in decoding.

    Returns:
        The 16-bit cache's nats, and each cache's trace.
    """
    base_nats: list[np.ndarray] = []
    found: dict[str, list[tuple[np.ndarray, ...]]] = {name: [] for name in caches}
    with torch.inference_mode():
        for at, window in enumerate(windows.to(model.device)):
            baseline = _log_probabilities(model, window, SimulatedCache(model.config, PRESETS["fp16"]))
            base_nats.append(_nats(baseline, window))
            best = baseline.argmax(-1)
            for name, make in caches.items():
                logs = _log_probabilities(model, window, make())
                divergence = (baseline.exp() * (baseline - logs)).sum(-1, dtype=torch.float64)
                agrees = (logs.argmax(-1) == best).double()
                found[name].append((_nats(logs, window), divergence.cpu().numpy(), agrees.cpu().numpy()))
            tell(f"{at + 1}/{len(windows)} windows through {len(caches)} caches")
    traces = {name: Trace(*(np.stack(part) for part in zip(*parts, strict=True))) for name, parts in found.items()}
    return np.stack(base_nats), traces


def _log_probabilities(model: torch.nn.Module, window: torch.Tensor, cache: SimulatedCache) -> torch.Tensor:
    """Float32 ``[T - 1, V]`` of each token's successor."""
    parts = []
    for start, end in call_spans(len(window) - 1, cache.config):
        logits = model(window[None, start:end], past_key_values=cache, use_cache=True).logits[0]
        parts.append(F.log_softmax(logits.float(), dim=-1))
    return torch.cat(parts)


def _nats(logs: torch.Tensor, window: torch.Tensor) -> np.ndarray:
    return -logs.gather(1, window[1:, None])[:, 0].double().cpu().numpy()
