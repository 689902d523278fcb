"""The committed checkpoint and the recipe that made it."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

import kitty_kv
from kitty_kv import KittyCache

# Public domain: the opening of "The Call of the Wild" (Jack London, 1903), which is in neither data split.
EXCERPT = (
    "Buck did not read the newspapers, or he would have known that trouble was brewing, not alone for himself, but for "
    "every tide-water dog, strong of muscle and with warm, long hair, from Puget Sound to San Diego. Because men, groping "
    "in the Arctic darkness, had found a yellow metal, and because steamship and transportation companies were booming "
    "the find, thousands of men were rushing into the Northland."
)
GREEDY = {"do_sample": False, "max_new_tokens": 200}


def load(attention: str, dtype: torch.dtype | str = "auto"):
    return AutoModelForCausalLM.from_pretrained(
        kitty_kv.tiny.MODEL_PATH, torch_dtype=dtype, attn_implementation=attention
    ).eval()


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(kitty_kv.tiny.MODEL_PATH)


def test_weights_are_small_enough_and_the_context_long_enough():
    weights = pathlib.Path(kitty_kv.tiny.MODEL_PATH) / "model.safetensors"
    assert weights.stat().st_size <= 25_000_000
    config = load("sdpa").config
    assert (config.model_type, config.head_dim) == ("qwen3", 128)
    assert config.max_position_embeddings >= 4096
    assert config.num_attention_heads > config.num_key_value_heads


@pytest.mark.parametrize("dtype", ["auto", torch.float32], ids=str)
def test_fp16_preset_writes_the_stock_caches_text_on_the_bundled_model(installed, tokenizer, dtype):
    ids = tokenizer("Once upon a time", return_tensors="pt")
    stock = load("sdpa", dtype).generate(**ids, past_key_values=DynamicCache(), **GREEDY)
    ours = load("kitty", dtype).generate(**ids, cache_implementation="kitty", cache_config={"preset": "fp16"}, **GREEDY)
    assert torch.equal(stock, ours)


def test_unseen_english_takes_few_bits_per_byte(installed, tokenizer):
    model = load("kitty", torch.float32)
    tokens = tokenizer(EXCERPT, return_tensors="pt").input_ids
    with torch.inference_mode():
        logits = model(tokens, past_key_values=KittyCache.for_model(model)).logits[0, :-1]
    nats = torch.nn.functional.cross_entropy(logits, tokens[0, 1:], reduction="sum").item()
    bits_per_byte = nats / torch.log(torch.tensor(2.0)).item() / len(EXCERPT.encode())
    # 2.49 was measured (2026-11-24): 400 bytes without context cost more than the validation text's 1.42.
    # Bytes at random cost 8, so a broken export or cache does not pass.
    assert bits_per_byte < 3.0


def test_the_tokenizer_round_trips_any_text(tokenizer):
    generator = torch.Generator().manual_seed(0)
    for _ in range(100):
        points = torch.randint(1, 0x2FFF, (40,), generator=generator).tolist()
        text = "".join(chr(point) for point in points) + "🐈‍⬛ 漢字 12345"
        assert tokenizer.decode(tokenizer(text).input_ids) == text


def train(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "kitty_kv.tiny.train", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("content", [None, ""])
def test_training_refuses_a_missing_or_empty_text_in_one_sentence(tmp_path, content):
    text = tmp_path / "text.txt"
    if content is not None:
        text.write_text(content)
    outcome = train("--text", str(text), "--steps", "1", "--out", str(tmp_path / "out"))
    assert outcome.returncode == 2
    assert "text.txt" in outcome.stderr
    assert not (tmp_path / "out").exists()
