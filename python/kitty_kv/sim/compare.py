"""What a simulated cache costs a model: the same text with a 16-bit cache and with the simulated one, side by side."""

from __future__ import annotations

import dataclasses
import math

import torch
import torch.nn.functional as F

from ..config import PRESETS, KittyConfig
from .cache import SimulatedCache
from .calls import call_spans


@dataclasses.dataclass(frozen=True, slots=True)
class LayerErrors:
    """``|held - given| / |given|`` of one layer's keys and values, over what was quantized; None where nothing was."""

    layer: int
    keys: float | None
    values: float | None


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """Sums over all predicted tokens."""

    tokens: int
    baseline_nats: float
    simulated_nats: float
    divergence: float  # KL of the simulated next-token distribution from the 16-bit one, nats a token
    agreement: float  # share of tokens whose most probable successor is the same
    layers: list[LayerErrors]


def compare(
    model: torch.nn.Module, windows: torch.Tensor, config: KittyConfig, channel_weights: torch.Tensor | None = None
) -> Comparison:
    """Feeds ``windows``, int64 ``[B, T]``, to ``model`` with both caches, call by call as ``call_spans`` cuts them."""
    baseline = SimulatedCache(model.config, PRESETS["fp16"])
    simulated = SimulatedCache(model.config, config, channel_weights=channel_weights)
    windows = windows.to(model.device)
    sums = torch.zeros(4, dtype=torch.float64, device=model.device)
    with torch.inference_mode():
        for start, end in call_spans(windows.shape[1], config):
            tokens, targets = windows[:, start:end], windows[:, start + 1 : end + 1].flatten()
            logits = []
            for cache in (baseline, simulated):
                found = model(tokens, past_key_values=cache, use_cache=True).logits
                end_of_text = end - start - (end == windows.shape[1])  # the last token has no successor here
                logits.append(F.log_softmax(found[:, :end_of_text].float(), dim=-1).flatten(0, 1))
            sums += _sums(*logits, targets)
    count = windows[:, 1:].numel()
    baseline_nats, simulated_nats, divergence, agreement = sums.tolist()
    errors = [LayerErrors(layer, *simulated.relative_errors(layer)) for layer in range(simulated.layer_count)]
    return Comparison(count, baseline_nats, simulated_nats, divergence / count, agreement / count, errors)


def perplexity(nats: float, tokens: int) -> float:
    return math.exp(nats / tokens)


def bits_per_byte(nats: float, size_bytes: int) -> float:
    return nats / math.log(2) / size_bytes


def _sums(baseline: torch.Tensor, simulated: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Float64 ``[4]``: both likelihoods, divergence and agreements; log-probabilities ``[N, V]``, targets ``[N]``."""
    return torch.stack(
        [
            F.nll_loss(baseline, targets, reduction="sum").double(),
            F.nll_loss(simulated, targets, reduction="sum").double(),
            (baseline.exp() * (baseline - simulated)).sum(dtype=torch.float64),
            (baseline.argmax(-1) == simulated.argmax(-1)).sum().double(),
        ]
    )
