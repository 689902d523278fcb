"""When a device was busy, from a profiler's trace."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

from .kernel_groups import GROUPS, group_of

_GPU = ("kernel", "gpu_memcpy", "gpu_memset")
_CPU = ("cpu_op",)
_GAP_US = 10.0


@dataclasses.dataclass(frozen=True, slots=True)
class Span:
    """Something that ran.

    Args:
        name: kernel or operation.
        start_us, end_us: by the trace's clock.
        self_us: its time without that of operations inside it.
    """

    name: str
    start_us: float
    end_us: float
    self_us: float


def read_spans(trace: pathlib.Path, *, is_cuda: bool) -> list[Span]:
    """GPU kernels and copies of a Chrome trace, or on a CPU the operations of the thread that ran most of them."""
    wanted = _GPU if is_cuda else _CPU
    events = [event for event in json.loads(trace.read_text())["traceEvents"] if event.get("cat") in wanted]
    if is_cuda:
        return [
            Span(event["name"], event["ts"], event["ts"] + event["dur"], event["dur"]) for event in _ordered(events)
        ]
    threads: dict[Any, list[dict[str, Any]]] = {}
    for event in events:
        threads.setdefault(event["tid"], []).append(event)
    return _nested(max(threads.values(), key=len, default=[]))


def busy_us(spans: Iterable[Span]) -> tuple[float, list[float]]:
    """How long anything ran, and each pause in between."""
    total, end, gaps = 0.0, None, []
    for span in sorted(spans, key=lambda span: span.start_us):
        if end is not None and span.start_us > end:
            gaps.append(span.start_us - end)
        start = span.start_us if end is None else max(span.start_us, end)
        total += max(0.0, span.end_us - start)
        end = span.end_us if end is None else max(end, span.end_us)
    return total, gaps


def figures(spans: Sequence[Span], steps: int, wall_ms: float) -> dict[str, Any]:
    """JSON-like: busy share, pauses and a row for each group, times in milliseconds a step.

    Args:
        spans: of all steps.
        steps: how many.
        wall_ms: of all steps, by the host's clock.
    """
    busy, gaps = busy_us(spans)
    long = [gap for gap in gaps if gap >= _GAP_US]
    groups = []
    for group in GROUPS:
        inside = [span for span in spans if group_of(span.name) == group]
        spent = sum(span.self_us for span in inside) / 1e3
        groups.append(
            {
                "group": group,
                "msPerStep": spent / steps,
                "shareOfStep": spent / wall_ms,
                "countPerStep": len(inside) / steps,
                "longest": _longest(inside, steps),
            }
        )
    return {
        "steps": steps,
        "msPerStep": wall_ms / steps,
        "busyMsPerStep": busy / 1e3 / steps,
        "busyShare": busy / 1e3 / wall_ms,
        "gapsPerStep": len(long) / steps,
        "gapMsPerStep": sum(long) / 1e3 / steps,
        "longestGapMs": max(long, default=0.0) / 1e3,
        "gapThresholdUs": _GAP_US,
        "groups": groups,
    }


def _longest(spans: Iterable[Span], steps: int) -> list[dict[str, Any]]:
    """The names that took most, with milliseconds a step."""
    spent: dict[str, float] = {}
    for span in spans:
        spent[span.name] = spent.get(span.name, 0.0) + span.self_us
    most = sorted(spent.items(), key=lambda item: -item[1])[:3]
    return [{"name": name, "msPerStep": us / 1e3 / steps} for name, us in most]


def _nested(events: Sequence[dict[str, Any]]) -> list[Span]:
    """Spans of one thread, whose operations lie inside one another."""
    inside = [0.0] * len(events)
    ordered, open_events = _ordered(events), []
    for at, event in enumerate(ordered):
        while open_events and ordered[open_events[-1]]["ts"] + ordered[open_events[-1]]["dur"] <= event["ts"]:
            open_events.pop()
        if open_events:
            inside[open_events[-1]] += event["dur"]
        open_events.append(at)
    return [
        Span(event["name"], event["ts"], event["ts"] + event["dur"], max(0.0, event["dur"] - within))
        for event, within in zip(ordered, inside, strict=True)
    ]


def _ordered(events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(events, key=lambda event: (event["ts"], -event["dur"]))
