"""A model spread over two devices: each layer's cache lies on its layer's device.

Without a second device that computes, the second one is ``meta``, whose tensors have shapes only: any tensor on the wrong
device is an error there as well. The codec's reference needs values, so layers there are sliding ones, or unquantized. Where there are
two GPUs, packed layers are compared by content.
"""

from __future__ import annotations

import pathlib
import sys

import pytest
import torch

from kitty_kv import KittyCache

sys.path.insert(0, str(pathlib.Path(__file__).parent / "table"))
from families import make_family
from table_cases import batch, feed

pytestmark = pytest.mark.usefixtures("installed")


def moved(thing, device):
    if isinstance(thing, torch.Tensor):
        return thing.to(device)
    if isinstance(thing, (tuple, list)):
        return type(thing)(moved(part, device) for part in thing)
    return thing


def spread(model, first, second):
    """Layer 0 and all before it on ``first``, what follows on ``second``, as a device map does with its hooks."""
    inner = model.model.to(first)

    def follow(_module, args, kwargs):
        return moved(args, second), {name: moved(value, second) for name, value in kwargs.items()}

    for part in (*inner.layers[1:], inner.norm, model.lm_head):
        part.to(second).register_forward_pre_hook(follow, with_kwargs=True)
    return model


def drive(model, cache, device):
    seen = None
    for turn, lengths in enumerate([(284, 40), (5, 3), (1, 1), (1, 1), (30, 1)]):
        new = batch(lengths, seed=turn)
        seen = feed(model, cache, seen, type(new)(*(part.to(device) for part in new)))
        seen = type(new)(*(part.to(device) for part in seen))
    cache.reorder_cache(torch.tensor([1, 0]))
    cache.crop(-3)


@pytest.mark.filterwarnings("ignore:Nothing is quantized")
@pytest.mark.parametrize(
    ("family", "preset"), [("llama", "fp16"), ("qwen2-sliding", "kitty-pro"), ("starcoder2-sliding", "kitty-pro")]
)
def test_each_layers_cache_lies_on_its_layers_device(family, preset):
    whole, parted = make_family(family), spread(make_family(family), "cpu", "meta")
    caches = [KittyCache.for_model(model, preset=preset) for model in (whole, parted)]
    for model, cache in zip((whole, parted), caches, strict=True):
        drive(model, cache, "cpu")
    assert caches[0].lengths == caches[1].lengths
    assert all(torch.equal(*sides) for sides in zip(*(cache.dequantize(0) for cache in caches), strict=True))
    ours, theirs = (cache.dequantize(1)[0] for cache in caches)
    assert (theirs.device.type, theirs.shape) == ("meta", ours.shape)
    packed_on = {storage.device.type for storage in caches[1].pages.storages}
    assert packed_on == {"llama": {"cpu", "meta"}, "qwen2-sliding": {"cpu"}, "starcoder2-sliding": set()}[family]


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_gpus_hold_what_one_holds():
    whole = make_family("llama", dtype=torch.float16).cuda()
    parted = spread(make_family("llama", dtype=torch.float16), "cuda:0", "cuda:1")
    caches = [KittyCache.for_model(model) for model in (whole, parted)]
    for model, cache in zip((whole, parted), caches, strict=True):
        drive(model, cache, "cuda:0")
    for layer, device in enumerate(("cuda:0", "cuda:1")):
        ours, theirs = (cache.dequantize(layer)[0] for cache in caches)
        assert theirs.device == torch.device(device)
        assert torch.equal(ours.cpu(), theirs.cpu())
