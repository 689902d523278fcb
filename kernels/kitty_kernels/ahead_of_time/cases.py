"""Every operation over the coverage that the package promises, to be compiled or to be run on small sizes."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator

import torch

from ..bench.random_cache import CacheShape, random_view
from ..pages import CacheView

HEAD_DIMS = (64, 80, 96, 128, 256)
GROUPS = (1, 4, 8, 32)
BOOSTS = (0.0, 0.125, 0.25, 0.13)
DTYPES = ("float16", "bfloat16")
SELECTIONS = ("magnitude", "range", "query", "variance", "random")


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
        lengths: cached tokens of the three rows; by default with and without pages, and with ends inside a block.
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
    lengths: tuple[int, int, int] = (300, 200, 33)

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


Launch = Callable[[Case, torch.device], None]


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
        Case("flush_keys", "bfloat16", 128, 0.125, selection="query"),
        Case("pack_values", "bfloat16", 96),
        Case("pack_cached_values", "float16", 256),
        Case("flush_values", "float16", 128),
        Case("append", "bfloat16", 80),
        Case("dequantize_pages", "float16", 128),
        Case("dequantize_view", "bfloat16", 96, 0.13),
    ]


def small_runs() -> list[Case]:
    """What a GPU runs under compute-sanitizer: the chosen cases, and rows with no page, no token and many pages."""
    lengths = ((20, 5, 1), (0, 160, 1), (3000, 31, 1500))
    reading = [Case(name, lengths=rows) for name in ("decode_attention", "dequantize_view") for rows in lengths]
    return some_cases() + reading


def launch(case: Case, device: torch.device) -> None:
    """Calls the operation's launcher on random tensors there."""
    LAUNCHES[case.operation](case, device)


def _view(case: Case, device: torch.device) -> CacheView:
    boosted = math.floor(case.boost * case.head_dim)
    shape = CacheShape(case.lengths, case.head_dim, boosted, 2, getattr(torch, case.dtype))
    return random_view(shape, device, impl="reference")


def _tokens(case: Case, device: torch.device, heads: int, tokens: int) -> torch.Tensor:
    # As a projection leaves it: [B, S, heads, D] seen as [B, heads, S, D].
    size = (3, tokens, heads, case.head_dim)
    return torch.randn(size, dtype=torch.float32, device=device).to(getattr(torch, case.dtype)).transpose(1, 2)


def _counters(values: tuple[int, ...], device: torch.device) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.int32, device=device)


def _weights(case: Case, device: torch.device, *heads: int) -> torch.Tensor | None:
    return torch.rand(*heads, case.head_dim, device=device) if case.selection == "query" else None


def _decode_attention(case: Case, device: torch.device) -> None:
    from ..decode_attention import triton

    view = _view(case, device)
    triton.decode_attention(
        _tokens(case, device, view.blocks.shape[1] * case.group, case.new_tokens),
        view,
        scaling=case.head_dim**-0.5,
        first_positions=view.lengths - case.new_tokens,
        window=case.window,
        softcap=case.softcap,
    )


def _pack_keys(case: Case, device: torch.device) -> None:
    from ..pack import triton

    pages, boosted = _tokens(case, device, 2, 128).contiguous(), math.floor(case.boost * case.head_dim)
    weights = _weights(case, device, 3, 2)
    triton.pack_keys(pages, boosted=boosted, selection=case.selection, seed=0, weights=weights)


def _pack_values(case: Case, device: torch.device) -> None:
    from ..pack import triton

    triton.pack_values(_tokens(case, device, 2, 128).contiguous())


def _pack_cached(kind: str) -> Launch:
    def run(case: Case, device: torch.device) -> None:
        from ..pack import triton

        # A page of new tokens, one of old and new ones, and a job that is none.
        new = _tokens(case, device, 2, 256)
        jobs = _counters((0, 0, 0, 1, 0, 1, 2, 0, -1), device).view(3, 3)
        first, starts = _counters((32, 100, 0), device), _counters((0, 3, 0), device)
        options = {
            "first_new": first,
            "starts": starts,
            "selection": case.selection,
            "seed": 0,
            "weights": _weights(case, device, 2),
        }
        triton.pack_cached(_view(case, device), jobs, kind=kind, new=new, **options)

    return run


def _flush(kind: str) -> Launch:
    def run(case: Case, device: torch.device) -> None:
        from ..pack import triton

        view = _view(case, device)
        pools = {
            name: getattr(view, name).expand(3, *getattr(view, name).shape).contiguous()
            for name in ("blocks", "key_pages", "value_pages")
        }
        jobs = _counters((0, 0, 0, 1, 0, 0, 2, 0, -1), device).view(3, 3)
        options = {"selection": case.selection, "seed": 0, "weights": _weights(case, device, 3, 2)}
        triton.flush_layers(view._replace(**pools), jobs, kind=kind, **options)

    return run


def _append(case: Case, device: torch.device) -> None:
    from ..append import triton

    new = _tokens(case, device, 2, case.new_tokens)
    counters = {"first_new": (299, 199, 32), "starts": (0, 0, 0), "counts": (1, 1, 0)}
    triton.append(new, new, _view(case, device), **{name: _counters(of, device) for name, of in counters.items()})


def _dequantize_pages(case: Case, device: torch.device) -> None:
    from ..dequantize import triton

    view = _view(case, device)
    triton.dequantize_keys(view.layout.keys(view.key_pages))
    triton.dequantize_values(view.layout.values(view.value_pages))


def _dequantize_view(case: Case, device: torch.device) -> None:
    from ..dequantize import triton

    triton.dequantize_view(_view(case, device), tokens=300, dtype=getattr(torch, case.dtype))


LAUNCHES: dict[str, Launch] = {
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
