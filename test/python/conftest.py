"""Tiny random models of the real classes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, Qwen3Config, Qwen3ForCausalLM

import kitty_kv

SIZES = {
    "vocab_size": 96,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "max_position_embeddings": 2048,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": None,
}
CLASSES = {"qwen3": (Qwen3Config, Qwen3ForCausalLM), "llama": (LlamaConfig, LlamaForCausalLM)}


@pytest.fixture
def installed() -> Iterator[None]:
    kitty_kv.install()
    yield
    kitty_kv.uninstall()


@pytest.fixture
def make_model(installed: None) -> Callable[..., PreTrainedModel]:
    def make(
        family: str = "qwen3", attention: str = "kitty", dtype: torch.dtype = torch.float32, **sizes
    ) -> PreTrainedModel:
        config_class, model_class = CLASSES[family]
        torch.manual_seed(0)
        config = config_class(**{**SIZES, **sizes})
        model = model_class._from_config(config, attn_implementation=attention, torch_dtype=dtype).eval()
        # Random weights make flat logits; sharper ones make greedy text that differs when the cache does.
        with torch.no_grad():
            model.lm_head.weight.mul_(8)
        return model

    return make
