"""One layer's cache: appends real tokens, flushes full pages into the pools, shows itself to attention."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from kitty_kernels.decode_attention.api import decode_attention
from kitty_kernels.dequantize.api import CacheView, dequantize_row

from ..config import KittyConfig
from ..errors import CacheError, ConfigError
from ..quant import check_packable, pack_key_pages, pack_value_pages
from .dense_attention import dense_attention
from .pool import PagePool
from .row import Row


class KittyLayer:
    """Keys and values of one attention layer for a batch of rows of any lengths.

    Args:
        config: what is quantized, and how.
    """

    def __init__(self, config: KittyConfig) -> None:
        self.config = config
        self.clear()

    def clear(self) -> None:
        """Forgets everything, the batch size included."""
        self.rows: list[Row] = []
        self.slots = 0  # positions seen, padding included: what Transformers calls the sequence length
        self.key_pool = PagePool()
        self.value_pool = PagePool()

    @property
    def lengths(self) -> list[int]:
        """Real tokens of each row."""
        return [row.length for row in self.rows]

    def attend(
        self,
        query: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        *,
        scaling: float,
        real: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Attends the new tokens to the cache and to each other, then adds them to the cache.

        Args:
            query: ``[B, HQ, S, D]``.
            keys, values: ``[B, HKV, S, D]``, the call's own tokens, seen in full precision.
            scaling: factor of the scores.
            real: bool ``[B, S]``, False where a position is padding; None if all are real.

        Returns:
            ``[B, HQ, S, D]``; zero at padding.

        Raises:
            CacheError: the batch size differs from the cached one.
            ConfigError, UnsupportedError: the config cannot hold such keys.
        """
        self._open(keys)
        is_uniform = real is None and len(set(self.lengths)) == 1
        if is_uniform and self.rows[0].length == 0:
            out = dense_attention(query, keys, values, scaling)
            self.append(keys, values)
        elif is_uniform and not (self.config.quantizes_keys or self.config.quantizes_values):
            self.append(keys, values)
            out = dense_attention(query, *self.dequantize(dtype=keys.dtype), scaling)
        else:
            out = self._attend_rows(query, keys, values, scaling, real)
            self.append(keys, values, real)
        return out

    def append(self, keys: torch.Tensor, values: torch.Tensor, real: torch.Tensor | None = None) -> None:
        """Adds real tokens of ``[B, HKV, S, D]`` to their rows and quantizes what is due."""
        self._open(keys)
        keys, values = keys.to(self._dtype), values.to(self._dtype)
        for index, row in enumerate(self.rows):
            chosen = slice(None) if real is None else real[index]
            row.append(keys[index][:, chosen], values[index][:, chosen], self.config.sink_tokens)
        self.slots += keys.shape[2]
        self._flush_keys()
        self._flush_values()

    def view(self, rows: Sequence[int] | None = None) -> CacheView:
        """What the attention operation reads, for the given rows or all."""
        chosen = [self.rows[index] for index in (range(len(self.rows)) if rows is None else rows)]
        device = self._device
        return CacheView(
            sink_keys=_stack([row.sink_keys for row in chosen]),
            sink_values=_stack([row.sink_values for row in chosen]),
            sink_counts=_counts([row.sink_keys.shape[1] for row in chosen], device),
            key_pages=self.key_pool.pages,
            key_table=_table([row.key_ids for row in chosen], device),
            key_page_counts=_counts([len(row.key_ids) for row in chosen], device),
            tail_keys=_stack([row.tail_keys for row in chosen]),
            tail_key_counts=_counts([row.tail_keys.shape[1] for row in chosen], device),
            value_pages=self.value_pool.pages,
            value_table=_table([row.value_ids for row in chosen], device),
            value_page_counts=_counts([len(row.value_ids) for row in chosen], device),
            tail_values=_stack([row.tail_values for row in chosen]),
            tail_value_counts=_counts([row.tail_values.shape[1] for row in chosen], device),
        )

    def dequantize(self, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values as attention sees them, ``[B, HKV, T, D]``; rows shorter than T end in zeros."""
        if not self.config.quantizes_keys and not self.config.quantizes_values:
            keys = [torch.cat((row.sink_keys, row.tail_keys), 1) for row in self.rows]
            values = [torch.cat((row.sink_values, row.tail_values), 1) for row in self.rows]
        else:
            view = self.view()
            history = [dequantize_row(view, index) for index in range(len(self.rows))]
            keys, values = ([pair[side] for pair in history] for side in (0, 1))
        return _stack(keys).to(dtype), _stack(values).to(dtype)

    def select_rows(self, indices: Sequence[int]) -> None:
        """Makes the rows at ``indices`` the new batch, in that order, sharing pages and never copying them."""
        old = self.rows
        self.rows = [old[index].copy() for index in indices]
        for row in self.rows:
            self.key_pool.retain(row.key_ids)
            self.value_pool.retain(row.value_ids)
        for row in old:
            self.key_pool.release(row.key_ids)
            self.value_pool.release(row.value_ids)

    def _open(self, keys: torch.Tensor) -> None:
        """Learns shapes from the first tokens and holds later ones to them."""
        batch, kv_heads, _, head_dim = keys.shape
        if not self.rows:
            check_packable(self.config, head_dim)
            quantizes = self.config.quantizes_keys or self.config.quantizes_values
            self._dtype = torch.float16 if quantizes and keys.dtype.itemsize > 2 else keys.dtype
            self._device = keys.device
            self.rows = [Row.empty(kv_heads, head_dim, self._dtype, keys.device) for _ in range(batch)]
        wanted = (len(self.rows), *self.rows[0].sink_keys.shape[::2])
        if (batch, kv_heads, head_dim) != wanted:
            raise CacheError(
                f"Cannot add tokens to this cache: it holds {wanted[0]} rows of {wanted[1]} heads x {wanted[2]} "
                f"channels, got {batch} rows of {kv_heads} x {head_dim}; use one cache per batch "
                "and model, or reset() it."
            )
        if keys.device != self._device:
            raise ConfigError(f"Cannot add tokens to this cache: it lies on {self._device}, they on {keys.device}.")

    def _attend_rows(
        self,
        query: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        scaling: float,
        real: torch.Tensor | None,
    ) -> torch.Tensor:
        if real is None:
            return decode_attention(query, self.view(), keys, values, scaling=scaling)
        out = torch.zeros_like(query)
        for index in range(len(self.rows)):
            chosen = real[index]
            if not bool(chosen.any()):
                continue
            q, k, v = (x[index : index + 1][:, :, chosen] for x in (query, keys, values))
            if self.rows[index].length == 0:
                attended = dense_attention(q, k, v, scaling)
            else:
                attended = decode_attention(q, self.view([index]), k, v, scaling=scaling)
            out[index, :, chosen] = attended[0]
        return out

    def _flush_keys(self) -> None:
        if not self.config.quantizes_keys:
            return
        page = self.config.page_size
        due = [row.tail_keys.shape[1] // page for row in self.rows]
        pages = [_cut(row.tail_keys, count, page) for row, count in zip(self.rows, due, strict=True) if count]
        if not pages:
            return
        ids = iter(self.key_pool.add(pack_key_pages(torch.cat(pages), self.config)))
        for row, count in zip(self.rows, due, strict=True):
            row.key_ids += tuple(next(ids) for _ in range(count))
            row.tail_keys = row.tail_keys[:, count * page :].clone() if count else row.tail_keys

    def _flush_values(self) -> None:
        if not self.config.quantizes_values:
            return
        page, recent = self.config.page_size, self.config.recent_tokens
        due = [max(0, row.tail_values.shape[1] - recent) // page for row in self.rows]
        pages = [_cut(row.tail_values, count, page) for row, count in zip(self.rows, due, strict=True) if count]
        if not pages:
            return
        ids = iter(self.value_pool.add(pack_value_pages(torch.cat(pages), self.config)))
        for row, count in zip(self.rows, due, strict=True):
            row.value_ids += tuple(next(ids) for _ in range(count))
            row.tail_values = row.tail_values[:, count * page :].clone() if count else row.tail_values


def _cut(tail: torch.Tensor, count: int, page: int) -> torch.Tensor:
    """The tail's first ``count`` pages: ``[HKV, t, D]`` to ``[count, HKV, page, D]``."""
    return tail[:, : count * page].unflatten(1, (count, page)).transpose(0, 1)


def _stack(parts: list[torch.Tensor]) -> torch.Tensor:
    """Stacks ``[HKV, n, D]`` of different n to ``[B, HKV, max n, D]``, zeros behind the shorter ones."""
    longest = max(part.shape[1] for part in parts)
    if all(part.shape[1] == longest for part in parts):
        return parts[0].unsqueeze(0) if len(parts) == 1 else torch.stack(parts)
    out = parts[0].new_zeros(len(parts), parts[0].shape[0], longest, parts[0].shape[2])
    for index, part in enumerate(parts):
        out[index, :, : part.shape[1]] = part
    return out


def _counts(values: list[int], device: torch.device) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.int32, device=device)


def _table(ids: list[tuple[int, ...]], device: torch.device) -> torch.Tensor:
    """Page ids as int32 ``[B, P]``, zeros behind the shorter rows."""
    width = max(len(row) for row in ids)
    return torch.tensor([row + (0,) * (width - len(row)) for row in ids], dtype=torch.int32, device=device)
