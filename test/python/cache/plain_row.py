"""One row of one layer as the contract has it, in NumPy: what is packed, and what cropping leaves."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy_codec import quantized, quantized_keys

from kitty_kv import KittyConfig

HEADS, DIM, PAGE, UNDO = 2, 32, 128, 64


def _nothing() -> np.ndarray:
    return np.zeros((HEADS, 0, DIM), np.float16)


@dataclasses.dataclass
class CroppedRow:
    """Tokens ``[HEADS, T, DIM]`` as 16 bits hold them; ``keys_from`` and ``values_from``: pages before these are gone."""

    config: KittyConfig
    keys: np.ndarray = dataclasses.field(default_factory=_nothing)
    values: np.ndarray = dataclasses.field(default_factory=_nothing)
    keys_from: int = 0
    values_from: int = 0
    weights: np.ndarray | None = None  # of the layer's channels, [HEADS, DIM]

    @property
    def length(self) -> int:
        return self.keys.shape[1]

    def pages(self, side: str, length: int) -> int:
        is_packed = (self.config.k_bits if side == "keys" else self.config.v_bits) == 2
        behind = length - self.config.sink_tokens - (self.config.recent_tokens if side == "values" else 0)
        return max(0, behind) // PAGE if is_packed else 0

    def feed(self, keys: np.ndarray, values: np.ndarray) -> None:
        if not keys.shape[1]:
            return
        past = self.length
        self.keys, self.values = np.concatenate((self.keys, keys), 1), np.concatenate((self.values, values), 1)
        for side in ("keys", "values"):
            gone = max(self.pages(side, past), self.pages(side, self.length - UNDO))
            setattr(self, f"{side}_from", gone)

    def crop(self, length: int) -> None:
        held = dict(zip(("keys", "values"), self.held(), strict=True))
        for side in ("keys", "values"):
            tokens, gone = getattr(self, side).copy(), getattr(self, f"{side}_from")
            kept = self.pages(side, length)
            first, end = (self.config.sink_tokens + PAGE * page for page in (kept, gone))
            if first < end:  # only attention's view of these tokens is left
                tokens[:, first:end] = held[side][:, first:end].astype(np.float16)
            setattr(self, side, tokens[:, :length])
            setattr(self, f"{side}_from", min(gone, kept))

    def held(self) -> tuple[np.ndarray, np.ndarray]:
        """What attention sees, float32."""
        keys, values = self.keys.astype(np.float32), self.values.astype(np.float32)
        for page in range(self.pages("keys", self.length)):
            at = self._page(page)
            for head in range(HEADS):
                weights = None if self.weights is None else self.weights[head]
                keys[head, at] = quantized_keys(keys[head, at], int(self.config.boost_ratio * DIM), weights)
        for page in range(self.pages("values", self.length)):
            at = self._page(page)
            values[:, at] = quantized(values[:, at], np.float32(3), axis=2)
        return keys, values

    def _page(self, page: int) -> slice:
        first = self.config.sink_tokens + PAGE * page
        return slice(first, first + PAGE)
