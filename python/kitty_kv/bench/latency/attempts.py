"""What is to be measured, one row after another, and what becomes of each."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch

from ...hf.timed_generation import forget_generation
from .peers import Peer
from .row import LatencyRow
from .timed import Timed


@dataclasses.dataclass(slots=True)
class Attempt:
    """One row to be.

    Args:
        part: ``step``, ``budget`` or ``prefill``.
        peer: how to generate.
        batch: rows; None until ``run`` has found it out.
        prompt_tokens, new_tokens: of each row.
        run: measures, and sets ``batch``.
    """

    part: str
    peer: Peer
    batch: int | None
    prompt_tokens: int
    new_tokens: int
    run: Callable[[Attempt], Timed]


class Clock:
    """Seconds since the command began.

    Args:
        limit_s: nothing begins after so many; None for no limit.
    """

    def __init__(self, limit_s: float | None = None) -> None:
        self._began = time.monotonic()
        self._limit_s = limit_s

    @property
    def is_over(self) -> bool:
        return self._limit_s is not None and time.monotonic() - self._began > self._limit_s

    def say(self, text: str) -> None:
        """A line on stderr."""
        print(f"[{time.monotonic() - self._began:7.1f} s] {text}", file=sys.stderr, flush=True)


def measured(model: Any, attempts: Iterable[Attempt], clock: Clock) -> Iterator[LatencyRow]:
    """Each attempt's row; whatever goes wrong becomes the row's ``reason``, and the next one begins."""
    for attempt in attempts:
        clock.say(f"{_name(attempt)} …")
        row = _row(model, attempt, clock)
        clock.say(f"{_name(attempt)}: {_said(row)}")
        yield row


def _row(model: Any, attempt: Attempt, clock: Clock) -> LatencyRow:
    reason = "time limit" if clock.is_over else attempt.peer.reason_against(model.device)
    found: dict[str, Any] = {"reason": reason}
    is_cuda = model.device.type == "cuda"
    if reason is None:
        if is_cuda:
            torch.cuda.reset_peak_memory_stats()
        try:
            found = _figures(attempt.run(attempt), attempt.batch)
            if is_cuda:
                found |= _peak(model)
        # Other people's caches raise what they like, and the rows that follow are worth having.
        except Exception as error:  # noqa: BLE001
            found = {"reason": _reason(error)}
        forget_generation(model)
    return LatencyRow(
        attempt.part, attempt.peer.name, attempt.batch, attempt.prompt_tokens, attempt.new_tokens, **found
    )


def _figures(timed: Timed, batch: int) -> dict[str, Any]:
    found: dict[str, Any] = {"cache_bytes": timed.cache_bytes}
    if timed.first_token_s is not None:
        found["first_token_ms"] = timed.first_token_s * 1e3
    if timed.step_s is not None:
        found |= {"step_ms": timed.step_s * 1e3, "tokens_per_second": batch / timed.step_s}
    return found


def _peak(model: Any) -> dict[str, int]:
    peak = torch.cuda.max_memory_allocated()
    weights = sum(parameter.nbytes for parameter in model.parameters())
    return {"peak_bytes": peak, "above_weights_bytes": peak - weights}


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines() or ["it said nothing"]
    return f"{type(error).__name__}: {lines[0][:160]}"


def _name(attempt: Attempt) -> str:
    batch = "?" if attempt.batch is None else attempt.batch
    return f"{attempt.part} {batch} x {attempt.prompt_tokens} {attempt.peer.name}"


def _said(row: LatencyRow) -> str:
    if row.reason is not None:
        return row.reason
    said = [] if row.first_token_ms is None else [f"first token after {row.first_token_ms:.0f} ms"]
    if row.step_ms is not None:
        said.append(f"{row.step_ms:.2f} ms a step, {row.tokens_per_second:.0f} tokens/s")
    return ", ".join(said)
