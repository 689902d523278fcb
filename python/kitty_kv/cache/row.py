"""One sequence's part of a layer: sinks, page ids and tails, in token order."""

from __future__ import annotations

import dataclasses

import torch


@dataclasses.dataclass(slots=True)
class Row:
    """Real tokens of one sequence in one layer.

    Tensors are never written in place, so rows may share them: a copied row costs nothing until it grows.
    """

    sink_keys: torch.Tensor  # 16-bit [HKV, <= sink_tokens, D]
    sink_values: torch.Tensor
    tail_keys: torch.Tensor  # 16-bit [HKV, t, D], behind the key pages
    tail_values: torch.Tensor
    key_ids: tuple[int, ...] = ()
    value_ids: tuple[int, ...] = ()
    length: int = 0

    @classmethod
    def empty(cls, kv_heads: int, head_dim: int, dtype: torch.dtype, device: torch.device) -> Row:
        nothing = torch.empty(kv_heads, 0, head_dim, dtype=dtype, device=device)
        return cls(nothing, nothing, nothing, nothing)

    @property
    def full_precision_bytes(self) -> int:
        parts = (self.sink_keys, self.sink_values, self.tail_keys, self.tail_values)
        return sum(part.nbytes for part in parts)

    def append(self, keys: torch.Tensor, values: torch.Tensor, sink_tokens: int) -> None:
        """Adds tokens ``[HKV, n, D]``: the first ``sink_tokens`` of the row are sinks, the others join the tails."""
        self.length += keys.shape[1]
        room = sink_tokens - self.sink_keys.shape[1]
        if room > 0:
            self.sink_keys = torch.cat((self.sink_keys, keys[:, :room]), dim=1)
            self.sink_values = torch.cat((self.sink_values, values[:, :room]), dim=1)
            keys, values = keys[:, room:], values[:, room:]
        if keys.shape[1]:
            self.tail_keys = torch.cat((self.tail_keys, keys), dim=1)
            self.tail_values = torch.cat((self.tail_values, values), dim=1)

    def copy(self) -> Row:
        return dataclasses.replace(self)
