"""A cache that was saved and loaded goes on to the bit; a file that is not such a cache is refused."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import pathlib
import pickle
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import Gemma3TextConfig, PreTrainedModel
from transformers.models.gemma3.modeling_gemma3 import Gemma3ForCausalLM

import kitty_kv
from kitty_kv import PRESETS, CacheFileError, CacheOutOfMemoryError, KittyCache


def ids(rows: int, count: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(3, 96, (rows, count), generator=torch.Generator().manual_seed(seed))


def feed(model: PreTrainedModel, cache: KittyCache, tokens: torch.Tensor, mask: torch.Tensor | None = None):
    with torch.no_grad():
        return model(input_ids=tokens, attention_mask=mask, past_key_values=cache, use_cache=True).logits


def assert_goes_on_alike(model: PreTrainedModel, cache: KittyCache, copy: KittyCache, mask=None) -> None:
    assert (copy.lengths, copy.get_seq_length()) == (cache.lengths, cache.get_seq_length())
    allocated = {"allocated_bytes": copy.bytes_allocated}  # only what is live was saved
    assert copy.memory() == cache.memory() | allocated
    assert copy.bytes_allocated <= cache.bytes_allocated
    rows = len(cache.lengths)
    for turn, width in enumerate((1, 150, 7)):
        new = ids(rows, width, seed=turn)
        if mask is not None:
            mask = torch.cat((mask, torch.ones(rows, width, dtype=torch.long)), 1)
        assert torch.equal(feed(model, cache, new, mask), feed(model, copy, new, mask))
    if mask is None:
        cache.crop(-5)
        copy.crop(-5)
        assert torch.equal(feed(model, cache, ids(rows, 3)), feed(model, copy, ids(rows, 3)))


@pytest.mark.parametrize("preset", list(PRESETS))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_loaded_cache_goes_on_to_the_bit(make_model, tmp_path, preset, dtype):
    model = make_model(dtype=dtype)
    cache = KittyCache.for_model(model, preset=preset)
    feed(model, cache, ids(2, 330))
    cache.save(tmp_path / "cache.kitty")
    assert_goes_on_alike(model, cache, KittyCache.load(tmp_path / "cache.kitty", model))
    assert [path.name for path in tmp_path.iterdir()] == ["cache.kitty"]


def test_padded_rows_go_on_after_crop_and_beam_reorder(make_model, tmp_path):
    model = make_model()
    cache = KittyCache.for_model(model)
    mask = torch.ones(3, 300, dtype=torch.long)
    mask[0, :120] = mask[1, :7] = 0
    feed(model, cache, ids(3, 300), mask)
    cache.crop(290)
    cache.reorder_cache(torch.tensor([1, 1, 0]))
    cache.save(tmp_path / "cache")
    assert_goes_on_alike(model, cache, KittyCache.load(tmp_path / "cache", model), mask[[1, 1, 0], :290])


def test_tokens_of_the_last_pass_can_still_be_taken_back_exactly(make_model, tmp_path):
    model = make_model()
    cache, plain = KittyCache.for_model(model), KittyCache.for_model(model)
    feed(model, cache, ids(1, 280))
    feed(model, cache, torch.full((1, 20), 5))  # a page of keys is packed at token 288
    cache.save(tmp_path / "cache")
    copy = KittyCache.load(tmp_path / "cache", model)
    copy.crop(280)
    feed(model, plain, ids(1, 280))
    assert torch.equal(feed(model, copy, ids(1, 30, 1)), feed(model, plain, ids(1, 30, 1)))
    assert all(torch.equal(a, b) for a, b in zip(copy.dequantize(0), plain.dequantize(0), strict=True))


def test_sliding_layers_are_saved_too(installed, tmp_path):
    torch.manual_seed(0)
    sizes = {"vocab_size": 96, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 3, "head_dim": 32}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "sliding_window": 48}
    kinds = ["sliding_attention", "sliding_attention", "full_attention"]
    config = Gemma3TextConfig(**sizes, **heads, layer_types=kinds, eos_token_id=None)
    model = Gemma3ForCausalLM._from_config(config, attn_implementation="kitty").eval()
    cache = KittyCache.for_model(model)
    feed(model, cache, ids(2, 330))
    cache.save(tmp_path / "cache")
    assert_goes_on_alike(model, cache, KittyCache.load(tmp_path / "cache", model))


def test_an_empty_cache_loads_empty_and_a_file_is_replaced(make_model, tmp_path):
    model = make_model()
    cache = KittyCache.for_model(model)
    cache.save(tmp_path / "cache")
    assert KittyCache.load(tmp_path / "cache", model).lengths == []
    feed(model, cache, ids(1, 40))
    cache.save(tmp_path / "cache")
    assert KittyCache.load(tmp_path / "cache", model).lengths == [40]


def test_only_what_rows_refer_to_is_saved(make_model, tmp_path):
    model = make_model()
    cache = KittyCache.for_model(model)
    feed(model, cache, ids(8, 640))
    cache.batch_select_indices(torch.tensor([3]))
    cache.save(tmp_path / "cache")
    memory = cache.memory()
    held = memory["packed_bytes"] + memory["full_precision_bytes"]
    assert os.path.getsize(tmp_path / "cache") < held * 1.1 + 20_000
    assert_goes_on_alike(model, cache, KittyCache.load(tmp_path / "cache", model))


@pytest.fixture
def saved(make_model, tmp_path) -> tuple[PreTrainedModel, pathlib.Path]:
    model = make_model()
    cache = KittyCache.for_model(model)
    feed(model, cache, ids(1, 330))
    cache.save(tmp_path / "cache")
    return model, tmp_path / "cache"


def test_truncated_and_edited_files_are_refused(saved):
    model, path = saved
    whole = path.read_bytes()
    for size in (0, 7, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(CacheFileError, match="cannot be read as safetensors"):
            KittyCache.load(path, model)
    for place in (len(whole) - 1, len(whole) // 2):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(CacheFileError, match=r"bytes of tensor '.*' have changed"):
            KittyCache.load(path, model)
    at = whole.index(b'\\"length\\": 330')
    path.write_bytes(whole[:at] + b'\\"length\\": 331' + whole[at + 15 :])
    with pytest.raises(CacheFileError, match="header has changed"):
        KittyCache.load(path, model)


def rewritten(path: pathlib.Path, change) -> None:
    """The file as a program that knows its checksums would forge it."""
    with safe_open(path, "pt") as file:
        header, tensors = dict(file.metadata()), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    document = json.loads(header["document"])
    change(header, document, tensors)
    for name, x in tensors.items():
        flat = x.contiguous().reshape(-1).view(torch.uint8)
        document["sha256"][name] = hashlib.sha256(flat.numpy()).hexdigest()
    header["document"] = json.dumps(document)
    header["sha256"] = hashlib.sha256(header["document"].encode()).hexdigest()
    save_file(tensors, path, metadata=header)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h, d, t: h.update(version="2"), "version '2', this program reads version 1"),
        (lambda h, d, t: h.update(format="pt"), "format is 'pt'"),
        (lambda h, d, t: d["pages"]["rows"][0].update(length=500), "refers to pages or blocks that do not exist"),
        (lambda h, d, t: d["pages"]["rows"][0].update(length=10**12), "refers to pages or blocks that do not exist"),
        (lambda h, d, t: d["pages"]["rows"][0]["keys"].update(pages=[0, 99]), "refers to pages or blocks"),
        (lambda h, d, t: d["pages"].update(counts=[2, 1, 10**12]), "must be|needs|no such memory"),
        (lambda h, d, t: t.update({"pages.0.blocks": t["pages.0.blocks"][:1]}), "tensor '0.blocks' must be"),
        (lambda h, d, t: d["config"].update(preset="kitten"), "do not fit together"),
        (lambda h, d, t: d.pop("pages"), "do not fit together"),
    ],
)
def test_forged_files_are_refused(saved, change, message):
    model, path = saved
    rewritten(path, change)
    with pytest.raises((CacheFileError, CacheOutOfMemoryError), match=message):
        KittyCache.load(path, model)


def test_other_models_other_weights_and_other_files_are_refused(saved, make_model, tmp_path):
    model, path = saved
    with pytest.raises(CacheFileError, match="num_hidden_layers 3, not 2"):
        KittyCache.load(path, make_model(num_hidden_layers=2))
    with pytest.raises(CacheFileError, match="model_type 'qwen3', not 'llama'"):
        KittyCache.load(path, make_model("llama"))
    with pytest.raises(CacheFileError, match="other weights, or the same in another dtype"):
        KittyCache.load(path, make_model(dtype=torch.bfloat16))
    with torch.no_grad():
        model.lm_head.weight.add_(1)
    with pytest.raises(CacheFileError, match="other weights"):
        KittyCache.load(path, model)
    save_file({"x": torch.zeros(1)}, tmp_path / "foreign")
    with pytest.raises(CacheFileError, match="format is None"):
        KittyCache.load(tmp_path / "foreign", model)
    with pytest.raises(CacheFileError, match="cannot be read as safetensors"):
        KittyCache.load(tmp_path / "nothing", model)


def test_a_cache_that_does_not_fit_the_budget_is_refused(saved):
    model, path = saved
    with pytest.raises(CacheOutOfMemoryError, match=r"max_bytes is 1,000"):
        KittyCache.load(path, model, max_bytes=1000)


def test_a_full_disk_leaves_the_old_file_and_no_other(saved):
    _, path = saved
    before = path.read_bytes()
    script = f"""
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from kitty_kv import CacheFileError
from kitty_kv.hf.cache_file import write_cache_file
import torch
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    write_cache_file({str(path)!r}, {{}}, {{"x": torch.zeros(100_000)}})
except CacheFileError as error:
    sys.exit(0 if "Cannot save the cache" in str(error) else 2)
sys.exit(1)
"""
    folders = os.pathsep.join(str(pathlib.Path(kitty_kv.__file__).parents[1].parent / x) for x in ("python", "kernels"))
    done = subprocess.run([sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": folders}, check=False)
    assert done.returncode == 0
    assert path.read_bytes() == before
    assert [found.name for found in path.parent.iterdir()] == [path.name]


def test_a_copy_is_a_fork_and_a_pickle_is_refused(make_model):
    model = make_model()
    cache = KittyCache.for_model(model)
    feed(model, cache, ids(1, 200))
    for twin in (copy.copy(cache), copy.deepcopy(cache)):
        feed(model, twin, ids(1, 30))
        assert (cache.lengths, twin.lengths) == ([200], [230])
    with pytest.raises(kitty_kv.UnsupportedError, match=r"save\(path\)"):
        pickle.dumps(cache)


def test_inputs_embeds_and_rows_of_padding_alone_generate_as_stock_inputs_do(make_model):
    model, prompt = make_model(), ids(1, 40)
    options = {"max_new_tokens": 8, "do_sample": False}
    wanted = model.generate(prompt, past_key_values=KittyCache.for_model(model), **options)[0, 40:]
    embedded = model.get_input_embeddings()(prompt)
    assert torch.equal(
        model.generate(inputs_embeds=embedded, past_key_values=KittyCache.for_model(model), **options)[0], wanted
    )
    both, mask = torch.cat((prompt, torch.zeros_like(prompt))), torch.ones(2, 40, dtype=torch.long)
    mask[1] = 0
    cache = KittyCache.for_model(model)
    assert torch.equal(model.generate(both, attention_mask=mask, past_key_values=cache, **options)[0, 40:], wanted)
    assert cache.lengths == [47, 7]
