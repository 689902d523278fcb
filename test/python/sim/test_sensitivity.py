"""Sensitivity: scopes add up, positions are those of decoding, and outlier channels are found and boosted."""

from __future__ import annotations

import json

import pytest
import torch

import kitty_kv
from kitty_kv.config import PRESETS, SELECTIONS, KittyConfig
from kitty_kv.hf.loading import load_model
from kitty_kv.hf.query_weights import measure_queries, over_heads
from kitty_kv.quant import dequantize_keys, quantize_keys
from kitty_kv.sim.__main__ import main
from kitty_kv.sim.cache import Scope, SimulatedCache
from kitty_kv.sim.channels import key_channel_figures
from kitty_kv.sim.codec import boosted_channels
from kitty_kv.sim.sensitivity import Plan, analyse
from kitty_kv.sim.trace import trace
from kitty_kv.sim.windows import EXCERPT, cut_windows, read_text


@pytest.fixture(scope="module")
def loaded():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield load_model(dtype="float32", device="cpu")
    torch.set_num_threads(threads)
    kitty_kv.uninstall()


@pytest.fixture(scope="module")
def windows(loaded):
    return cut_windows(loaded, read_text(EXCERPT), 1, 320)[0]


def outlier_keys(outliers: int, factor: float, offset: float = 0.0) -> torch.Tensor:
    """Keys [1, 2, 512, 128] of which some channels are ``factor`` times as wide, the next as many only far from zero."""
    generator = torch.Generator().manual_seed(0)
    keys = torch.randn(1, 2, 512, 128, generator=generator)
    places = torch.randperm(128, generator=generator)
    keys[..., places[:outliers]] *= factor
    keys[..., places[outliers : 2 * outliers]] += offset
    return keys


def score_error(keys: torch.Tensor, config: KittyConfig) -> float:
    """Of attention's scores with keys as the packed codec holds them, to those with the keys themselves."""
    query = torch.randn(1, 2, 64, 128, generator=torch.Generator().manual_seed(1))
    held = dequantize_keys(quantize_keys(keys, config)).float()
    exact = query @ keys.mT
    return ((query @ held.mT - exact).norm() / exact.norm()).item()


def test_channels_that_stand_out_carry_the_error_and_boosting_them_takes_it_away():
    # The paper's picture of a key cache: few channels, of a size of their own, in all tokens.
    keys = outlier_keys(outliers=12, factor=12.0)
    figures = key_channel_figures(keys, PRESETS["kivi-2"])
    assert figures["errorInWorstEighth"] > 0.9
    assert figures["largestOverMedian"] > 8
    plain = score_error(keys, PRESETS["kivi-2-sink"])
    # Four bits make an outlier's error a fifth; what is left is the ordinary channels'.
    assert score_error(keys, PRESETS["kitty"]) < plain / 3
    assert score_error(keys, KittyConfig(preset="kitty", selection="random")) > plain / 2
    alike = outlier_keys(outliers=0, factor=1.0)
    assert key_channel_figures(alike, PRESETS["kivi-2"])["errorInWorstEighth"] < 0.25
    assert score_error(alike, PRESETS["kitty"]) > score_error(alike, PRESETS["kivi-2-sink"]) * 0.85


def test_channels_far_from_zero_mislead_magnitude_but_not_range():
    keys = outlier_keys(outliers=16, factor=4.0, offset=20.0)
    by_magnitude, by_range = (
        score_error(keys, KittyConfig(preset="kitty", selection=name)) for name in ("magnitude", "range")
    )
    assert by_range < by_magnitude * 0.7


def test_weights_change_which_channels_are_boosted():
    pages = torch.randn(1, 2, 3, 128, 16, generator=torch.Generator().manual_seed(0))
    config = KittyConfig(preset="kitty", boost_ratio=0.25)
    weights = torch.ones(2, 1, 16)
    assert torch.equal(boosted_channels(pages, config, weights), boosted_channels(pages, config))
    weights[1, 0, 3] = 1e6
    chosen = boosted_channels(pages, config, weights)
    assert (chosen[:, 1] == 3).any(-1).all()
    assert torch.equal(chosen[:, 0], boosted_channels(pages, config)[:, 0])


def test_a_scope_rounds_its_part_and_nothing_else(loaded, windows):
    config = PRESETS["kitty"]
    caches = {
        scope: SimulatedCache(loaded.model.config, config, scope=scope) for scope in (Scope(2, "keys", 1), Scope(3))
    }
    whole, plain = SimulatedCache(loaded.model.config, config), SimulatedCache(loaded.model.config, PRESETS["fp16"])
    generator = torch.Generator().manual_seed(0)
    for layer in range(6):
        keys, values = torch.randn(2, 1, 2, 320, 128, generator=generator)
        for cache in (*caches.values(), whole, plain):
            cache.update(keys, values, layer)
    for scope, cache in caches.items():
        for layer in range(6):
            for side, name in enumerate(("keys", "values")):
                found, rounded, exact = (each.dequantize(layer)[side] for each in (cache, whole, plain))
                exact = exact.half().float()  # as what is not packed is held
                heads = [scope.head] if scope.head is not None else [0, 1]
                if scope.layer == layer and scope.side in (None, name):
                    assert torch.equal(found[:, heads], rounded[:, heads])
                    assert not torch.equal(found[:, heads], exact[:, heads])
                    rest = [head for head in (0, 1) if head not in heads]
                    assert torch.equal(found[:, rest], exact[:, rest])
                else:
                    assert torch.equal(found, exact)


def test_a_trace_is_that_of_feeding_one_token_at_a_time(loaded, windows):
    config = KittyConfig(preset="kitty", page_size=32, sink_tokens=8, recent_tokens=32)
    short = windows[:, :130]

    def make():
        return SimulatedCache(loaded.model.config, config)

    base, traces = trace(
        loaded.model, short, {"a": make, "16 bits": lambda: SimulatedCache(loaded.model.config, PRESETS["fp16"])}
    )
    assert traces["16 bits"].divergence.max() == 0 and (traces["16 bits"].nats == base).all()
    cache, logs = make(), []
    with torch.inference_mode():
        for at in range(129):
            logits = loaded.model(short[:, at : at + 1], past_key_values=cache, use_cache=True).logits[0, -1]
            logs.append(logits.float().log_softmax(-1))
    nats = -torch.stack(logs).gather(1, short[0, 1:, None])[:, 0]
    # A call's own tokens are not yet in 16 bits, which single tokens are; the pages' rounding is far larger.
    found = torch.from_numpy(traces["a"].nats[0]).float()
    assert (found - nats).abs().mean() < 5e-3
    assert (torch.from_numpy(base[0]).float() - nats).abs().mean() > 2e-2
    # The first page is complete with token 40 and is read from then on.
    assert traces["a"].divergence[0, :40].mean() < 1e-5
    assert traces["a"].divergence[0, 40:].mean() > 1e-3


def test_measured_queries_are_the_root_mean_squares_of_the_queries(loaded, windows):
    seen = []
    norm = loaded.model.model.layers[1].self_attn.q_norm
    hook = norm.register_forward_hook(lambda module, inputs, output: seen.append(output))
    by_head = measure_queries(loaded.model, windows)
    assert by_head.shape == (6, 2, 3, 128)
    sizes = over_heads(by_head)
    hook.remove()
    (queries,) = seen  # [B, S, HQ, D], before rotation, which keeps the size of each pair of channels
    squares = queries.double().square().unflatten(2, (2, 3)).mean((0, 1, 3))  # [HKV, D]
    assert sizes.shape == (6, 2, 128)
    wanted, found = (x.unflatten(-1, (2, 64)).sum(-2) for x in (squares, sizes[1].square()))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=0)


def test_every_selection_is_tried_at_both_ratios_and_other_powers_of_the_queries(loaded):
    plan = Plan(PRESETS["kitty-pro"], ("settings",), sequences=1, length=200, dtype="float32", device="cpu")
    rows = {row["name"]: row["klDivergence"] for row in analyse(plan)["sensitivity"]["settings"]}
    for ratio in (0.125, 0.25):
        found = {how: rows[f"selection at {ratio} {how}"] for how in (*SELECTIONS, "query ^ 0.5", "query ^ 1.0")}
        assert len({round(value, 12) for value in found.values()}) == len(found)
        assert max(found, key=found.get) == "random"
    assert rows["boost ratio 0.25"] == rows["selection at 0.25 magnitude"]


def test_the_command_says_where_the_error_comes_from(capsys, monkeypatch):
    arguments = [
        "--sequences",
        "2",
        "--length",
        "300",
        "--dtype",
        "float32",
        "--sensitivity",
        "layers,channels,positions",
    ]
    assert main([*arguments, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    rows = document["sensitivity"]
    assert [row["name"] for row in rows["layers"]] == [f"{n} {side}" for n in range(6) for side in ("keys", "values")]
    assert all(0 < row["klInterval"][0] <= row["klDivergence"] <= row["klInterval"][1] for row in rows["layers"])
    assert [row["name"] for row in rows["positions"]] == ["0 to 256", "256 to 299"]
    assert rows["positions"][0]["klDivergence"] < rows["positions"][1]["klDivergence"]
    assert len(rows["channels"]) == 6
    assert "| 5 values | " in document["report"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sensitivity", "layer"], "Cannot analyse 'layer': the parts are layers, heads"),
        (["--sensitivity", ","], "no part is named"),
        (["--sensitivity", "all", "--preset", "fp16"], "it quantizes nothing"),
        (["--sensitivity", "all", "--verify"], "give one of them"),
        (["--sensitivity", "all", "--length", "160"], "its first page is full after 160; give a larger --length"),
    ],
)
def test_what_cannot_be_analysed_is_refused(capsys, arguments, message):
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
