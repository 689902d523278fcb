"""Models of well-known shapes with random weights: speed does not depend on what the weights say."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel, Qwen3Config, Qwen3ForCausalLM
from transformers.modeling_utils import no_init_weights

from ..errors import ConfigError
from .install import install

# Source: the config.json of the model of that name.
SHAPES = {
    "qwen3-8b": {
        "vocab_size": 151_936,
        "hidden_size": 4096,
        "intermediate_size": 12_288,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 40_960,
        "rope_theta": 1_000_000.0,
        "tie_word_embeddings": False,
    },
    "qwen3-0.6b": {
        "vocab_size": 151_936,
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 40_960,
        "rope_theta": 1_000_000.0,
        "tie_word_embeddings": True,
    },
}
_SPREAD = 0.02  # standard deviation of weights, as Transformers initializes them


def random_model(shape: str, dtype: torch.dtype, device: torch.device, *, seed: int = 0) -> PreTrainedModel:
    """A Qwen3 model in evaluation mode under the kitty attention, made on the device.

    Args:
        shape: one of ``SHAPES``.
        dtype: of the weights.
        device: where it lies.
        seed: of the weights.

    Raises:
        ConfigError: ``shape`` is unknown.
    """
    if shape not in SHAPES:
        raise ConfigError(f"Cannot make a random model: shape must be one of {', '.join(SHAPES)}, got {shape!r}.")
    install()
    config = Qwen3Config(**SHAPES[shape], attn_implementation="kitty", eos_token_id=None, pad_token_id=0)
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device), no_init_weights():
            model = Qwen3ForCausalLM(config)
    finally:
        torch.set_default_dtype(default)
    generator = torch.Generator(device).manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("norm.weight"):
                weight.fill_(1.0)
            else:
                weight.normal_(0.0, _SPREAD, generator=generator)
    model.tie_weights()
    return model.eval()
