"""Kitty KV: a 2-bit KV cache with near-16-bit accuracy, as a plug-in of HuggingFace Transformers.

Importing this package changes nothing and loads neither torch nor transformers; names load on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .config import PRESETS, KittyConfig
from .errors import CacheError, CacheFileError, CacheOutOfMemoryError, ConfigError, KittyKvError, UnsupportedError

if TYPE_CHECKING:
    from . import quant, sim, tiny
    from .hf.cache import KittyCache
    from .hf.install import install, uninstall

__version__ = "0.1.0"

__all__ = [
    "PRESETS",
    "CacheError",
    "CacheFileError",
    "CacheOutOfMemoryError",
    "ConfigError",
    "KittyCache",
    "KittyConfig",
    "KittyKvError",
    "UnsupportedError",
    "__version__",
    "install",
    "quant",
    "sim",
    "tiny",
    "uninstall",
]

_LAZY = {
    "KittyCache": (".hf.cache", "KittyCache"),
    "install": (".hf.install", "install"),
    "uninstall": (".hf.install", "uninstall"),
    "quant": (".quant", None),
    "sim": (".sim", None),
    "tiny": (".tiny", None),
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module_name, attribute = _LAZY[name]
    module = importlib.import_module(module_name, __name__)
    return getattr(module, attribute) if attribute else module
