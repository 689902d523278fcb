"""Attention over dense 16-bit keys and values, as torch offers it: what the packed cache is measured against.

Every peer gets contiguous tensors of the same lengths and its own best call; none is held back.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from .timing import copies_needed, graph_ms, plain_ms

Attention = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


@dataclasses.dataclass(frozen=True, slots=True)
class PeerTime:
    """Milliseconds of one peer, or why it did not run."""

    name: str
    ms: float | None
    plain_ms: float | None = None
    reason: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class DenseShape:
    """Decode attention of one new token a row.

    Args:
        batch: B.
        tokens: T, the same for all rows.
        query_heads, kv_heads, head_dim: HQ, HKV, D.
        dtype: of everything.
    """

    batch: int
    tokens: int
    query_heads: int = 32
    kv_heads: int = 8
    head_dim: int = 128
    dtype: torch.dtype = torch.float16

    @property
    def bytes(self) -> int:
        return 2 * self.batch * self.kv_heads * self.tokens * self.head_dim * self.dtype.itemsize


def time_peers(shape: DenseShape, device: torch.device, *, cache: int, replays: int, skip: dict[str, str]):
    """Times every peer on the same tensors.

    Args:
        shape: see ``DenseShape``.
        device: a CUDA device.
        cache: bytes of the second-level cache.
        replays: see ``graph_ms``.
        skip: names that are not to run, and why.

    Returns:
        A ``PeerTime`` for each of ``PEERS``.
    """
    copies = copies_needed(shape.bytes, cache)
    size = (copies, shape.batch, shape.kv_heads, shape.tokens, shape.head_dim)
    keys = torch.randn(size, dtype=shape.dtype, device=device)
    values = torch.randn(size, dtype=shape.dtype, device=device)
    query = torch.randn(shape.batch, shape.query_heads, 1, shape.head_dim, dtype=shape.dtype, device=device)
    inputs = [(query, keys[i], values[i]) for i in range(copies)]
    return [
        PeerTime(name, None, reason=skip[name]) if name in skip else _time(name, make, inputs, replays)
        for name, make in PEERS.items()
    ]


def best_of(times: Sequence[PeerTime]) -> PeerTime | None:
    """The fastest that ran."""
    return min((one for one in times if one.ms is not None), key=lambda one: one.ms, default=None)


def _time(
    name: str, make: Callable[[], contextlib.AbstractContextManager[Attention]], inputs, replays: int
) -> PeerTime:
    try:
        with make() as attend:
            ms = graph_ms([lambda tensors=tensors: attend(*tensors) for tensors in inputs], replays)
            return PeerTime(name, ms, plain_ms(lambda: attend(*inputs[0])))
    # A peer that cannot run here is told, whatever it raises.
    except Exception as error:  # noqa: BLE001
        lines = str(error).strip().splitlines() or [""]
        return PeerTime(name, None, reason=f"{type(error).__name__}: {lines[0][:200]}")


@contextlib.contextmanager
def _sdpa(backend: SDPBackend, *, heads_as_tokens: bool = False):
    def attend(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        if not heads_as_tokens:
            return F.scaled_dot_product_attention(query, keys, values, enable_gqa=True)
        grouped = query.view(query.shape[0], keys.shape[1], -1, query.shape[3])
        return F.scaled_dot_product_attention(grouped, keys, values).view_as(query)

    with sdpa_kernel(backend):
        yield attend


@contextlib.contextmanager
def _flex():
    from torch.nn.attention.flex_attention import flex_attention

    # Compiled for every shape by itself, which is its fastest.
    torch._dynamo.reset()
    compiled = torch.compile(flex_attention, dynamic=False)
    yield lambda query, keys, values: compiled(query, keys, values, enable_gqa=True)


# "heads as tokens" puts the query heads of a KV head where query tokens stand: the same sums, K and V read once.
PEERS: dict[str, Callable[[], contextlib.AbstractContextManager[Attention]]] = {
    "flash": lambda: _sdpa(SDPBackend.FLASH_ATTENTION),
    "cudnn": lambda: _sdpa(SDPBackend.CUDNN_ATTENTION),
    "flash, heads as tokens": lambda: _sdpa(SDPBackend.FLASH_ATTENTION, heads_as_tokens=True),
    "cudnn, heads as tokens": lambda: _sdpa(SDPBackend.CUDNN_ATTENTION, heads_as_tokens=True),
    "flex": _flex,
}
