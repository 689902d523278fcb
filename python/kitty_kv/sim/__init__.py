"""Precision simulation: what a cache of any bit widths would do to a model, without packing anything."""

from .cache import SimulatedCache

__all__ = ["SimulatedCache"]
