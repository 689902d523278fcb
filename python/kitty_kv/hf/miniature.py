"""A random Qwen3 so small that thousands of requests take a minute on a CPU."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel, Qwen3Config, Qwen3ForCausalLM

from .install import install

CONTEXT_LENGTH = 2048
VOCABULARY = 96


def miniature(seed: int = 0) -> PreTrainedModel:
    """The model, float32 on the CPU, in evaluation mode under the kitty attention."""
    install()
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=CONTEXT_LENGTH,
        bos_token_id=None,
        eos_token_id=None,
        attn_implementation="kitty",
        tie_word_embeddings=False,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen3ForCausalLM(config).eval()
    with torch.no_grad():
        # Larger than trained ones, so that text varies and depends on all that the cache holds.
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.mul_(20)
        model.lm_head.weight.mul_(8)
    return model
