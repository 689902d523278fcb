"""Checks of what users and models hand to a ``KittyCache``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..config import KittyConfig
from ..errors import CacheError, ConfigError, UnsupportedError


def resolve_config(preset: str | None, config: KittyConfig | None, fields: dict[str, Any]) -> KittyConfig:
    """The config that ``preset`` and single ``fields``, or ``config`` alone, describe.

    Raises:
        ConfigError: both at once, or a wrong value.
    """
    if config is None:
        return KittyConfig.from_dict({**({"preset": preset} if preset is not None else {}), **fields})
    if preset is not None or fields:
        raise ConfigError("Cannot build the cache: got both config and preset or single fields; pass one of them.")
    if not isinstance(config, KittyConfig):
        raise ConfigError(f"Cannot build the cache: config must be a KittyConfig, got {type(config).__name__}.")
    return config


def check_tokens(keys: torch.Tensor, values: torch.Tensor, rows: int) -> None:
    """Raises unless a cache of ``rows`` rows, 0 for an empty one, can take ``keys`` and ``values`` ``[B, HKV, S, D]``."""
    if keys.shape != values.shape:
        raise UnsupportedError(
            f"Cannot cache keys {tuple(keys.shape)} with values {tuple(values.shape)}: this cache wants keys and "
            "values of one shape; use the model's stock cache."
        )
    if rows and keys.shape[0] != rows:
        raise CacheError(
            f"Cannot add tokens to this cache: it holds {rows} rows, got {keys.shape[0]} rows; use one cache per "
            "batch, or reset() it."
        )


def check_window(layer_idx: int, module: torch.nn.Module, wanted: int | None, window: int | None) -> None:
    """Raises ``UnsupportedError`` unless a layer attends with the window that the model's config says."""
    if window != wanted:
        raise UnsupportedError(
            f"Cannot attend in layer {layer_idx}, {type(module).__name__}: by the model's config its window is "
            f"{wanted}, but it attends with {window}; use the model's stock cache."
        )


def check_rows(indices: Sequence[int], rows: int) -> None:
    """Raises ``CacheError`` unless a cache of ``rows`` rows has all of ``indices``."""
    if any(not -rows <= index < rows for index in indices):
        raise CacheError(f"Cannot select rows {list(indices)} of this cache: it holds {rows} rows.")
