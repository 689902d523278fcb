"""A pass for which there is no memory leaves the whole cache as it was: over a budget, and where the system really has no more."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from transformers import Gemma3TextConfig
from transformers.models.gemma3.modeling_gemma3 import Gemma3ForCausalLM

from kitty_kv import CacheOutOfMemoryError, KittyCache

SIZES = {
    "vocab_size": 96,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "sliding_window": 32,
    "sliding_window_pattern": 4,  # three layers slide before the first full one
    "max_position_embeddings": 4096,
}

# Takes all but a little of its address space away from itself; then a pool's tensor cannot be allocated.
STARVED = """
import resource, torch
from kitty_kv import PRESETS, CacheOutOfMemoryError
from kitty_kv.cache.paged_cache import PagedCache

torch.set_num_threads(1)
cache = PagedCache(PRESETS["fp16"], 2)
generator = torch.Generator().manual_seed(0)
tokens = torch.randn(1, 8, 8, 1600, 128, generator=generator).half().expand(2, -1, -1, -1, -1)  # [layer, row, head, token, channel]

def feed(cache, first, end):
    for layer in cache.layers:
        keys = tokens[layer.index, :, :, first:end]
        layer.append(keys, keys)

feed(cache, 0, 800)
before = [layer.dequantize() for layer in cache.layers]
lengths = cache.lengths
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + (4 << 20), resource.RLIM_INFINITY))
empty = PagedCache(PRESETS["fp16"], 2)
for full in (cache, empty):
    first = full.lengths[0] if full.rows else 0
    try:
        feed(full, first, 1600)
    except CacheOutOfMemoryError as error:
        assert "the device has no such memory left" in str(error), error
    else:
        raise SystemExit("the pass had memory")
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert (empty.lengths, empty.bytes_allocated) == ([], 0), (empty.lengths, empty.bytes_allocated)
assert cache.lengths == lengths
for old, layer in zip(before, cache.layers, strict=True):
    assert all(torch.equal(a, b) for a, b in zip(old, layer.dequantize(), strict=True))
whole = PagedCache(PRESETS["fp16"], 2)
for part in (cache, empty):
    feed(part, part.lengths[0] if part.rows else 0, 850)
feed(whole, 0, 800)
feed(whole, 800, 850)
for layer in (0, 1):
    for a, b in zip(cache.layers[layer].dequantize(), whole.layers[layer].dequantize(), strict=True):
        assert torch.equal(a, b)
print("as it was")
"""


def gemma(attention: str) -> Gemma3ForCausalLM:
    torch.manual_seed(0)
    config = Gemma3TextConfig(**SIZES)
    assert config.layer_types.index("full_attention") == 3
    return Gemma3ForCausalLM._from_config(config, attn_implementation=attention).eval()


def feed(
    model: Gemma3ForCausalLM, cache: KittyCache, first: int, end: int, mask: torch.Tensor | None = None
) -> torch.Tensor:
    tokens = torch.randint(3, 96, (2, 2000), generator=torch.Generator().manual_seed(1))[:, first:end]
    with torch.no_grad():
        return model(tokens, attention_mask=mask, past_key_values=cache, use_cache=True).logits


@pytest.mark.parametrize("attention", ["kitty", "sdpa"])
@pytest.mark.parametrize("padding", [0, 40])
def test_a_budget_spent_behind_sliding_layers_leaves_all_layers_as_they_were(installed, attention, padding):
    model = gemma(attention)
    mask = torch.ones(2, 2000, dtype=torch.long)
    mask[1, :padding] = 0
    cache, plain = KittyCache.for_model(model, max_bytes=300_000), KittyCache.for_model(model)
    for each in (cache, plain):
        feed(model, each, 0, 200, mask[:, :200])
    held = cache.bytes_allocated, cache.lengths, cache.memory()
    for _ in range(2):
        with pytest.raises(CacheOutOfMemoryError, match="max_bytes is 300,000"):
            feed(model, cache, 200, 1500, mask[:, :1500])
        assert (cache.bytes_allocated, cache.lengths, cache.memory()) == held
    with pytest.raises(CacheOutOfMemoryError):
        for end in range(207, 1500, 7):
            feed(model, cache, end - 7, end, mask[:, :end])
            feed(model, plain, end - 7, end, mask[:, :end])
    assert cache.lengths == plain.lengths and cache.lengths[0] > 210
    end = cache.get_seq_length()
    cache.crop(end - 30)
    plain.crop(end - 30)
    again = [feed(model, each, end - 30, end - 28, mask[:, : end - 28]) for each in (cache, plain)]
    assert torch.equal(*again)


@pytest.mark.parametrize("attention", ["kitty", "sdpa"])
def test_a_first_pass_without_memory_leaves_an_empty_cache(installed, attention):
    model = gemma(attention)
    cache, plain = KittyCache.for_model(model, max_bytes=200_000), KittyCache.for_model(model)
    with pytest.raises(CacheOutOfMemoryError):
        feed(model, cache, 0, 1500, torch.ones(2, 1500, dtype=torch.long))
    assert (cache.lengths, cache.get_seq_length(), cache.bytes_allocated) == ([], 0, 0)
    mask = torch.ones(2, 100, dtype=torch.long)
    assert torch.equal(feed(model, cache, 0, 100, mask), feed(model, plain, 0, 100, mask))


@pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_AS as Linux has it")
def test_a_pool_that_the_system_cannot_grow_is_an_error_of_the_cache_and_changes_nothing():
    run = subprocess.run([sys.executable, "-c", STARVED], check=False, capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stdout) == (0, "as it was\n"), run.stderr[-2000:]
