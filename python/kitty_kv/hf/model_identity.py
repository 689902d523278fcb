"""Which model a cache belongs to: keys of one model mean nothing to another."""

from __future__ import annotations

import weakref

import torch
from transformers import PretrainedConfig, PreTrainedModel

from ..errors import CacheError
from .model_layers import differing_fields


class ModelIdentity:
    """Knows a model by its config, and by its attention modules once it has seen them.

    Args:
        config: the model's (text) config.
    """

    def __init__(self, config: PretrainedConfig) -> None:
        self._config = config
        self._model: weakref.ref[PreTrainedModel] | None = None
        self._modules: dict[int, weakref.ref[torch.nn.Module]] = {}
        self._same_config: weakref.ref[PretrainedConfig] = weakref.ref(config)

    def bind(self, model: PreTrainedModel) -> None:
        """Holds the cache to ``model``."""
        self._model = weakref.ref(model)

    @property
    def model(self) -> PreTrainedModel | None:
        """What ``bind`` was told, as long as it lives."""
        return self._model() if self._model is not None else None

    def check_config(self, config: PretrainedConfig) -> None:
        """Raises ``CacheError`` unless ``config`` describes the cache's model."""
        # Comparing whole configs is for the first time only.
        if config is self._same_config():
            return
        differing = differing_fields(self._config, config)
        if differing:
            fields = ", ".join(f"{name} {ours!r}, not {theirs!r}" for name, (ours, theirs) in [*differing.items()][:4])
            raise CacheError(
                f"Cannot use this cache with a {config.model_type} model: it was made for a {self._config.model_type} "
                f"model with {fields}; make a cache for each model.",
                details={"differing": sorted(differing)},
            )
        self._same_config = weakref.ref(config)

    def check_module(self, layer_idx: int, module: torch.nn.Module) -> None:
        """Raises ``CacheError`` unless ``module`` is the attention of layer ``layer_idx`` of the cache's model."""
        known = self._modules.get(layer_idx)
        if known is not None and known() is module:
            return
        self.check_config(module.config)
        model = self._model() if self._model is not None else None
        is_other = known is not None or (model is not None and not any(part is module for part in model.modules()))
        if is_other:
            raise CacheError(
                f"Cannot use this cache with another {self._config.model_type} model than the one that filled it or "
                "that it was made for, though their configs are equal; make a cache for each model."
            )
        # A fork may share what was known before.
        self._modules = {**self._modules, layer_idx: weakref.ref(module)}
