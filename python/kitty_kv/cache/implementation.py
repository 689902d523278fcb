"""Which implementation of the operations a cache runs: chosen by name or by device, never silently replaced.

auto        on CUDA ``triton``; elsewhere plain torch over the same pages and blocks, with the codec's reference
reference   the references of all operations, on any device: the specification, and slow; float32 keys too
triton      the kernels, on CUDA, or on the CPU under Triton's interpreter
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from kitty_kernels.pack.api import PageLayout

from ..errors import ConfigError, UnsupportedError
from .kernel_route import KernelRoute
from .plain_route import PlainRoute

if TYPE_CHECKING:
    from .paged_cache import PagedCache

IMPLEMENTATIONS = ("auto", "reference", "triton")
_HALF_TYPES = (torch.float16, torch.bfloat16)
_REFERENCE_TYPES = (*_HALF_TYPES, torch.float32)
_TRITON_PAGE = 128
_TRITON_MAX_HEAD_DIM = 256


def check_implementation(impl: str) -> None:
    """Raises unless ``impl`` is a known name."""
    if impl not in IMPLEMENTATIONS:
        raise ConfigError(f"Cannot build the cache: impl must be one of {', '.join(IMPLEMENTATIONS)}, got {impl!r}.")


def resolve(
    cache: PagedCache, dtype: torch.dtype, layout: PageLayout, device: torch.device
) -> KernelRoute | PlainRoute:
    """How tokens of ``dtype`` on ``device`` are stored and attended.

    Raises:
        UnsupportedError: the kernels, or the references, cannot hold such a cache.
    """
    impl = cache.impl
    if impl == "auto":
        impl = "triton" if device.type == "cuda" else "plain"
    if impl == "triton":
        _check_triton(dtype, layout)
    if impl == "reference" and dtype not in _REFERENCE_TYPES:
        raise UnsupportedError(
            f"Cannot run this cache with the references: they take float16, bfloat16 and float32 keys, got {dtype}; "
            "load the model in one of these, or pass impl='auto'."
        )
    return PlainRoute(cache) if impl == "plain" else KernelRoute(cache, impl)


def _check_triton(dtype: torch.dtype, layout: PageLayout) -> None:
    problem = None
    if dtype not in _HALF_TYPES:
        problem = f"take float16 and bfloat16 keys, got {dtype}; load the model in one of these"
    elif layout.page_size != _TRITON_PAGE:
        problem = f"take page_size {_TRITON_PAGE}, got {layout.page_size}; choose that"
    elif layout.head_dim % 4 or layout.head_dim > _TRITON_MAX_HEAD_DIM:
        problem = (
            f"take a head_dim that is a multiple of 4 and at most {_TRITON_MAX_HEAD_DIM}, got {layout.head_dim}; "
            "use another model"
        )
    if problem is not None:
        raise UnsupportedError(
            f"Cannot run this cache with the Triton kernels: they {problem}, or pass impl='reference'."
        )
