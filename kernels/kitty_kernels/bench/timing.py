"""Time on the GPU: replays of a CUDA graph over inputs that its second-level cache does not hold."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence

import torch

# A call's inputs lie this many cache sizes apart before they are read again.
CACHE_SIZES_APART = 4
# Starting a graph takes some microseconds; shared among this many calls they no longer count.
CALLS_PER_GRAPH = 16
MOST_CALLS = 512


def copies_needed(input_bytes: int, cache_bytes: int) -> int:
    """How many different inputs to rotate so that none is still in the cache when it comes again."""
    return min(MOST_CALLS, max(1, math.ceil(CACHE_SIZES_APART * cache_bytes / max(1, input_bytes))))


def calls_per_graph(copies: int) -> int:
    """A multiple of ``copies`` that is at least ``CALLS_PER_GRAPH``."""
    return copies * math.ceil(CALLS_PER_GRAPH / copies)


def graph_ms(calls: Sequence[Callable[[], object]], replays: int) -> float:
    """Median milliseconds of one call, ``calls`` being captured in turn in one CUDA graph.

    Args:
        calls: the same work on different inputs; nothing in them may wait for the GPU.
        replays: how often the graph is timed.
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for call in calls[:2]:
            call()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    captured = [calls[i % len(calls)] for i in range(calls_per_graph(len(calls)))]
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for call in captured:
            call()
    times = []
    for replay in range(replays + 3):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        # The first ones find clocks and caches as something else left them.
        if replay >= 3:
            times.append(start.elapsed_time(end) / len(captured))
    return statistics.median(times)


def plain_ms(call: Callable[[], object]) -> float:
    """Median milliseconds by Triton's do_bench: no graph, the cache overwritten before each call."""
    from triton.testing import do_bench

    return do_bench(call, warmup=20, rep=80, return_mode="median")


def copy_bytes_per_ms(device: torch.device, size: int = 2**31) -> float:
    """Bandwidth of a device-to-device copy, bytes read and written."""
    source = torch.empty(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / plain_ms(lambda: target.copy_(source))


def cache_bytes(device: torch.device) -> int:
    """Size of the second-level cache."""
    return torch.cuda.get_device_properties(device).L2_cache_size


def free_bytes(device: torch.device) -> int:
    """Memory that nothing holds."""
    return torch.cuda.mem_get_info(device)[0]
