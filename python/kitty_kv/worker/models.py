"""Models in memory: loaded once for each path, dtype and device, and shared by sessions."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

from ..config import KittyConfig
from ..engine.engine import Engine
from ..engine.generation import TextCodec
from ..engine.kv_pool import KvPool
from ..engine.sequence import Sequence
from ..errors import ConfigError

if TYPE_CHECKING:
    from ..hf.loading import LoadedModel

Key = tuple[str | None, str, str]
PoolKey = tuple[KittyConfig, int | None]


@dataclasses.dataclass(frozen=True, slots=True)
class ServedModel:
    """A loaded model and what generations need of its tokenizer."""

    loaded: LoadedModel
    codec: TextCodec
    pools: dict[PoolKey, KvPool] = dataclasses.field(default_factory=dict)

    def new_sequence(self, config: KittyConfig, max_bytes: int | None = None) -> Sequence:
        """An empty history whose cache shares memory with all others of the same config and limit.

        Args:
            config: of the cache.
            max_bytes: most bytes of keys and values that all of these take together; None for no limit.

        Raises:
            KittyKvError: the model cannot use this cache.
        """
        return self.pool(config, max_bytes).new_sequence(self.loaded.context_length)

    def pool(self, config: KittyConfig, max_bytes: int | None = None) -> KvPool:
        """The memory that sequences of one config and limit share."""
        key = (config, max_bytes)
        pool = self.pools.get(key)
        if pool is None:
            # Another thread may be about to do the same: the first to get there is kept.
            pool = self.pools.setdefault(key, KvPool(self.loaded.model, config, max_bytes=max_bytes))
        return pool

    def token_texts(self, tokens: list[int]) -> list[str]:
        """Each token's text by itself; a part of a character becomes U+FFFD.

        Raises:
            ConfigError: the model has no such token.
        """
        size = len(self.loaded.tokenizer)
        for token in tokens:
            if token >= size:
                raise ConfigError(f"Cannot decode token {token}: the tokenizer has tokens 0 to {size - 1}.")
        # Special tokens too: here they are what was asked about, not part of a text.
        return [self.loaded.tokenizer.decode([token]) for token in tokens]

    def describe(self) -> dict[str, Any]:
        """The wire's description."""
        loaded = self.loaded
        return {
            "name": loaded.name,
            "path": loaded.path,
            "contextLength": loaded.context_length,
            "vocabSize": loaded.model.config.get_text_config().vocab_size,
            "chatTemplate": loaded.tokenizer.chat_template is not None,
            "dtype": str(loaded.model.dtype).removeprefix("torch."),
            "device": str(loaded.model.device),
        }


class ModelStore:
    """Keeps models that sessions use, and the last ones used until another must be loaded.

    Args:
        engine: stands still while a model is loaded, since Transformers changes torch's default dtype for that time.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._loading = threading.Lock()
        self._lock = threading.Lock()
        self._models: dict[Key, ServedModel] = {}
        self._users: Counter[Key] = Counter()

    def acquire(self, path: str | None, dtype: str, device: str) -> tuple[Key, ServedModel]:
        """The model, loaded now if need be; blocks for that long. Give the key back with ``release``.

        Raises:
            KittyKvError: the model cannot be loaded.
        """
        is_folder = path is not None and os.path.exists(path)
        key = (os.path.realpath(path) if is_folder else path, dtype, device)
        model = self._take(key)
        if model is not None:
            return key, model
        with self._loading:
            # Somebody else may have loaded it while this thread waited.
            model = self._take(key)
            if model is None:
                model = self._load(key, path)
        return key, model

    def prepare(self, served: ServedModel, config: KittyConfig) -> None:
        """Measures what caches of this config want to know of the model, once; blocks for that long.

        Raises:
            KittyKvError: it cannot be measured.
        """
        from ..hf.query_weights import needs_weights, query_weights

        model = served.loaded.model
        if needs_weights(model.config.get_text_config(), config):
            # A forward pass under another attention function, so no step may run on the model.
            with self._loading, self._engine.paused():
                query_weights(model)

    def share(self, key: Key) -> None:
        """Says that one session more uses a model that is in use; give the key back with ``release``."""
        with self._lock:
            self._users[key] += 1

    def release(self, key: Key) -> None:
        """Says that a session does not use the model any more."""
        with self._lock:
            self._users[key] -= 1

    def _take(self, key: Key) -> ServedModel | None:
        with self._lock:
            model = self._models.get(key)
            if model is not None:
                self._users[key] += 1
            return model

    def _load(self, key: Key, path: str | None) -> ServedModel:
        from ..hf.loading import load_model

        with self._lock:
            for idle in [idle for idle in self._models if not self._users[idle]]:
                del self._models[idle]
        with self._engine.paused():
            model = serve(load_model(path, dtype=key[1], device=key[2]))
        with self._lock:
            self._models[key] = model
            self._users[key] += 1
        return model


def serve(loaded: LoadedModel) -> ServedModel:
    """Prepares a loaded model for generations."""
    tokenizer = loaded.tokenizer
    # The first call settles truncation and padding in the tokenizer; afterwards threads may share it.
    replacement_ids = tuple(tokenizer("\ufffd", add_special_tokens=False)["input_ids"])
    codec = TextCodec(decode=_decoder(tokenizer), eos_ids=_eos_ids(loaded), replacement_ids=replacement_ids)
    return ServedModel(loaded=loaded, codec=codec)


def _decoder(tokenizer: Any) -> Any:
    if tokenizer.is_fast:
        # The same as below, several times as fast, and it is called twice for each token.
        backend = tokenizer.backend_tokenizer
        return lambda ids: backend.decode(ids, skip_special_tokens=True)
    return lambda ids: tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def _eos_ids(loaded: LoadedModel) -> frozenset[int]:
    configured = getattr(loaded.model.generation_config, "eos_token_id", None)
    ids = configured if isinstance(configured, list) else [configured]
    return frozenset(token for token in (*ids, loaded.tokenizer.eos_token_id) if token is not None)
