"""Which positions of a batch are real tokens: Transformers counts positions, the cache holds real tokens only."""

from __future__ import annotations

from collections.abc import Sequence

import torch


class SlotMap:
    """Positions ("slots") that a batch has seen, padding included."""

    def __init__(self) -> None:
        self.count = 0
        self._real: torch.Tensor | None = None  # bool [B, n] of the first n slots; all later ones are real

    @property
    def has_padding(self) -> bool:
        return self._real is not None

    def add(self, new_tokens: int, real: torch.Tensor | None) -> None:
        """Appends ``new_tokens`` positions; ``real`` bool ``[B, S]``, None if all are."""
        if real is not None:
            self._real = torch.cat((self.real(real.shape[0], real.device), real), dim=1)
        self.count += new_tokens

    def real(self, rows: int, device: torch.device) -> torch.Tensor:
        """Bool ``[B, count]``."""
        known = torch.ones(rows, 0, dtype=torch.bool) if self._real is None else self._real
        rest = torch.ones(rows, self.count - known.shape[1], dtype=torch.bool, device=device)
        return torch.cat((known.to(device), rest), dim=1)

    def tokens_before(self, slots: int, rows: int) -> list[int]:
        """Real tokens of each row among the first ``slots`` positions."""
        if self._real is None:
            return [slots] * rows
        known = self._real[:, :slots]
        return [count + slots - known.shape[1] for count in known.sum(1).tolist()]

    def is_padded_inside(self) -> bool:
        """Whether padding follows a real token anywhere; waits for the device."""
        return self._real is not None and bool(
            (self._real[:, :-1] & ~self._real[:, 1:]).any() | ~self._real[:, -1].all()
        )

    def spread(self, tokens: torch.Tensor) -> torch.Tensor:
        """Real tokens ``[B, H, T, D]`` at their positions, ``[B, H, count, D]``, zeros at padding."""
        if self._real is None:
            return tokens
        real = self.real(tokens.shape[0], tokens.device)
        index = (real.cumsum(1) - 1).clamp_min(0)[:, None, :, None]
        spread = tokens.gather(2, index.expand(-1, tokens.shape[1], -1, tokens.shape[3]))
        return spread.masked_fill(~real[:, None, :, None], 0)

    def crop(self, slots: int) -> None:
        """Forgets all but the first ``slots`` positions."""
        self.count = slots
        if self._real is not None:
            self._real = self._real[:, :slots]

    def select_rows(self, indices: Sequence[int]) -> None:
        """Makes the rows at ``indices`` the new batch."""
        if self._real is not None:
            self._real = self._real[list(indices)]
