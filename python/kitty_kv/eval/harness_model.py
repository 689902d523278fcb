"""Model type ``kitty`` of lm-evaluation-harness. Importing it needs ``lm_eval`` and registers the type."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model

from ..config import DEFAULT_PRESET, KittyConfig
from ..engine.sampling import SamplingOptions
from ..errors import ConfigError
from ..hf.loading import LoadedModel, load_model
from .evaluator import CHUNK_TOKENS, Evaluator, GenerationRequest, Likelihood
from .generations import GenerationResult

NEW_TOKENS = 256  # the harness's own default where a task does not say
_KNOWN = ("until", "max_gen_toks", "max_new_tokens", "do_sample", "temperature", "top_p", "top_k", "min_p")


@register_model("kitty")
class KittyLM(TemplateLM):
    """A model over the packed cache; see ``evaluator.py`` for how its pages come to be read.

    The model is loaded when it is first used, which is after the harness has the data.

    Args:
        pretrained: model folder or hub id; None for the bundled model.
        preset: of the cache.
        dtype, device: as in ``load_model``; the harness itself gives the device of ``--device``, ``cuda:0`` by default.
        chunk_tokens: most tokens of a prompt that one call feeds.
        batch_size: most generations that are decoded together; the harness itself gives 1.
        seed: of sampling; the n-th request has this seed plus n.

    Raises:
        ConfigError: the preset is unknown, or a number is none.
    """

    def __init__(
        self,
        pretrained: str | None = None,
        preset: str = DEFAULT_PRESET,
        dtype: str = "auto",
        device: str | None = None,
        chunk_tokens: int = CHUNK_TOKENS,
        batch_size: int | str = 16,
        max_batch_size: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.config = KittyConfig.from_dict({"preset": preset})
        if not str(batch_size).isdigit() or int(batch_size) < 1:
            raise ConfigError(f"Cannot evaluate with batch_size {batch_size!r}: give a whole number >= 1.")
        self._pretrained, self._dtype, self._device = pretrained, dtype, device or "auto"
        self._chunk_tokens, self._max_batch, self._seed = chunk_tokens, int(batch_size), seed
        # Of each request of the call before, in their order.
        self.measured: list[Likelihood | GenerationResult] = []

    @classmethod
    def over(cls, evaluator: Evaluator) -> KittyLM:
        """The same over a model that is loaded already."""
        found = cls()
        found.config, found.evaluator, found.loaded = evaluator.config, evaluator, evaluator.loaded
        return found

    @functools.cached_property
    def loaded(self) -> LoadedModel:
        """The model and its tokenizer."""
        return load_model(self._pretrained, dtype=self._dtype, device=self._device)

    @functools.cached_property
    def evaluator(self) -> Evaluator:
        """Over the loaded model."""
        options = {"chunk_tokens": self._chunk_tokens, "max_batch": self._max_batch}
        return Evaluator(self.loaded, self.config, **options)

    @property
    def tokenizer(self) -> Any:
        return self.loaded.tokenizer

    @property
    def tokenizer_name(self) -> str:
        return self.loaded.path.replace("/", "__")

    @property
    def eot_token_id(self) -> int:
        return self.tokenizer.eos_token_id

    @property
    def prefix_token_id(self) -> int:
        return self.evaluator.prefix_token

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """As the tokenizer begins a text by itself, where nothing is said and the text has no such beginning already."""
        if add_special_tokens is None:
            first = self.tokenizer.bos_token
            add_special_tokens = first is None or not string.startswith(first)
        return self.tokenizer(string, add_special_tokens=add_special_tokens, verbose=False)["input_ids"]

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        return self.tokenizer.apply_chat_template(
            chat_history,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
        )

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        found, self.measured = [], []
        for request in requests:
            self.measured.append(self.evaluator.loglikelihood_rolling(self.evaluator.encode(request.args[0])))
            found.append(-self.measured[-1].nats)
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, found[-1])
        return found

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        asked = [self.to_request(*request.args, self._seed + index) for index, request in enumerate(requests)]

        def keep(index: int, result: GenerationResult) -> None:
            self.cache_hook.add_partial("generate_until", requests[index].args, result.text)

        self.measured = self.evaluator.generate_until(asked, keep)
        return [result.text for result in self.measured]

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], disable_tqdm: bool = False, **kwargs: Any
    ) -> list[tuple[float, bool]]:
        found, self.measured = [], []
        for request, context, continuation in requests:
            likelihood = self.evaluator.loglikelihood(context, continuation)
            self.measured.append(likelihood)
            found.append((-likelihood.nats, likelihood.is_greedy))
            self.cache_hook.add_partial("loglikelihood", request, found[-1])
        return found

    def to_request(self, context: str, options: dict[str, Any], seed: int) -> GenerationRequest:
        """What the harness asks for as the evaluator takes it.

        Raises:
            ConfigError: an option of the generation is none that we have.
        """
        unknown = [name for name in options if name not in _KNOWN]
        if unknown:
            raise ConfigError(
                f"Cannot generate with {', '.join(unknown)}: model type kitty takes {', '.join(_KNOWN)}; leave it out of "
                "gen_kwargs."
            )
        until = options.get("until") or []
        temperature = options.get("temperature", 1.0 if options.get("do_sample") else 0.0)
        is_sampled = options.get("do_sample", temperature > 0)
        sampling = SamplingOptions(
            temperature=float(temperature) if is_sampled else 0.0,
            top_p=options.get("top_p"),
            top_k=options.get("top_k"),
            min_p=options.get("min_p"),
            seed=seed,
        )
        return GenerationRequest(
            prompt=self.tok_encode(context),
            max_new_tokens=int(options.get("max_gen_toks", options.get("max_new_tokens", NEW_TOKENS))),
            until=[until] if isinstance(until, str) else list(until),
            sampling=sampling,
        )
