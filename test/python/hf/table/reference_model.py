"""The reference of the case table: the real model, one unpadded row at a time, attention in float64.

Every row has its own tokens in plain tensors; earlier calls' tokens are seen as the contract's codec shows them, the call's
own as they are. Shares no code with the cache. Its keys and values must be those that the cache was given, up to rounding;
from there on it uses the cache's, lest a last bit turns a code over.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from reference_codec import Pages, shown_keys, shown_values
from transformers import AttentionInterface, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface

from kitty_kv import KittyConfig

NAME = "float64_reference"
# Keys are made exact in 16 bits, which is half a bit of eleven; a 16-bit model's own rounding comes on top.
GIVEN_TOLERANCE = {torch.float64: 2**-11, torch.float16: 2**-6, torch.bfloat16: 2**-3}
Given = dict[int, tuple[torch.Tensor, torch.Tensor]]  # by layer: keys and values [H, n, D]


class ReferenceRow:
    """One sequence and what its layers have seen.

    Args:
        model: any decoder-only model; its weights are used, its attention is not.
        config: of the cache that is imitated.
        weights: of its channels by layer, float64 ``[H, D]``, where queries choose them.
    """

    def __init__(self, model: PreTrainedModel, config: KittyConfig, weights: Mapping[int, np.ndarray]) -> None:
        self._model = model
        self._config = config
        self._weights = weights
        self._tokens: Given = {}
        self._pages: dict[int, tuple[Pages, Pages]] = {}  # layer: those of keys and of values
        self.length = 0

    def fork(self) -> ReferenceRow:
        other = ReferenceRow(self._model, self._config, self._weights)
        other._tokens, other.length = dict(self._tokens), self.length
        other._pages = {layer: (dict(keys), dict(values)) for layer, (keys, values) in self._pages.items()}
        return other

    def crop(self, length: int) -> None:
        """As if only the first ``length`` tokens had ever been fed."""
        self._tokens = {layer: tuple(x[:, :length] for x in held) for layer, held in self._tokens.items()}
        self._pages = {}
        self.length = length

    def forward(self, ids: torch.Tensor, given: Given) -> torch.Tensor:
        """Logits ``[n, vocabulary]`` of the next tokens, int64 ``[n]``, whose keys and values the cache got as ``given``."""
        self._given = given
        positions = torch.arange(self.length, self.length + len(ids), device=self._model.device)[None]
        with _attending(self._model, self._attend), torch.no_grad():
            logits = (
                self._model(ids.to(positions.device)[None], position_ids=positions, use_cache=False).logits[0].cpu()
            )
        self.length += len(ids)
        return logits

    def _attend(self, module, query, key, value, attention_mask, scaling=None, sliding_window=None, softcap=None, **_):
        given = [x.double() for x in self._given[module.layer_idx]]
        for own, others in zip((key[0].cpu(), value[0].cpu()), given, strict=True):
            assert (own.double() - others).abs().max() <= GIVEN_TOLERANCE[own.dtype] * others.abs().max()
        key, value = given  # [H, S, D]
        past = self.length
        old_keys, old_values = self._tokens.get(module.layer_idx, (key[:, :0], value[:, :0]))
        self._tokens[module.layer_idx] = torch.cat((old_keys, key), 1), torch.cat((old_values, value), 1)
        if sliding_window is None:
            weights = self._weights.get(module.layer_idx)
            key_pages, value_pages = self._pages.setdefault(module.layer_idx, ({}, {}))
            old_keys = torch.from_numpy(shown_keys(old_keys.numpy(), self._config, key_pages, weights))
            old_values = torch.from_numpy(shown_values(old_values.numpy(), self._config, value_pages))
        keys, values = torch.cat((old_keys, key), 1), torch.cat((old_values, value), 1)
        at, token = torch.arange(past, past + key.shape[1])[:, None], torch.arange(keys.shape[1])
        seen = token <= at if sliding_window is None else (token <= at) & (token > at - sliding_window)
        groups = query.shape[1] // key.shape[0]
        scores = query[0].cpu().double() @ keys.repeat_interleave(groups, 0).transpose(1, 2) * scaling  # [HQ, S, T]
        if softcap is not None:
            scores = softcap * torch.tanh(scores / softcap)
        weights = scores.masked_fill(~seen, float("-inf")).softmax(-1)
        out = weights @ values.repeat_interleave(groups, 0)
        return out.transpose(0, 1)[None].to(query.device, query.dtype), None


@contextlib.contextmanager
def _attending(model: PreTrainedModel, attend) -> Iterator[None]:
    config = model.config.get_text_config()
    before = config._attn_implementation
    AttentionInterface._global_mapping[NAME] = attend
    AttentionMaskInterface._global_mapping[NAME] = lambda *args, **kwargs: None
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = before
        del AttentionInterface._global_mapping[NAME]
        del AttentionMaskInterface._global_mapping[NAME]
