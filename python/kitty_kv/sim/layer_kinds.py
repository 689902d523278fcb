"""Which layers of a model a cache quantizes."""

from __future__ import annotations

from ..hf.stock_cache import PretrainedConfig

FULL_ATTENTION = "full_attention"


def has_full_attention(config: PretrainedConfig) -> list[bool]:
    """Of each layer; a config without kinds of layers has one window for all of them, or none."""
    kinds = getattr(config, "layer_types", None)
    if kinds is not None:
        return [kind == FULL_ATTENTION for kind in kinds]
    is_sliding = getattr(config, "sliding_window", None) is not None and getattr(config, "use_sliding_window", True)
    return [not is_sliding] * config.num_hidden_layers
