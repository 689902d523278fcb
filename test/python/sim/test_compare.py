"""Figures beside the 16-bit cache, against token-by-token decoding and by hand."""

from __future__ import annotations

import pytest
import torch
from transformers import DynamicCache

from kitty_kv import PRESETS, KittyConfig
from kitty_kv.sim import SimulatedCache
from kitty_kv.sim.calls import call_spans
from kitty_kv.sim.compare import compare

ODD = KittyConfig(k_bits=3, v_bits=1, boost_bits=5, boost_ratio=0.5, sink_tokens=3, recent_tokens=50, page_size=64)


def by_hand(model, tokens: torch.Tensor, cache) -> torch.Tensor:
    """Log-probabilities float64 ``[B, T - 1, V]``, one token a call."""
    with torch.inference_mode():
        steps = [model(tokens[:, t : t + 1], past_key_values=cache).logits for t in range(tokens.shape[1] - 1)]
    return torch.cat(steps, 1).double().log_softmax(-1)


@pytest.mark.parametrize("config", [PRESETS["kitty"], PRESETS["kivi-2"], ODD], ids=["kitty", "kivi-2", "odd"])
def test_figures_are_those_of_token_by_token_decoding(make_model, config):
    model = make_model(attention="sdpa", num_hidden_layers=2)
    tokens = torch.randint(3, 96, (2, 330), generator=torch.Generator().manual_seed(1))
    got = compare(model, tokens, config)
    cache = SimulatedCache(model.config, config)
    baseline, simulated = by_hand(model, tokens, DynamicCache()), by_hand(model, tokens, cache)
    targets = tokens[:, 1:, None]
    assert got.tokens == targets.numel()
    # A float32 model's own tokens are seen in float32 within a call and from float16 after it.
    assert got.baseline_nats == pytest.approx(-baseline.gather(2, targets).sum().item(), rel=1e-5)
    assert got.simulated_nats == pytest.approx(-simulated.gather(2, targets).sum().item(), rel=1e-4)
    divergence = (baseline.exp() * (baseline - simulated)).sum(-1).mean().item()
    assert got.divergence == pytest.approx(divergence, rel=5e-3)
    agreement = (baseline.argmax(-1) == simulated.argmax(-1)).double().mean().item()
    assert got.agreement == pytest.approx(agreement, abs=0.01)
    assert got.divergence > 0
    for row in got.layers:
        assert (row.keys, row.values) == pytest.approx(cache.relative_errors(row.layer), rel=1e-2)


def test_the_16_bit_cache_differs_from_itself_in_nothing(make_model):
    model = make_model(attention="sdpa")
    found = compare(model, torch.randint(3, 96, (1, 200)), PRESETS["fp16"])
    assert (found.divergence, found.agreement) == (0.0, 1.0)
    assert found.baseline_nats == found.simulated_nats
    assert all(row.keys is None and row.values is None for row in found.layers)


def test_more_bits_diverge_less(make_model):
    model = make_model(attention="sdpa", num_hidden_layers=2)
    tokens = torch.randint(3, 96, (1, 400), generator=torch.Generator().manual_seed(3))
    divergences = [
        compare(model, tokens, KittyConfig(preset="kivi-2", k_bits=bits, v_bits=bits)).divergence
        for bits in (1, 2, 4, 8)
    ]
    assert divergences == sorted(divergences, reverse=True)
    assert divergences[-1] < divergences[0] / 100


@pytest.mark.parametrize("config", [*PRESETS.values(), ODD], ids=[*PRESETS, "odd"])
@pytest.mark.parametrize("length", [1, 128, 129, 500])
def test_no_call_quantizes_a_page_before_its_last_token(length, config):
    spans = list(call_spans(length, config))
    assert [token for start, end in spans for token in range(start, end)] == list(range(length))

    def pages(tokens: int) -> tuple[int, int]:
        return tuple(
            max(0, tokens - config.sink_tokens - recent) // config.page_size for recent in (0, config.recent_tokens)
        )

    for start, end in spans if config.quantizes_keys else ():
        assert pages(end - 1) == pages(start)
