"""One tiny random model of every supported family, of the real class."""

from __future__ import annotations

import torch
import transformers
from transformers import PreTrainedModel

SIZES = {
    "vocab_size": 96,
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 1024,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": None,
}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
_WINDOW = 48
_GEMMA = {"head_dim": 256, "num_attention_heads": 2, "num_key_value_heads": 1, "sliding_window": _WINDOW}
# Name: (class prefix, fields). Windows are shorter than the prompts, head_dim 256 is Gemma's.
FAMILIES = {
    "qwen2": ("Qwen2", {}),
    "qwen2-sliding": ("Qwen2", {"use_sliding_window": True, "sliding_window": _WINDOW, "max_window_layers": 1}),
    "qwen3": ("Qwen3", {}),
    "qwen3-moe": ("Qwen3Moe", _EXPERTS),
    "llama": ("Llama", {}),
    "mistral": ("Mistral", {"sliding_window": None}),
    "mistral-sliding": ("Mistral", {"sliding_window": _WINDOW}),
    "mixtral": ("Mixtral", {"num_local_experts": 4}),
    "phi3": ("Phi3", {}),
    "gemma2": ("Gemma2", {**_GEMMA, "query_pre_attn_scalar": 64}),
    "gemma3": (
        "Gemma3",
        {
            **_GEMMA,
            "num_hidden_layers": 3,
            "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
        },
    ),
    "granite": ("Granite", {"attention_multiplier": 0.2}),
    "olmo2": ("Olmo2", {}),
    "starcoder2": ("Starcoder2", {"sliding_window": None}),
    "starcoder2-sliding": ("Starcoder2", {"sliding_window": _WINDOW}),
    "gpt-neox": ("GPTNeoX", {}),
}


def make_family(
    name: str, attention: str = "kitty", dtype: torch.dtype = torch.float64, seed: int = 0, **sizes
) -> PreTrainedModel:
    """A model whose attention matters: random weights as they come make it almost uniform."""
    prefix, fields = FAMILIES[name]
    text = "Text" if prefix == "Gemma3" else ""
    config = getattr(transformers, f"{prefix}{text}Config")(**{**SIZES, **fields, **sizes})
    torch.manual_seed(seed)
    model_class = getattr(transformers, f"{prefix}ForCausalLM")
    model = model_class._from_config(config, attn_implementation=attention, torch_dtype=dtype).eval()
    with torch.no_grad():
        for parameter_name, weight in model.named_parameters():
            if "att" in parameter_name and weight.ndim == 2:
                weight.mul_(4)
            if "lm_head" in parameter_name or "embed_out" in parameter_name:
                weight.mul_(8)
    return model
