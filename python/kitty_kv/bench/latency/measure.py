"""Times one way of generating: the first token, every further step, and memory."""

from __future__ import annotations

import dataclasses
import gc
import itertools
import statistics
from typing import Any

import torch

from ...hf.timed_generation import timed_generation
from .peers import Peer

# The first steps compile and warm up.
WARM_UP_STEPS = 4


@dataclasses.dataclass(frozen=True, slots=True)
class LatencyRow:
    """What was measured of one peer at one shape.

    Args:
        peer: its name.
        batch, prompt_tokens, new_tokens: the shape.
        first_token_ms: from the call to the first token of all rows.
        step_ms: median of the further steps.
        tokens_per_second: of all rows in the further steps.
        peak_bytes: most memory that torch held on the GPU, weights included; None on a CPU.
        reason: why nothing was measured, else None.
    """

    peer: str
    batch: int
    prompt_tokens: int
    new_tokens: int
    first_token_ms: float | None = None
    step_ms: float | None = None
    tokens_per_second: float | None = None
    peak_bytes: int | None = None
    reason: str | None = None


def measure(model: Any, peer: Peer, batch: int, prompt_tokens: int, new_tokens: int) -> LatencyRow:
    """Generates greedily from random prompts of one length; a failure becomes the row's ``reason``."""
    shape = (peer.name, batch, prompt_tokens, new_tokens)
    reason = peer.reason_against(model.device)
    if reason is not None:
        return LatencyRow(*shape, reason=reason)
    try:
        return _measure(model, peer, shape)
    except (RuntimeError, ValueError, TypeError, ImportError, NotImplementedError) as error:
        return LatencyRow(*shape, reason=f"{type(error).__name__}: {str(error).strip().splitlines()[0][:160]}")
    finally:
        gc.collect()
        if model.device.type == "cuda":
            torch.cuda.empty_cache()


def _measure(model: Any, peer: Peer, shape: tuple[str, int, int, int]) -> LatencyRow:
    _, batch, prompt_tokens, new_tokens = shape
    device = model.device
    generator = torch.Generator().manual_seed(0)
    prompts = torch.randint(3, model.config.vocab_size, (batch, prompt_tokens), generator=generator).to(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    # A shorter run first: what is compiled or tuned must not count as the first token.
    for count in (WARM_UP_STEPS, new_tokens):
        times = timed_generation(model, prompts, count, peer.attention, **peer.arguments(model))
    step = statistics.median(later - earlier for earlier, later in itertools.pairwise(times))
    return LatencyRow(
        *shape,
        first_token_ms=times[0] * 1e3,
        step_ms=step * 1e3,
        tokens_per_second=batch / step,
        peak_bytes=torch.cuda.max_memory_allocated() if device.type == "cuda" else None,
    )
