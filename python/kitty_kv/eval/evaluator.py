"""Log-likelihoods and generations of a model over the packed cache.

An evaluation that feeds everything in one call never reads a quantized page, since a call sees its own tokens in full
precision. Here every call but the first reads what the cache holds of the calls before:

- ``loglikelihood`` feeds the prompt in chunks as the engine does, and then the continuation token by token: each answer token
  attends to the prompt as the cache holds it, and a page that the answer completes is read quantized by the next token.
- ``loglikelihood_rolling`` feeds a text in calls that end where pages are quantized (``sim/calls.py``), which gives what one
  token at a time gives.
- ``generate_until`` runs on the engine, which feeds prompts in the same chunks and decodes one token a pass.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import torch

from ..config import KittyConfig
from ..engine.sampling import SamplingOptions
from ..errors import ConfigError, KittyKvError
from ..hf.cache import KittyCache
from ..hf.loading import LoadedModel
from ..sim.calls import call_spans
from .generations import GenerationResult, run_generations

CHUNK_TOKENS = 512


@dataclasses.dataclass(frozen=True, slots=True)
class Likelihood:
    """Of a continuation: its negative log-likelihood, whether greedy decoding would write it, and the cache in the end."""

    nats: float
    is_greedy: bool
    tokens: int
    packed_bytes: int
    compression: float


@dataclasses.dataclass(frozen=True, slots=True)
class GenerationRequest:
    """What to write.

    Args:
        prompt: token ids.
        max_new_tokens: most tokens to write.
        until: strings that end the text; they are not part of it.
        sampling: greedy by default.
    """

    prompt: Sequence[int]
    max_new_tokens: int
    until: Sequence[str] = ()
    sampling: SamplingOptions = dataclasses.field(default_factory=SamplingOptions)


class Evaluator:
    """One model under one cache config.

    Args:
        loaded: the model and its tokenizer.
        config: of every cache.
        chunk_tokens: most tokens of a prompt that one call feeds.
        max_batch: most generations that are decoded together.
    """

    def __init__(
        self, loaded: LoadedModel, config: KittyConfig, *, chunk_tokens: int = CHUNK_TOKENS, max_batch: int = 16
    ) -> None:
        self.loaded = loaded
        self.config = config
        self.chunk_tokens = chunk_tokens
        self.max_batch = max_batch

    def encode(self, text: str) -> list[int]:
        """Token ids of ``text``, special tokens not added."""
        return self.loaded.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]

    @property
    def prefix_token(self) -> int:
        """What stands before a text's first token.

        Raises:
            ConfigError: the tokenizer has neither a first nor a last token of texts.
        """
        tokenizer = self.loaded.tokenizer
        token = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        if token is None:
            raise ConfigError(
                "Cannot measure a text from its first token on: the tokenizer has neither a bos nor an eos token; use a "
                "tokenizer that has one."
            )
        return token

    def loglikelihood(self, context: Sequence[int], continuation: Sequence[int]) -> Likelihood:
        """Of ``continuation`` behind ``context``, both token ids and not empty; they must fit the model's context.

        Raises:
            ConfigError: one is empty, or they do not fit.
        """
        self._check_fits(context, continuation)
        length = len(context)
        chunks = [(start, min(start + self.chunk_tokens, length)) for start in range(0, length, self.chunk_tokens)]
        singles = [(at, at + 1) for at in range(length, length + len(continuation) - 1)]
        return self._score([*context, *continuation], length, [*chunks, *singles])

    def loglikelihood_rolling(self, text: Sequence[int]) -> Likelihood:
        """Of a whole text, token ids, in windows of the model's context that do not overlap.

        Each window begins with the last token of the one before, the first with ``prefix_token``, so that every token is
        predicted once. The cache's figures are the last window's.

        Raises:
            ConfigError: the text is empty, or as ``prefix_token``.
        """
        if not text:
            raise ConfigError("Cannot measure a text: it holds no tokens; give a longer one.")
        size, nats, is_greedy = self.loaded.context_length, 0.0, True
        for start in range(0, len(text), size):
            first = text[start - 1] if start else self.prefix_token
            tokens = [first, *text[start : start + size]]
            found = self._score(tokens, 1, list(call_spans(len(tokens) - 1, self.config)))
            nats, is_greedy = nats + found.nats, is_greedy and found.is_greedy
        return dataclasses.replace(found, nats=nats, is_greedy=is_greedy, tokens=len(text))

    def generate_until(
        self,
        requests: Sequence[GenerationRequest],
        on_result: Callable[[int, GenerationResult], None] = lambda index, result: None,
    ) -> list[GenerationResult]:
        """Completes all ``requests`` on one engine.

        Args:
            on_result: called with the number of a request and its result as each ends, on the caller's thread.

        Returns:
            Results in the order of the requests.

        Raises:
            ConfigError: a prompt is empty or does not fit.
        """
        return run_generations(self.loaded, self.config, requests, self.chunk_tokens, self.max_batch, on_result)

    def _score(self, tokens: list[int], known: int, spans: list[tuple[int, int]]) -> Likelihood:
        """Feeds all but the last token in ``spans`` and scores those from ``known`` on."""
        model = self.loaded.model
        cache = KittyCache.for_model(model, config=self.config)
        ids = torch.tensor([tokens], device=model.device)  # [1, T + 1]
        nats = torch.zeros((), dtype=torch.float64, device=model.device)
        is_greedy = torch.ones((), dtype=torch.bool, device=model.device)
        with torch.inference_mode():
            for start, end in spans:
                wanted = min(end - start, max(1, end + 1 - known))
                output = model(ids[:, start:end], past_key_values=cache, use_cache=True, logits_to_keep=wanted)
                if end + 1 <= known:
                    continue
                logits = output.logits[0].float()  # [S, V]
                targets = ids[0, end + 1 - wanted : end + 1]
                nats += torch.nn.functional.cross_entropy(logits, targets, reduction="sum").double()
                is_greedy &= (logits.argmax(-1) == targets).all()
        memory = cache.memory()
        if not math.isfinite(nats.item()):
            raise KittyKvError(
                f"Cannot score {len(tokens)} tokens under {self.config.preset}: the model's probabilities are not finite; load it "
                "with --dtype bfloat16 or float32.",
                code="not_finite",
            )
        return Likelihood(
            nats=nats.item(),
            is_greedy=bool(is_greedy),
            tokens=len(tokens) - known,
            packed_bytes=memory["packed_bytes"],
            compression=memory["compression"],
        )

    def _check_fits(self, context: Sequence[int], continuation: Sequence[int]) -> None:
        if not context or not continuation:
            raise ConfigError(
                "Cannot score a continuation: it and its context must hold at least one token each, got "
                f"{len(continuation)} and {len(context)}."
            )
        fed, limit = len(context) + len(continuation) - 1, self.loaded.context_length
        if fed > limit:
            raise ConfigError(
                f"Cannot score a continuation: {len(context)} and {len(continuation)} tokens are more than the model's "
                f"context of {limit} takes; give a shorter context.",
                code="context_exceeded",
                details={"tokens": fed, "contextLength": limit},
            )
