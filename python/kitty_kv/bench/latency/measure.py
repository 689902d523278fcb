"""Times one way of generating from random prompts, and from caches that are filled already."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from ...hf.cache import KittyCache
from ...hf.cache_bytes import cache_bytes
from ...hf.repeated_rows import repeated_rows
from ...hf.timed_generation import TimedGeneration, timed_generation, use_attention
from .own_pages import own_pages
from .peers import Peer
from .timed import Timed
from .timed_engine import TimedEngine

# More tokens of prompts than that at once would take more memory for activations than the caches do.
_PASS_TOKENS = 2**18


def random_prompts(model: Any, batch: int, tokens: int) -> torch.Tensor:
    """int64 ``[B, S]`` on the CPU, the same at every call."""
    vocabulary = model.config.get_text_config().vocab_size
    return torch.randint(3, vocabulary, (batch, tokens), generator=torch.Generator().manual_seed(0))


def from_prompts(
    model: Any,
    peer: Peer,
    batch: int,
    prompt_tokens: int,
    new_tokens: int,
    *,
    chunk_tokens: int | None,
    runs: int,
    max_bytes: int | None = None,
) -> list[Timed]:
    """Generates from a prompt of its own for each row, ``runs`` times; the first run warms up.

    Args:
        model: the same for all peers.
        peer: how.
        batch, prompt_tokens, new_tokens: the shape.
        chunk_tokens: most tokens of a prompt that one pass of the engine takes; None for its own choice.
        runs: how often.
        max_bytes: of our caches; None for no limit.

    Raises:
        CacheOutOfMemoryError: there is no memory for so many rows.
    """
    use_attention(model, peer.attention)
    prompts = random_prompts(model, batch, prompt_tokens)
    if peer.kind == "engine":
        lists = prompts.tolist()
        with TimedEngine.started(model, peer.config, batch, chunk_tokens, max_bytes) as engine:
            return [engine.run(engine.empty(batch), lists, new_tokens) for _ in range(runs)]
    chunks = {} if batch * prompt_tokens <= _PASS_TOKENS else {"prefill_chunk_size": max(1, _PASS_TOKENS // batch)}
    prompts = prompts.to(model.device)
    return [
        _timed(timed_generation(model, prompts, new_tokens, **chunks, **peer.arguments(model, max_bytes)))
        for _ in range(runs)
    ]


def from_repeated_rows(
    model: Any,
    peer: Peer,
    batch: int,
    prompt_tokens: int,
    new_tokens: int,
    *,
    is_compiled: bool,
    max_bytes: int | None = None,
) -> Timed:
    """Copies one prompt's cache to ``batch`` rows of memory of their own and goes on from another last token in each.

    All but the prompt's last token is in that cache; ours was fed the last of these by itself.

    Args:
        model, peer, batch, prompt_tokens, new_tokens, max_bytes: as in ``from_prompts``.
        is_compiled: whether a peer that compiles does so.

    Raises:
        CacheOutOfMemoryError: there is no memory for so many rows.
    """
    use_attention(model, peer.attention)
    prompt = random_prompts(model, 1, prompt_tokens)
    last = random_prompts(model, batch, 1)
    if peer.kind == "engine":
        with TimedEngine.started(model, peer.config, batch, prompt_tokens - 2, max_bytes) as engine:
            sequences = engine.repeated(prompt[0, :-1].tolist(), batch)
            timed = engine.run(sequences, last.tolist(), new_tokens)
    else:
        known = prompt[:, :-1].to(model.device)
        cache = _filled(model, peer, known, batch, prompt_tokens + new_tokens, max_bytes)
        prompts = torch.cat([prompt[:, :-1].expand(batch, -1), last], dim=1).to(model.device)
        timed = _timed(
            timed_generation(model, prompts, new_tokens, past_key_values=cache, **peer.compiling(is_compiled))
        )
    return dataclasses.replace(timed, first_token_s=None)


def _filled(model: Any, peer: Peer, prompt: torch.Tensor, batch: int, max_tokens: int, max_bytes: int | None) -> Any:
    if peer.kind != "kitty":
        config = peer.cache_config(model) if peer.kind == "quantized" else {}
        return repeated_rows(model, peer.kind, config, prompt, batch, max_tokens)
    cache = KittyCache.for_model(model, config=peer.config, max_bytes=max_bytes)
    with torch.inference_mode():
        # The token by itself frees what a prompt's last tokens hold twice until the next pass.
        for tokens in (prompt[:, :-1], prompt[:, -1:]):
            model(input_ids=tokens, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache.batch_repeat_interleave(batch)
        own_pages(cache.pages)
    return cache


def _timed(generation: TimedGeneration) -> Timed:
    cache, allocated = generation.cache, cache_bytes(generation.cache)
    used = cache.pages.store.bytes_in_use if isinstance(cache, KittyCache) else allocated
    return Timed.of([generation.times], allocated, used)
