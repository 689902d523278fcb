"""What is compiled: every operation over the coverage that the package promises."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator

import torch

from ..bench.random_cache import CacheShape, random_view
from ..pages import CacheView, PackedKeys, PackedValues

HEAD_DIMS = (64, 80, 96, 128, 256)
GROUPS = (1, 4, 8, 32)
BOOSTS = (0.0, 0.125, 0.25, 0.13)
DTYPES = ("float16", "bfloat16")
SELECTIONS = ("magnitude", "range", "variance", "random")


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """One launch.

    Args:
        operation: a key of ``LAUNCHES``.
        dtype: of queries and blocks.
        head_dim: D.
        boost: share of key channels with 4 bits, floor as in the contract.
        group: query heads of a KV head.
        new_tokens: S.
        window, softcap: of attention.
        selection: of channels, where keys are packed.
    """

    operation: str
    dtype: str = "float16"
    head_dim: int = 128
    boost: float = 0.25
    group: int = 4
    new_tokens: int = 1
    window: int | None = None
    softcap: float | None = None
    selection: str = "magnitude"

    @property
    def name(self) -> str:
        parts = [self.operation, self.dtype, f"D {self.head_dim}", f"DB {math.floor(self.boost * self.head_dim)}"]
        if self.operation == "decode_attention":
            parts += [f"group {self.group}", f"S {self.new_tokens}"]
            parts += [f"{name} {value}" for name in ("window", "softcap") if (value := getattr(self, name)) is not None]
        elif self.operation in ("pack_keys", "pack_cached_keys", "flush_keys"):
            parts.append(self.selection)
        return ", ".join(parts)

    @property
    def may_spill(self) -> bool:
        """Decode runs at every token, so nothing of it may leave the registers."""
        return self.operation != "decode_attention"


def all_cases() -> list[Case]:
    """The whole coverage."""
    sizes = list(itertools.product(DTYPES, HEAD_DIMS, BOOSTS))
    options = [{}, {"new_tokens": 5}, {"window": 4096}, {"window": 4096, "softcap": 50.0, "new_tokens": 16}]
    cases = [
        Case("decode_attention", *size, group, **option)
        for size, group, option in itertools.product(sizes, GROUPS, options)
    ]
    for operation in ("pack_keys", "pack_cached_keys", "flush_keys"):
        cases += [Case(operation, *size, selection=how) for size, how in itertools.product(sizes, SELECTIONS)]
    others = ("pack_values", "pack_cached_values", "flush_values", "append", "dequantize_pages", "dequantize_view")
    return cases + [Case(operation, *size) for operation, size in itertools.product(others, sizes)]


def some_cases() -> list[Case]:
    """Every operation, size and option at least once, and what is most used."""
    decode = "decode_attention"
    return [
        Case(decode),
        Case(decode, "bfloat16", 128, 0.125, 8, window=4096, new_tokens=16),
        Case(decode, "float16", 64, 0.13, 1),
        Case(decode, "bfloat16", 80, 0.25, 4),
        Case(decode, "float16", 96, 0.0, 32, softcap=50.0, new_tokens=5),
        Case(decode, "float16", 256, 0.25, 8),
        Case("pack_keys", "float16", 128),
        Case("pack_cached_keys", "bfloat16", 80, 0.125, selection="variance"),
        Case("flush_keys", "float16", 256, 0.25),
        Case("pack_values", "bfloat16", 96),
        Case("pack_cached_values", "float16", 256),
        Case("flush_values", "float16", 128),
        Case("append", "bfloat16", 80),
        Case("dequantize_pages", "float16", 128),
        Case("dequantize_view", "bfloat16", 96, 0.13),
    ]


def launch(case: Case) -> None:
    """Calls the operation's launcher on CPU tensors."""
    LAUNCHES[case.operation](case)


def _shape(case: Case) -> CacheShape:
    # Pages and ring as wide as they are in use, where sizes are multiples of 16 or are not.
    boosted = math.floor(case.boost * case.head_dim)
    return CacheShape((300, 200), case.head_dim, boosted, 2, getattr(torch, case.dtype))


def _view(case: Case) -> CacheView:
    return random_view(_shape(case), torch.device("cpu"))


def _decode_attention(case: Case) -> None:
    from ..decode_attention import triton

    view = _view(case)
    heads = view.blocks.shape[1] * case.group
    query = torch.zeros(2, heads, case.new_tokens, case.head_dim, dtype=view.blocks.dtype)
    triton.decode_attention(
        query,
        view,
        scaling=case.head_dim**-0.5,
        first_positions=view.lengths - case.new_tokens,
        window=case.window,
        softcap=case.softcap,
    )


def _new_tokens(case: Case, tokens: int) -> torch.Tensor:
    # As a projection leaves it: [B, S, HKV, D] seen as [B, HKV, S, D].
    return torch.zeros(2, tokens, 2, case.head_dim, dtype=getattr(torch, case.dtype)).transpose(1, 2)


def _pages(case: Case) -> torch.Tensor:
    return torch.zeros(2, 2, 128, case.head_dim, dtype=getattr(torch, case.dtype))


def _pack_keys(case: Case) -> None:
    from ..pack import triton

    boosted = math.floor(case.boost * case.head_dim)
    triton.pack_keys(_pages(case), boosted=boosted, selection=case.selection, seed=0)


def _pack_values(case: Case) -> None:
    from ..pack import triton

    triton.pack_values(_pages(case))


def _counters(values: tuple[int, ...]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.int32)


def _pack_cached(kind: str) -> Callable[[Case], None]:
    def run(case: Case) -> None:
        from ..pack import triton

        first, starts = _counters((32, 40)), _counters((0, 3))
        jobs = _counters((0, 0, 0, 1, 0, 1)).view(2, 3)
        new = _new_tokens(case, 256)
        options = {"new": new, "first_new": first, "starts": starts, "selection": case.selection, "seed": 0}
        triton.pack_cached(_view(case), jobs, kind=kind, **options)

    return run


def _flush(kind: str) -> Callable[[Case], None]:
    def run(case: Case) -> None:
        from ..pack import triton

        view = _view(case)
        pools = {name: getattr(view, name).expand(3, *getattr(view, name).shape).contiguous() for name in _POOLS}
        jobs = _counters((0, 0, 0, 1, 0, 1)).view(2, 3)
        triton.flush_layers(view._replace(**pools), jobs, kind=kind, selection=case.selection, seed=0)

    return run


_POOLS = ("blocks", "key_pages", "value_pages")


def _append(case: Case) -> None:
    from ..append import triton

    new = _new_tokens(case, case.new_tokens)
    counters = {"first_new": _counters((299, 199)), "starts": _counters((0, 0)), "counts": _counters((1, 1))}
    triton.append(new, new, _view(case), **counters)


def _dequantize_pages(case: Case) -> None:
    from ..dequantize import triton

    view = _view(case)
    keys: PackedKeys = view.layout.keys(view.key_pages)
    values: PackedValues = view.layout.values(view.value_pages)
    triton.dequantize_keys(keys)
    triton.dequantize_values(values)


def _dequantize_view(case: Case) -> None:
    from ..dequantize import triton

    triton.dequantize_view(_view(case), tokens=300, dtype=getattr(torch, case.dtype))


LAUNCHES: dict[str, Callable[[Case], None]] = {
    "decode_attention": _decode_attention,
    "pack_keys": _pack_keys,
    "pack_values": _pack_values,
    "pack_cached_keys": _pack_cached("keys"),
    "pack_cached_values": _pack_cached("values"),
    "flush_keys": _flush("keys"),
    "flush_values": _flush("values"),
    "append": _append,
    "dequantize_pages": _dequantize_pages,
    "dequantize_view": _dequantize_view,
}


def chosen(cases: list[Case], operations: tuple[str, ...]) -> Iterator[Case]:
    """The cases of some operations, or all without any."""
    return (case for case in cases if not operations or case.operation in operations)
