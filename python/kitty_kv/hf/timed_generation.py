"""Greedy generation that notes when every step's logits were there."""

from __future__ import annotations

import gc
import sys
import time
from typing import Any, NamedTuple

import torch
from transformers import Cache, LogitsProcessor, LogitsProcessorList, PreTrainedModel


class TimedGeneration(NamedTuple):
    """What one call came to."""

    times: list[float]  # seconds from the call until the logits of each step were there
    cache: Cache


class _Clock(LogitsProcessor):
    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.times: list[float] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        _settle(self._device)
        self.times.append(time.perf_counter())
        return scores


def timed_generation(
    model: PreTrainedModel, prompts: torch.Tensor, new_tokens: int, **arguments: Any
) -> TimedGeneration:
    """Generates ``new_tokens`` a row, whatever the model would rather stop at.

    Args:
        model: a causal language model.
        prompts: int64 ``[B, S]`` without padding, on the model's device.
        new_tokens: steps.
        **arguments: of ``generate()``.
    """
    clock = _Clock(model.device)
    _settle(model.device)
    start = time.perf_counter()
    with torch.inference_mode():
        output = model.generate(
            prompts,
            attention_mask=torch.ones_like(prompts),
            do_sample=False,
            max_new_tokens=new_tokens,
            min_new_tokens=new_tokens,
            logits_processor=LogitsProcessorList([clock]),
            return_dict_in_generate=True,
            **arguments,
        )
    return TimedGeneration([moment - start for moment in clock.times], output.past_key_values)


def use_attention(model: PreTrainedModel, name: str) -> None:
    """Has the model attend with another ``attn_implementation`` from now on."""
    model.config.get_text_config()._attn_implementation = name


def forget_generation(model: PreTrainedModel) -> None:
    """Gives back what generations left behind: static caches, compiled graphs and their memory."""
    model.__dict__.pop("_cache", None)
    model.__dict__.pop("_compiled_call", None)
    # Whoever compiles next shall not find torch's limit on versions of one function used up; importing it takes seconds.
    if "torch._dynamo" in sys.modules:
        torch._dynamo.reset()
    gc.collect()
    if model.device.type == "cuda":
        torch.cuda.empty_cache()


def _settle(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
