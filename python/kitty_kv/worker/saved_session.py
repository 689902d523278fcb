"""A session as a file: a saved cache, and beside it the tokens, turns and passes that led to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from ..config import KittyConfig
from ..engine.kv_pool import KvPool
from ..engine.sequence import Sequence
from ..errors import CacheFileError
from ..hf.cache_file import read_cache_file
from ..hf.saving import check_model, fill_cache, fitting, saved_config, take_cache
from .prompts import Message

if TYPE_CHECKING:
    from .models import ServedModel
    from .sessions import Session

Contents = tuple[dict[str, Any], dict[str, torch.Tensor]]


def take_session(session: Session) -> Contents:
    """What ``write_cache_file`` writes of a session; a copy. Call it between two steps of the engine.

    Raises:
        KittyKvError: ``session_busy``: a generation runs on it.
    """
    session.check_idle("save")
    sequence = session.sequence
    document, tensors = take_cache(sequence.cache)
    history = {"tokens": list(sequence.tokens), "messages": list(session.messages), **sequence.passes()}
    return {**document, "session": history}, tensors


def load_session(path: str, served: ServedModel, max_bytes: int | None) -> tuple[KittyConfig, Sequence, list[Message]]:
    """A session's config, history and turns; its cache has memory of its own and goes on to the bit.

    Raises:
        CacheFileError: the file holds no session, or one of another model.
    """
    document, tensors = read_cache_file(path)
    if "session" not in document:
        raise CacheFileError(
            f"Cannot open a session from {path!r}: the file holds a cache without its tokens; give one that a session saved."
        )
    model = served.loaded.model
    with fitting(path):
        check_model(path, document, model)
        config, weights = saved_config(document, tensors, model)
        pool = KvPool(model, config, max_bytes=max_bytes, weights=weights)
        sequence = pool.new_sequence(served.loaded.context_length)
        fill_cache(sequence.cache, document, tensors, model)
        history = document["session"]
        _check_history(history, sequence.held, served)
        sequence.tokens = history["tokens"]
        sequence.restore_passes(history["passes"], history["nextPass"])
    return config, sequence, history["messages"]


def _check_history(history: Mapping[str, Any], held: int, served: ServedModel) -> None:
    tokens, passes, next_pass = history["tokens"], history["passes"], history["nextPass"]
    vocabulary = served.loaded.model.config.get_text_config().vocab_size
    are_tokens = all(type(token) is int and 0 <= token < vocabulary for token in tokens)
    are_passes = all(type(size) is int and size > 0 for size in passes) and type(next_pass) is int
    are_turns = all(
        {*turn} == {"role", "content"} and all(type(x) is str for x in turn.values()) for turn in history["messages"]
    )
    if not (are_tokens and are_passes and are_turns and 0 <= next_pass <= len(passes)):
        raise TypeError("tokens, passes or turns are none")
    if sum(passes[:next_pass]) != held or sum(passes) > len(tokens) or len(tokens) > served.loaded.context_length:
        raise IndexError(f"{len(tokens)} tokens in passes of {sum(passes)} for a cache of {held}")
