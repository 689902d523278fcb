"""The base class of Transformers' caches, for caches that live outside this package."""

from transformers import Cache as StockCache
from transformers import PretrainedConfig

__all__ = ["PretrainedConfig", "StockCache"]
