"""Passes whose launches a CUDA graph can repeat do what ordinary passes do.

Without a GPU there is no graph: the same passes run one by one, on tables that stay where they are. On a CUDA GPU the tests
marked gpu record them.
"""

from __future__ import annotations

import pathlib
import random
import sys

import pytest
import torch

from kitty_kv.cache.decode_tables import TableShape
from kitty_kv.cache.geometry import geometries
from kitty_kv.cache.row import Row, Side
from kitty_kv.config import PRESETS, KittyConfig
from kitty_kv.engine.kv_pool import KvPool
from kitty_kv.engine.passes import JoinedPasses, feed
from kitty_kv.errors import UnsupportedError
from kitty_kv.hf.cache import KittyCache
from kitty_kv.hf.chunk_pass import feed_chunk
from kitty_kv.hf.compiled_layers import decoder_layers, suiting_backend, use_backend
from kitty_kv.hf.decode_graphs import DecodeGraphs, padded_rows
from kitty_kv.hf.install import install
from kitty_kv.hf.merged_products import make_adjacent, merge_siblings
from kitty_kv.hf.traced_cache import attend_next_layer

sys.path.insert(0, str(pathlib.Path(__file__).parent / "table"))
from families import make_family

LENGTHS = (3, 290, 17, 161, 40)
STEPS = 20
# Sliding-window layers are never joined, so these are the families that can be.
JOINABLE = ("qwen2", "qwen3", "llama", "mistral", "phi3", "granite", "olmo2", "starcoder2", "gpt-neox")


def decode(model, config: KittyConfig, new_graphs, impl: str = "reference", lengths=LENGTHS):
    """Logits ``[rows, steps, V]`` and what the caches hold after steps in which rows leave and pages are packed."""
    chance = random.Random(1)
    vocabulary = model.config.vocab_size
    pool = KvPool(model, config, prefix_bytes=0, impl=impl)
    sequences = [pool.new_sequence(1024) for _ in lengths]
    passes, out = JoinedPasses(new_graphs), []
    with torch.inference_mode():
        for sequence, length in zip(sequences, lengths, strict=True):
            sequence.tokens.extend(chance.randrange(vocabulary) for _ in range(length))
            feed(sequence)
            sequence.tokens.append(chance.randrange(vocabulary))
        for step in range(STEPS):
            # The last two sit out every third step, so that the batch changes.
            taking = sequences[:-2] if step % 3 == 2 else sequences
            out.append(passes.feed(taking)[:3].clone())
            for sequence in taking:
                sequence.tokens.append((7 * step) % vocabulary)
    return torch.stack(out, dim=1), [sequence.cache.dequantize(1) for sequence in sequences]


def assert_same(found, wanted, tolerance: float = 0.0) -> None:
    torch.testing.assert_close(found[0], wanted[0], atol=tolerance, rtol=tolerance)
    for ours, theirs in zip(found[1], wanted[1], strict=True):
        for side, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(side, other, atol=tolerance, rtol=tolerance)


@pytest.fixture(autouse=True)
def installed():
    install()


@pytest.mark.parametrize("preset", list(PRESETS))
def test_passes_over_fixed_tables_equal_ordinary_ones_to_the_bit(preset: str) -> None:
    model = make_family("qwen3", dtype=torch.float32)
    found = decode(model, PRESETS[preset], DecodeGraphs)
    assert_same(found, decode(model, PRESETS[preset], lambda model: None))


@pytest.mark.parametrize("family", JOINABLE)
def test_every_family_runs_compiled_with_code_for_one_layer_only(family: str) -> None:
    model = make_family(family, dtype=torch.float32, num_hidden_layers=4)
    config = PRESETS["kitty-pro"]
    wanted = decode(model, config, lambda model: None)
    torch._dynamo.reset()
    counts = torch._dynamo.utils.counters
    counts.clear()
    # The compiler's front end alone: what it makes of a layer runs as it is.
    use_backend(model, "eager")
    assert_same(decode(model, config, DecodeGraphs), wanted, 1e-5)
    assert not counts["graph_break"]
    # One for the first number of rows and one for any other, not one a layer.
    assert counts["stats"]["unique_graphs"] <= 2


@pytest.mark.parametrize(
    ("family", "merged"), [("llama", 2), ("qwen2", 2), ("starcoder2", 1), ("gpt-neox", 0), ("phi3", 0)]
)
def test_products_of_one_input_are_merged_and_weights_stay_what_they_were(family: str, merged: int) -> None:
    model = make_family(family, "eager", dtype=torch.float32)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    layers = decoder_layers(model)
    assert make_adjacent(layers) == bool(merged)
    graphs = []

    def backend(graph, inputs):
        graphs.append(merge_siblings(graph))
        return graph.forward

    x = torch.randn(2, 1, 64)
    positions = torch.ones(2, 1, 1).expand(2, 1, 32 if family != "gpt-neox" else 8)
    wanted = layers[0](x, None, position_embeddings=(positions, positions))[0]
    torch._dynamo.reset()
    found = torch.compile(layers[0], backend=backend)(x, None, position_embeddings=(positions, positions))[0]
    torch.testing.assert_close(found, wanted)
    assert sum(graphs) == merged
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())


def test_layers_whose_weights_are_no_plain_ones_stay_as_they_are() -> None:
    layer = decoder_layers(make_family("llama", dtype=torch.float32))[0]
    place = layer.self_attn.q_proj.weight.data_ptr()
    layer.mlp.up_proj.register_forward_hook(lambda module, inputs, output: output + 1)
    assert not make_adjacent([layer])
    assert layer.self_attn.q_proj.weight.data_ptr() == place


@pytest.mark.parametrize("impl", ["auto", "reference"])
@pytest.mark.parametrize("backend", [None, "eager"])
def test_prompts_in_compiled_chunks_equal_ordinary_passes(backend: str | None, impl: str) -> None:
    model = make_family("qwen3", dtype=torch.float32)
    tokens = [(7 * at) % 96 for at in range(420)]
    caches = [KittyCache.for_model(model, preset="kitty-pro", impl=impl) for _ in range(2)]
    use_backend(model, backend)
    with torch.inference_mode():
        for first, end in ((0, 300), (300, 301), (301, 420)):
            found = feed_chunk(model, caches[0], tokens[first:end])
            inputs = torch.tensor([tokens[first:end]])
            wanted = model(input_ids=inputs, past_key_values=caches[1], use_cache=True).logits[0, -1]
            torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    assert caches[0].get_seq_length() == caches[1].get_seq_length() == 420
    assert caches[0].memory() == caches[1].memory()


def test_several_tokens_a_row_equal_ordinary_passes() -> None:
    model = make_family("llama", dtype=torch.float32)

    def run(new_graphs):
        pool = KvPool(model, PRESETS["kitty"], prefix_bytes=0, impl="reference")
        sequences = [pool.new_sequence(1024) for _ in range(3)]
        passes = JoinedPasses(new_graphs)
        with torch.inference_mode():
            for sequence, length in zip(sequences, (5, 170, 60), strict=True):
                sequence.tokens.extend(range(1, 1 + length % 90))
                feed(sequence)
            logits = passes.feed_ahead(sequences, [[3], [4, 5, 6], [7, 8]])
        return torch.cat([logits[0, :1], logits[1, :3], logits[2, :2]]), [s.cache.dequantize(0) for s in sequences]

    assert_same(run(DecodeGraphs), run(lambda model: None))


def test_the_attention_in_a_model_that_somebody_else_compiles_says_why_it_cannot_run() -> None:
    query, keys = torch.zeros(1, 2, 1, 32), torch.zeros(1, 1, 1, 32)
    with pytest.raises(UnsupportedError, match=r"torch\.compile"):
        attend_next_layer(query, keys, keys, 1.0, None)


def test_batches_are_padded_to_few_sizes() -> None:
    assert [padded_rows(count) for count in (1, 2, 3, 4, 5, 8, 9, 33, 64)] == [1, 2, 4, 4, 8, 8, 16, 40, 64]


def test_tables_have_room_for_a_row_to_grow_before_they_are_made_anew() -> None:
    packed = geometries(PRESETS["kitty-pro"])

    def width(pages: int) -> int:
        row = Row(keys=Side(pages=list(range(pages))), values=Side(pages=list(range(max(0, pages - 1)))))
        return TableShape.that_holds(1, [row], 1, packed).key_pages

    widths = [width(pages) for pages in range(2000)]
    assert all(found >= pages for pages, found in enumerate(widths))
    assert all(found <= max(8, pages + max(8, pages // 4)) for pages, found in enumerate(widths))
    assert len(set(widths)) < 30


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("backend", [None, "inductor"])
@pytest.mark.parametrize("preset", ["fp16", "kitty-pro"])
@pytest.mark.parametrize("family", ["qwen3", "llama", "gpt-neox"])
def test_graphs_on_a_gpu_equal_ordinary_passes(family: str, preset: str, backend: str | None) -> None:
    model = make_family(family, dtype=torch.bfloat16).cuda()
    made = []

    def new_graphs(model):
        made.append(DecodeGraphs(model))
        return made[-1]

    use_backend(model, backend)

    found = decode(model, PRESETS[preset], new_graphs, impl="auto")
    assert made[0].recorded > 0
    wanted = decode(model, PRESETS[preset], lambda model: None, impl="auto")
    # Matrix products of padded batches round otherwise; logits here are of the order of ten.
    assert (found[0] - wanted[0]).abs().max() < 0.05 * wanted[0].abs().max()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_model_that_no_graph_can_hold_is_decoded_without_and_says_so(recwarn) -> None:
    model = make_family("mixtral", dtype=torch.bfloat16, sliding_window=None).cuda()
    found = decode(model, PRESETS["kitty-pro"], DecodeGraphs, impl="auto")
    wanted = decode(model, PRESETS["kitty-pro"], lambda model: None, impl="auto")
    assert (found[0] - wanted[0]).abs().max() < 0.05 * wanted[0].abs().max()


def test_a_model_without_a_list_of_its_layers_runs_as_it_is_and_says_so(recwarn: pytest.WarningsRecorder) -> None:
    model = make_family("llama", dtype=torch.float32)
    model.config.num_hidden_layers = 7
    assert suiting_backend(model, is_on_a_gpu=True) is None
    assert any("decoder layers" in str(warning.message) for warning in recwarn)
