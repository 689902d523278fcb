"""A decode step as a CUDA graph: append, pack what is full, attend; lengths, jobs and counts change on the device."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from plain_cache import PlainCache, random_rows

from kitty_kernels.append.api import append
from kitty_kernels.decode_attention.api import decode_attention
from kitty_kernels.dequantize.api import dequantize_view
from kitty_kernels.pack.api import pack_cached
from kitty_kernels.pages import CacheView

PAGE, SINKS, RECENT, BOOSTED, HEADS, GROUP = 128, 32, 128, 32, 2, 4
# Rows that leave the sinks, fill a page of keys, and fill one of each while they are stepped.
STARTS = (0, 31, 150, 287, 400)
STEPS = 24


@dataclasses.dataclass
class Decode:
    """Fixed tensors that a step reads, and rows of tokens that it gets one by one."""

    view: CacheView
    keys: list[torch.Tensor]
    values: list[torch.Tensor]
    query: torch.Tensor
    new: torch.Tensor  # [2, B, HKV, 1, D]
    first_new: torch.Tensor
    jobs: torch.Tensor  # [2, B, 3]
    counts: torch.Tensor  # [2, B], pages after the step

    def prepare(self, step: int) -> None:
        """What a scheduler does on the host before a step: everything goes into tensors that exist."""
        for row, start in enumerate(STARTS):
            token = start + step
            self.new[0, row, :, 0] = self.keys[row][:, token]
            self.new[1, row, :, 0] = self.values[row][:, token]
            for side, recent in enumerate((0, RECENT)):
                before, after = pages_of(token, recent), pages_of(token + 1, recent)
                table = (self.view.key_table, self.view.value_table)[side]
                destination = int(table[row, before]) if after > before else -1
                self.jobs[side, row] = torch.tensor([row, before, destination])
                self.counts[side, row] = after
        now = torch.tensor(STARTS, dtype=torch.int32) + step
        self.first_new.copy_(now)
        self.view.lengths.copy_(now + 1)
        generator = torch.Generator().manual_seed(step)
        self.query.copy_(torch.randn(self.query.shape, generator=generator))

    def run(self, impl: str) -> torch.Tensor:
        """The step itself, without a look at any length."""
        zeros, view = torch.zeros_like(self.first_new), self.view
        append(*self.new, view, first_new=self.first_new, starts=zeros, counts=zeros + 1, impl=impl)
        pack_cached(view, self.jobs[0], kind="keys", impl=impl)
        pack_cached(view, self.jobs[1], kind="values", impl=impl)
        view.key_page_counts.copy_(self.counts[0])
        view.value_page_counts.copy_(self.counts[1])
        return decode_attention(self.query, view, scaling=128**-0.5, impl=impl)


def pages_of(tokens: int, recent: int) -> int:
    return max(0, tokens - SINKS - recent) // PAGE


def make(device: torch.device) -> Decode:
    lengths = [start + STEPS for start in STARTS]
    keys, values = (random_rows(lengths, HEADS, 128, torch.float16, seed) for seed in (1, 2))
    cut = [[row[:, :start] for row, start in zip(side, STARTS, strict=True)] for side in (keys, values)]
    counts = [[pages_of(start, recent) for start in STARTS] for recent in (0, RECENT)]
    view = PlainCache(*cut, *counts, SINKS, BOOSTED).view(device)
    # Room for the pages to come, behind those that are there.
    rows, room = len(STARTS), max(lengths) // PAGE + 1
    tables = {}
    for kind, count in (("key", counts[0]), ("value", counts[1])):
        pages, table = getattr(view, f"{kind}_pages"), getattr(view, f"{kind}_table")
        ids = pages.shape[0] + torch.arange(rows * room, dtype=torch.int32, device=device).view(rows, room)
        for row in range(rows):
            ids[row, : count[row]] = table[row, : count[row]]
        grown = torch.zeros(pages.shape[0] + rows * room, *pages.shape[1:], dtype=torch.uint8, device=device)
        grown[: pages.shape[0]] = pages
        tables |= {f"{kind}_pages": grown, f"{kind}_table": ids}
    return Decode(
        view._replace(**tables),
        keys,
        values,
        torch.zeros(rows, HEADS * GROUP, 1, 128, dtype=torch.float16, device=device),
        torch.zeros(2, rows, HEADS, 1, 128, dtype=torch.float16, device=device),
        torch.zeros(rows, dtype=torch.int32, device=device),
        torch.zeros(2, rows, 3, dtype=torch.int32, device=device),
        torch.zeros(2, rows, dtype=torch.int32, device=device),
    )


def test_steps_leave_the_cache_that_the_rules_ask_for():
    decode = make(torch.device("cpu"))
    for step in range(STEPS):
        decode.prepare(step)
        decode.run("reference")
    lengths = [start + STEPS for start in STARTS]
    counts = [[pages_of(length, recent) for length in lengths] for recent in (0, RECENT)]
    want = PlainCache(decode.keys, decode.values, *counts, SINKS, BOOSTED).dense(max(lengths))
    found = dequantize_view(decode.view, tokens=max(lengths), impl="reference")
    for side in range(2):
        assert torch.equal(found[side], torch.from_numpy(want[side]))


@pytest.mark.gpu
def test_replays_of_one_graph_equal_calls_at_every_length():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    device = torch.device("cuda")
    plain, captured = make(device), make(device)
    # Compiles, on a cache that is thrown away; a step twice would pack other pages.
    warm = make(device)
    warm.prepare(0)
    warm.run("triton")
    captured.prepare(0)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = captured.run("triton")
    out.fill_(float("nan"))
    for step in range(STEPS):
        plain.prepare(step)
        captured.prepare(step)
        want = plain.run("triton")
        graph.replay()
        assert want.isfinite().all()
        assert torch.equal(out, want), f"step {step}"
    for name in ("key_pages", "value_pages"):
        assert torch.equal(getattr(captured.view, name), getattr(plain.view, name)), name
