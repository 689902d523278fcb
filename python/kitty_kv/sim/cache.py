"""``SimulatedCache``: a Transformers cache that rounds keys and values as a quantized cache would, at any bit width."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import torch

from ..config import KittyConfig
from ..errors import CacheError, ConfigError, UnsupportedError
from ..hf.query_weights import needs_weights
from ..hf.stock_cache import MaskedCache, PretrainedConfig
from .codec import encode_keys, encode_values
from .layer_kinds import has_full_attention
from .rows import RowMap


class Held(NamedTuple):
    """What one layer holds: ``[B, HKV, T, D]`` over all positions seen, padding included."""

    keys: torch.Tensor
    values: torch.Tensor


@dataclasses.dataclass(frozen=True, slots=True)
class Scope:
    """What of a cache is rounded; all else is held in full precision.

    Args:
        layer: its number; None for all.
        side: ``keys`` or ``values``; None for both.
        head: a KV head; None for all.
    """

    layer: int | None = None
    side: str | None = None
    head: int | None = None

    def holds(self, layer: int, side: int) -> bool:
        """Whether anything of a layer's keys (0) or values (1) is rounded."""
        return self.layer in (None, layer) and self.side in (None, ("keys", "values")[side])


class SimulatedCache(MaskedCache):
    """Fake-quantized keys and values for one batch, under any attention function of Transformers.

    What ``KittyCache`` stores packed this one stores rounded: nothing gets smaller, but every bit width, page size and model
    can be tried. Attention inside one call sees that call's keys and values in full precision, later calls what is held.
    Layers that are not full attention are held in full precision.

    Args:
        model_config: the model's config.
        config: a ``KittyConfig``, or its fields as a dict.
        mask: bool or integer ``[B, T]``, zero at padding, as the model gets it as ``attention_mask``; positions behind T are
            real. Not needed without padding, nor after ``kitty_kv.install()``, which tells the cache every mask. Padding is
            never quantized, counts as no sink and fills no page.

        scope: rounds a part alone, to see what it costs.
        channel_weights: ``[full-attention layers, HKV, D]``, factors of the scores by which boosted key channels are chosen; selection
            ``query`` wants them (``kitty_kv.hf.query_weights``).

    Raises:
        ConfigError: a field of ``config`` is unknown or out of range, or ``mask`` is not 2-D.
        UnsupportedError: an encoder-decoder model.
    """

    def __init__(
        self,
        model_config: PretrainedConfig,
        config: KittyConfig | dict[str, Any],
        mask: torch.Tensor | None = None,
        *,
        scope: Scope | None = None,
        channel_weights: torch.Tensor | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(config, KittyConfig):
            config = KittyConfig.from_dict(config)
        if getattr(model_config, "is_encoder_decoder", False):
            raise UnsupportedError(
                "Cannot simulate the cache of an encoder-decoder model: only decoder-only models are supported."
            )
        self.config = config
        self._is_quantized = has_full_attention(model_config.get_text_config())
        self._rows = RowMap(mask)
        self._scope = scope or Scope()
        if channel_weights is None and needs_weights(model_config.get_text_config(), config):
            raise ConfigError(
                "Cannot simulate selection 'query' without the model's weights; pass channel_weights=query_weights(model).tensor."
            )
        # By the layer's number in the model.
        full = [layer for layer, is_quantized in enumerate(self._is_quantized) if is_quantized]
        self._channel_weights = {} if channel_weights is None else dict(zip(full, channel_weights, strict=True))
        self._held: dict[int, Held] = {}
        self._errors: dict[int, torch.Tensor] = {}  # float64 [2, 2]: of keys and values, squared error and squared norm

    def set_mask(self, mask: torch.Tensor) -> None:
        """Takes a padding mask ``[B, T]`` that covers more positions, before the call that brings them.

        Raises:
            CacheError: it contradicts the mask of positions that are already held.
        """
        self._rows.extend(mask, self.get_seq_length())

    def tell_mask(self, mask: Any, config: PretrainedConfig) -> None:
        """``set_mask``, called for every forward pass while Kitty is installed.

        Raises:
            UnsupportedError: a mask of another kind, which does not say what is padding.
        """
        if mask is None or self._is_needless(mask):
            return
        if mask.ndim != 2:
            raise UnsupportedError(
                f"Cannot simulate a cache under a {mask.ndim}-D attention mask: it does not say which tokens are padding; "
                "pass a padding mask [B, T]."
            )
        self.set_mask(mask)

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        layer_idx: int,
        cache_kwargs: dict[str, Any] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Takes a layer's new keys and values ``[B, HKV, S, D]``.

        Returns:
            Everything held and the new tokens as they are, ``[B, HKV, T, D]`` in the dtype of the new ones.

        Raises:
            CacheError: another batch or model than before, or padding that no mask tells of.
        """
        past = self._check(key_states, layer_idx, cache_kwargs or {})
        new = Held(key_states, value_states)
        seen = new if past is None else _joined(Held(*(x.to(key_states.dtype) for x in past)), new)
        is_rounded = self._is_quantized[layer_idx] and (self.config.quantizes_keys or self.config.quantizes_values)
        self._held[layer_idx] = self._round(layer_idx, past, new) if is_rounded else seen
        return seen.keys, seen.values

    def get_seq_length(self, layer_idx: int | None = 0) -> int:
        """Positions seen so far, padding included."""
        held = self._held.get(layer_idx or 0)
        return 0 if held is None else held.keys.shape[2]

    def get_max_cache_shape(self) -> int | None:
        """None: the cache grows with its content."""
        return None

    @property
    def layer_count(self) -> int:
        """How many layers the model has."""
        return len(self._is_quantized)

    @property
    def lengths(self) -> list[int]:
        """Real tokens of each row."""
        batch = self._held[0].keys.shape[0] if 0 in self._held else 0
        return self._rows.lengths(batch, self.get_seq_length())

    def dequantize(self, layer_idx: int) -> tuple[torch.Tensor, torch.Tensor]:
        """A layer's keys and values as later calls see them, float32 ``[B, HKV, T, D]`` without padding; shorter rows end
        in zeros.

        Raises:
            CacheError: the layer holds nothing.
        """
        if layer_idx not in self._held:
            raise CacheError(f"Cannot dequantize layer {layer_idx}: the cache holds nothing of it.")
        held = self._held[layer_idx]
        batch, kv_heads, total, head_dim = held.keys.shape
        rows = [self._rows.slots(row, total) for row in range(batch)]
        out = held.keys.new_zeros(2, batch, kv_heads, max(map(len, rows)), head_dim, dtype=torch.float32)
        for row, slots in enumerate(rows):
            for side, tokens in zip(out, held, strict=True):
                side[row, :, : len(slots)] = tokens[row][:, slots.to(tokens.device)].float()
        return out[0], out[1]

    def relative_errors(self, layer_idx: int) -> tuple[float | None, float | None]:
        """``|held - given| / |given|`` of a layer's keys and values, over all that was quantized; None where nothing was."""
        errors = self._errors.get(layer_idx)
        if errors is None:
            return None, None
        return tuple((error / norm) ** 0.5 if norm else None for error, norm in errors.tolist())

    def reset(self) -> None:
        """Forgets all tokens and the mask."""
        self._rows = RowMap()
        self._held.clear()
        self._errors.clear()

    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        """Makes row ``beam_idx[i]`` the new row i."""
        for layer, held in self._held.items():
            self._held[layer] = Held(*(x.index_select(0, beam_idx.to(x.device)) for x in held))
        self._rows.select(beam_idx)

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keeps only the rows at ``indices``, in that order."""
        self.reorder_cache(indices)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeats every row ``repeats`` times."""
        if self._held:
            self.reorder_cache(torch.arange(self._held[0].keys.shape[0]).repeat_interleave(repeats))

    def crop(self, max_length: int) -> None:
        """Not possible.

        Raises:
            UnsupportedError: always.
        """
        raise UnsupportedError(
            "Cannot crop a simulated cache: what it has rounded cannot be taken back; reset() it and feed the tokens again."
        )

    def _is_needless(self, mask: torch.Tensor) -> bool:
        # Rows without padding are rounded together.
        return self._rows.mask is None and mask.ndim == 2 and bool(mask.all())

    def _check(self, keys: torch.Tensor, layer: int, cache_kwargs: dict[str, Any]) -> Held | None:
        if not 0 <= layer < len(self._is_quantized):
            raise CacheError(f"Cannot update layer {layer}: this cache was made for {len(self._is_quantized)} layers.")
        past = self._held.get(layer)
        if past is None:
            self._rows.check_batch(keys.shape[0])
        elif (wanted := _shape(past.keys)) != _shape(keys):
            raise CacheError(
                f"Cannot add tokens to this cache: it holds rows, KV heads and channels {wanted}, got {_shape(keys)}; use "
                "one cache per batch and model, or reset() it."
            )
        cos = cache_kwargs.get("cos")
        # Transformers never shows a cache the mask, but rows at different positions give padding away.
        has_rows = layer == 0 and self._rows.mask is None and cos is not None and cos.shape[0] > 1
        if has_rows and bool((cos != cos[:1]).any()):
            raise CacheError(
                "Cannot cache this batch: its rows are at different positions, so some are padded; call "
                "kitty_kv.install() first, or give the padding mask, SimulatedCache(model.config, config, mask=attention_mask)."
            )
        return past

    @torch.no_grad()
    def _round(self, layer: int, past: Held | None, new: Held) -> Held:
        """What the next call sees: the new tokens in 16 bits, and pages that became due rounded."""
        held = Held(*(_in_16_bits(x).float() for x in new))
        if past is not None:
            held = _joined(past, held)
        self._round_due(layer, held, before=0 if past is None else past.keys.shape[2])
        return held

    def _round_due(self, layer: int, held: Held, before: int) -> None:
        """Rounds the pages of ``held`` that tokens from position ``before`` on complete, in place."""
        config, page = self.config, self.config.page_size
        batch, _, total, _ = held.keys.shape
        weights = self._channel_weights.get(layer)
        weights = None if weights is None else weights[:, None].to(held.keys.device)
        sides = (
            (held.keys, config.quantizes_keys, 0, functools.partial(encode_keys, weights=weights)),
            (held.values, config.quantizes_values, config.recent_tokens, encode_values),
        )
        for side, (x, is_quantized, recent, encode) in enumerate(sides):
            is_quantized = is_quantized and self._scope.holds(layer, side)
            for rows, slots in self._rows.due(batch, before, total, config, recent) if is_quantized else ():
                slots = slots.to(x.device)
                given = x[rows][:, :, slots]  # [R, HKV, pages * PAGE, D]
                rounded = encode(given.unflatten(2, (-1, page)), config).dequantize().flatten(2, 3)
                if self._scope.head is not None:
                    is_head = torch.arange(given.shape[1], device=given.device) == self._scope.head
                    rounded = torch.where(is_head[:, None, None], rounded, given)
                x[rows, :, slots] = rounded
                self._add_error(layer, side, given, rounded)

    def _add_error(self, layer: int, side: int, given: torch.Tensor, rounded: torch.Tensor) -> None:
        errors = self._errors.setdefault(layer, torch.zeros(2, 2, dtype=torch.float64, device=given.device))
        errors[side, 0] += (rounded - given).double().square().sum()
        errors[side, 1] += given.double().square().sum()


def _joined(past: Held, new: Held) -> Held:
    return Held(*(torch.cat(side, dim=2) for side in zip(past, new, strict=True)))


def _shape(keys: torch.Tensor) -> tuple[int, int, int]:
    return keys.shape[0], keys.shape[1], keys.shape[3]


def _in_16_bits(x: torch.Tensor) -> torch.Tensor:
    """As a quantized cache keeps what it has not packed; a float32 model's tokens become float16."""
    return x.half() if x.dtype.itemsize > 2 else x
