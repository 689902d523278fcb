"""Balancing: the model computes the same to the bit, and channels that queries look at are chosen."""

from __future__ import annotations

import functools

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

import kitty_kv
from kitty_kv.config import PRESETS, KittyConfig
from kitty_kv.errors import UnsupportedError
from kitty_kv.hf.loading import load_model
from kitty_kv.sim.balance import balance, main
from kitty_kv.sim.cache import SimulatedCache
from kitty_kv.sim.trace import trace
from kitty_kv.sim.windows import EXCERPT, cut_windows, read_text

SIZES = {
    "vocab_size": 64,
    "hidden_size": 64,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
}
FAMILIES = {
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SIZES)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES)),
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES)),
}


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    kitty_kv.uninstall()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", FAMILIES)
def test_a_balanced_model_computes_the_same_to_the_bit(name, dtype):
    torch.manual_seed(0)
    model = FAMILIES[name]().eval().to(dtype)
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.05)  # biases and gains too
    ids = torch.randint(0, 64, (2, 40))
    with torch.no_grad():
        before = model(ids).logits
        weights = [parameter.clone() for parameter in model.parameters()]
        factors = balance(model, torch.exp2(2 * torch.randn(2, 2, 16)))
        assert torch.equal(model(ids).logits, before)
        assert not all(torch.equal(*pair) for pair in zip(weights, model.parameters(), strict=True))
        assert all(len(each) == (1 if name == "qwen3" else 2) for each in factors)
        balance(model, torch.exp2(torch.randn(2, 2, 16)), is_fine=True)
        after = model(ids).logits
    assert not torch.equal(after, before)
    assert (after - before).abs().max() < (2e-5 if dtype == torch.float32 else 0.1) * before.abs().max()


def test_another_kind_of_model_is_refused():
    model = FAMILIES["llama"]()
    model.config.model_type = "cohere"
    with pytest.raises(UnsupportedError, match="Cannot balance a model of type 'cohere'"):
        balance(model, torch.ones(2, 2, 16))


def test_the_bundled_model_balanced_diverges_less_at_equal_bits(tmp_path, capsys):
    out = tmp_path / "balanced"
    assert main(["--out", str(out), "--dtype", "float32", "--sequences", "1", "--length", "512"]) == 0
    assert main(["--out", str(out)]) == 2
    assert "it is there already" in capsys.readouterr().err
    by_range = KittyConfig(preset="kitty-pro", selection="range")
    found = {}
    for name, path, config in (("published", None, PRESETS["kitty-pro"]), ("balanced", str(out), by_range)):
        loaded = load_model(path, dtype="float32", device="cpu")
        windows, _ = cut_windows(loaded, read_text(EXCERPT), 2, 640)
        base, traces = trace(
            loaded.model, windows, {name: functools.partial(SimulatedCache, loaded.model.config, config)}
        )
        found[name] = base, traces[name].mean_divergence
    assert (found["published"][0] == found["balanced"][0]).all()
    assert found["balanced"][1] < 0.85 * found["published"][1]
