"""Where the real tokens of a call lie in each row."""

from __future__ import annotations

import dataclasses

import torch

_ATTRIBUTE = "_kitty_spans"


@dataclasses.dataclass(frozen=True, slots=True)
class Spans:
    """Row b's real tokens are ``starts[b]`` to ``starts[b] + counts[b] - 1``.

    ``order`` is None, or int64 ``[B, S]`` on the device: the order of positions in which that is so, for masks with
    padding between real tokens.
    """

    starts: list[int]
    counts: list[int]
    order: torch.Tensor | None = None

    @classmethod
    def whole(cls, rows: int, new_tokens: int) -> Spans:
        return cls([0] * rows, [new_tokens] * rows)

    @classmethod
    def of(cls, real: torch.Tensor) -> Spans:
        """Reads a mask bool ``[B, S]``; waits for the device the first time."""
        known = getattr(real, _ATTRIBUTE, None)
        if known is None:
            known = cls._read(real.bool())
            # Every layer of a pass gets the same mask.
            setattr(real, _ATTRIBUTE, known)
        return known

    def tell(self, real: torch.Tensor) -> None:
        """Says that ``real`` has these spans, as a copy of their mask on another device does."""
        setattr(real, _ATTRIBUTE, self)

    @classmethod
    def _read(cls, real: torch.Tensor) -> Spans:
        new_tokens = real.shape[1]
        if not new_tokens:
            return cls.whole(*real.shape)
        position = torch.arange(new_tokens, device=real.device)
        starts = torch.where(real, position, new_tokens).amin(1)
        ends = torch.where(real, position, -1).amax(1) + 1
        starts, ends, counts = torch.stack((starts, ends, real.sum(1))).tolist()
        if any(count and end - start != count for start, end, count in zip(starts, ends, counts, strict=True)):
            return cls([0] * len(counts), counts, real.logical_not().sort(dim=1, stable=True).indices)
        return cls([start if count else 0 for start, count in zip(starts, counts, strict=True)], counts)
