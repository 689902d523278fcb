"""Greedy generation that notes when every step's logits were there."""

from __future__ import annotations

import time
from typing import Any

import torch
from transformers import LogitsProcessor, LogitsProcessorList, PreTrainedModel


class _Clock(LogitsProcessor):
    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.times: list[float] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        _settle(self._device)
        self.times.append(time.perf_counter())
        return scores


def timed_generation(
    model: PreTrainedModel, prompts: torch.Tensor, new_tokens: int, attention: str, **arguments: Any
) -> list[float]:
    """Seconds from the call until the logits of each of ``new_tokens`` steps were there.

    Args:
        model: a causal language model; it keeps the attention implementation that it is given.
        prompts: int64 ``[B, S]`` without padding.
        new_tokens: steps, whatever the model would rather stop at.
        attention: ``attn_implementation``.
        **arguments: of ``generate()``.
    """
    model.config.get_text_config()._attn_implementation = attention
    clock = _Clock(model.device)
    _settle(model.device)
    start = time.perf_counter()
    with torch.inference_mode():
        model.generate(
            prompts,
            attention_mask=torch.ones_like(prompts),
            do_sample=False,
            max_new_tokens=new_tokens,
            min_new_tokens=new_tokens,
            logits_processor=LogitsProcessorList([clock]),
            **arguments,
        )
    return [moment - start for moment in clock.times]


def _settle(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
