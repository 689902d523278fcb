"""What is measured, as plain data."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class LatencyRow:
    """What was measured of one peer at one shape.

    Args:
        part: ``step``, ``budget`` or ``prefill``.
        peer: its name.
        batch: rows; None where it was not found out.
        prompt_tokens, new_tokens: of each row.
        first_token_ms: from the call to the first token of all rows.
        step_ms: median of the further steps.
        tokens_per_second: of all rows in the further steps.
        peak_bytes: most memory that torch held on the GPU; None on a CPU.
        above_weights_bytes: the same without the model's weights.
        cache_bytes: what the cache had allocated at the end, for all rows.
        reason: why nothing was measured, else None.
    """

    part: str
    peer: str
    batch: int | None
    prompt_tokens: int
    new_tokens: int
    first_token_ms: float | None = None
    step_ms: float | None = None
    tokens_per_second: float | None = None
    peak_bytes: int | None = None
    above_weights_bytes: int | None = None
    cache_bytes: int | None = None
    reason: str | None = None
