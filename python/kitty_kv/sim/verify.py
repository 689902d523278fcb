"""Proves, layer by layer, that the simulated cache and the packed one are the same cache.

One model runs over the packed cache; every layer's queries, keys and values go to a simulated cache as well, so that no
difference of an earlier layer blurs a later one. Held keys and values must be equal to the bit, which codes, scales and
minima of both then are; attention's output must lie within a bound of exact attention over what the simulated cache holds.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch

from ..cache.layer import KittyLayer
from ..config import KittyConfig
from ..hf.cache import KittyCache
from .attention import exact_attention
from .cache import SimulatedCache
from .calls import call_spans

# Tokens that are fed one by one, so that a page is completed by a short call as well.
SINGLE_STEPS = 16
# Largest error of an output, in units of the largest value that its head attends to: some units in the last place of the
# dtype, since probabilities are rounded to it before they are summed.
OUTPUT_BOUNDS = {torch.float32: 2e-5, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}
MAX_DIFFERENCES = 20


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """A place where the two caches differ: the first element of a page, or of an attention output."""

    what: str  # keys, values, attention
    layer: int
    row: int
    head: int
    token: int
    page: int | None  # None among the sinks and for attention
    channel: int
    packed: float
    simulated: float
    elements: int  # that differ in this page or output

    def __str__(self) -> str:
        page = "" if self.page is None else f", page {self.page}"
        return (
            f"layer {self.layer}, row {self.row}, head {self.head}{page}, token {self.token}, channel {self.channel}: "
            f"{self.what} {self.packed:.7g} packed, {self.simulated:.7g} simulated ({self.elements} elements)"
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Verification:
    """What was compared, and what differs."""

    calls: int
    tokens: int
    bound: float  # of attention's error, in units of the largest value attended to
    attention_errors: list[float]  # the largest of each layer, in that unit
    difference_count: int
    differences: list[Difference]  # the first of them

    @property
    def is_equal(self) -> bool:
        return self.difference_count == 0


class _Call(NamedTuple):
    """One layer's attention in one forward pass."""

    query: torch.Tensor
    keys: torch.Tensor
    values: torch.Tensor
    scaling: float
    softcap: float | None
    out: torch.Tensor


def verify(model: torch.nn.Module, windows: torch.Tensor, packed: KittyCache) -> Verification:
    """Feeds ``windows``, int64 ``[B, T]``, to ``model`` through ``packed``, an empty cache, and compares after every call.

    Args:
        model: under the ``kitty`` attention.

    Raises:
        UnsupportedError: the packed cache cannot hold this config or model.
    """
    check = _Check(model, packed)
    windows = windows.to(model.device)
    with torch.inference_mode():
        for start, end in verification_spans(windows.shape[1], packed.config):
            model(windows[:, start:end], past_key_values=packed, use_cache=True)
            check.compare()
    return check.result(windows.numel())


def verification_spans(length: int, config: KittyConfig) -> Iterator[tuple[int, int]]:
    """Calls of every kind: a long one over pages, single tokens around the end of the last page, and pages."""
    ends = [end for _, end in call_spans(length, config)]
    last_page = ends[-2] if len(ends) > 1 else length
    first_single = max(0, last_page - SINGLE_STEPS // 2)
    cuts = {first_single * 2 // 3, *range(first_single, min(length, first_single + SINGLE_STEPS) + 1), length} - {0}
    start = 0
    for end in sorted(cuts):
        yield start, end
        start = end


class _Check:
    """Collects what layers attend to during a forward pass and compares it afterwards."""

    def __init__(self, model: torch.nn.Module, packed: KittyCache) -> None:
        self._packed = packed
        weights = None if packed.pages.weights is None else packed.pages.weights.tensor
        self._simulated = SimulatedCache(model.config, packed.config, channel_weights=weights)
        self._pass: dict[int, _Call] = {}
        self._calls = 0
        self._bound = OUTPUT_BOUNDS[model.dtype]
        self._errors = [0.0] * len(packed.layers)
        self._found: dict[tuple[Any, ...], Difference] = {}
        for index, layer in enumerate(packed.layers):
            # What a sliding window reaches is held in full precision by both.
            if isinstance(layer, KittyLayer):
                layer.attend = functools.partial(self._attend, index, layer.attend)

    def compare(self) -> None:
        """Compares the pass that has just ended."""
        self._calls += 1
        for index, call in sorted(self._pass.items()):
            self._compare_output(index, call)
            self._simulated.update(call.keys, call.values, index)
            packed, simulated = self._packed.dequantize(index), self._simulated.dequantize(index)
            for what, ours, theirs in zip(("keys", "values"), packed, simulated, strict=True):
                self._compare_held(what, index, ours, theirs)
        self._pass.clear()

    def result(self, tokens: int) -> Verification:
        found = sorted(self._found.values(), key=_order)
        return Verification(self._calls, tokens, self._bound, self._errors, len(found), found[:MAX_DIFFERENCES])

    def _attend(
        self,
        index: int,
        attend: Callable[..., torch.Tensor],
        query: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        *,
        scaling: float,
        softcap: float | None = None,
        **options: Any,
    ) -> torch.Tensor:
        out = attend(query, keys, values, scaling=scaling, softcap=softcap, **options)
        self._pass[index] = _Call(query, keys, values, scaling, softcap, out)
        return out

    def _compare_output(self, index: int, call: _Call) -> None:
        """Holds an output to exact attention over what the simulated cache holds and the call's own tokens."""
        keys, values = call.keys.double(), call.values.double()
        if past := self._simulated.get_seq_length(index):
            held = self._simulated.dequantize(index)
            keys, values = (torch.cat((old.double(), new), 2) for old, new in zip(held, (keys, values), strict=True))
        want = exact_attention(call.query, keys, values, call.scaling, call.softcap)
        largest = values.abs().amax((2, 3)).repeat_interleave(want.shape[1] // values.shape[1], 1)  # [B, HQ]
        error = (call.out.double() - want).abs() / largest[:, :, None, None]
        # An output that is not a number is as wrong as can be.
        error = torch.where(error.isfinite(), error, torch.inf)
        self._errors[index] = max(self._errors[index], error.max().item())
        self._collect("attention", index, error > self._bound, call.out, want, first_token=past)

    def _compare_held(self, what: str, index: int, packed: torch.Tensor, simulated: torch.Tensor) -> None:
        self._collect(what, index, packed != simulated, packed, simulated)

    def _collect(
        self,
        what: str,
        layer: int,
        differs: torch.Tensor,
        packed: torch.Tensor,
        simulated: torch.Tensor,
        first_token: int = 0,
    ) -> None:
        """Remembers where ``[B, H, T, D]`` differ: once a page, and once a head for outputs."""
        by_token = differs.sum(-1)  # [B, H, T]
        places: dict[tuple[Any, ...], list[tuple[int, int, int]]] = {}
        for row, head, token in by_token.nonzero().tolist():
            page = None if what == "attention" else self._page(first_token + token)
            places.setdefault((what, layer, row, head, page), []).append((row, head, token))
        for place in places.keys() - self._found.keys():
            first, elements = places[place][0], sum(by_token[at].item() for at in places[place])
            row, head, token = first
            channel = differs[first].int().argmax().item()
            at = (*first, channel)
            self._found[place] = Difference(
                what=what,
                layer=layer,
                row=row,
                head=head,
                token=first_token + token,
                page=place[-1],
                channel=channel,
                packed=packed[at].item(),
                simulated=simulated[at].item(),
                elements=elements,
            )

    def _page(self, token: int) -> int | None:
        config = self._packed.config
        return (token - config.sink_tokens) // config.page_size if token >= config.sink_tokens else None


def _order(difference: Difference) -> tuple[Any, ...]:
    """What is held comes before what was computed from it."""
    return (
        difference.what == "attention",
        difference.layer,
        difference.what,
        difference.row,
        difference.head,
        difference.token,
    )
