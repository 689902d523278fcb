"""What a model's config says about its layers, and which of them a Kitty cache can hold."""

from __future__ import annotations

from typing import Any

from transformers import PretrainedConfig

from ..errors import UnsupportedError

_FULL, _SLIDING = "full_attention", "sliding_attention"
# A config with one of these has layers that keep a state, or keys that are not its own, instead of keys and values.
_OTHER_LAYERS = {
    "layers_block_type": "state-space layers",
    "block_types": "recurrent layers",
    "hybrid_override_pattern": "state-space layers",
    "mamba_d_state": "state-space layers",
    "ssm_cfg": "state-space layers",
    "state_size": "state-space layers",
    "cross_attention_layers": "cross-attention layers",
    "num_kv_shared_layers": "layers that share keys and values",
    "kv_lora_rank": "latent attention",
}
# Fields that may differ between two configs of one model.
_INCIDENTAL = {
    "_name_or_path",
    "architectures",
    "torch_dtype",
    "transformers_version",
    "use_cache",
    "_attn_implementation_autoset",
}
_GROWING_ROPE = ("dynamic", "longrope")


def layer_windows(config: PretrainedConfig) -> list[int | None]:
    """For each layer the window of its attention, or None where it attends to everything.

    Raises:
        UnsupportedError: some layers are neither; names them.
    """
    if getattr(config, "is_encoder_decoder", False):
        raise UnsupportedError(
            "Cannot use the Kitty cache with an encoder-decoder model: only decoder-only models are supported."
        )
    for field, what in _OTHER_LAYERS.items():
        if getattr(config, field, None):
            raise UnsupportedError(
                f"Cannot use the Kitty cache with {config.model_type}: its config has {field}, so it has {what}, which "
                "this cache cannot hold; use the model's stock cache.",
                details={"model_type": config.model_type, "field": field},
            )
    kinds = getattr(config, "layer_types", None)
    window = getattr(config, "sliding_window", None)
    if kinds is None:
        slides = window is not None and getattr(config, "use_sliding_window", True)
        kinds = [_SLIDING if slides else _FULL] * config.num_hidden_layers
    if not set(kinds) <= {_FULL, _SLIDING}:
        raise UnsupportedError(
            f"Cannot use the Kitty cache with {config.model_type}: it has layers of kind {', '.join(sorted(set(kinds)))}, "
            f"and this cache holds {_FULL} and {_SLIDING} only; use the model's stock cache.",
            details={"layer_types": sorted(set(kinds))},
        )
    if _SLIDING in kinds and not window:
        raise UnsupportedError(
            f"Cannot use the Kitty cache with {config.model_type}: it has layers of kind {_SLIDING}, but its config's "
            f"sliding_window is {window!r}; set it to the window's length."
        )
    return [window if kind == _SLIDING else None for kind in kinds]


def context_limit(config: PretrainedConfig) -> int | None:
    """Real tokens that a row may have; None where the config sets no limit."""
    limit = getattr(config, "max_position_embeddings", None)
    scaling = getattr(config, "rope_scaling", None)
    if limit is None or not isinstance(scaling, dict):
        return limit
    if scaling.get("rope_type", scaling.get("type")) in _GROWING_ROPE:
        return None
    original = scaling.get("original_max_position_embeddings", limit)
    return max(limit, int(original * scaling.get("factor", 1)))


def differing_fields(ours: PretrainedConfig, theirs: PretrainedConfig) -> dict[str, tuple[Any, Any]]:
    """Fields in which two configs describe different models, with both values."""
    if ours is theirs:
        return {}
    left, right = ours.to_dict(), theirs.to_dict()
    fields = sorted((left.keys() | right.keys()) - _INCIDENTAL)
    return {name: (left.get(name), right.get(name)) for name in fields if left.get(name) != right.get(name)}
