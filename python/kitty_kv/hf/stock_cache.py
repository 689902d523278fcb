"""The base of Transformers caches that live outside this package."""

from __future__ import annotations

import abc
from typing import Any

from transformers import Cache, PretrainedConfig

__all__ = ["MaskedCache", "PretrainedConfig"]


class MaskedCache(Cache, abc.ABC):
    """A cache that is told the padding mask of every forward pass, as ``KittyCache`` is, while Kitty is installed."""

    @abc.abstractmethod
    def tell_mask(self, mask: Any, config: PretrainedConfig) -> None:
        """Says which positions of the coming forward pass are padding.

        Args:
            mask: what the model got as ``attention_mask``: bool or integer ``[B, T]`` over all positions, or None.
            config: of the model that asks.
        """
