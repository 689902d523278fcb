"""What makes another cache of one: forks, and files to go on from."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from typing import Any, NoReturn, TypeVar

from transformers import Cache, PretrainedConfig, PreTrainedModel

from ..cache.layer import KittyLayer
from ..cache.paged_cache import PagedCache
from ..cache.sliding_store import SlidingLayer, SlidingStore
from ..errors import UnsupportedError
from .forward_pass import ForwardPass
from .layer_order import in_order
from .model_identity import ModelIdentity
from .saving import load_cache, save_cache
from .slot_map import SlotMap
from .told_mask import ToldMask

AnyCache = TypeVar("AnyCache", bound="Copies")


class Copies(Cache):
    """The part of ``KittyCache`` that makes another one."""

    windows: Sequence[int | None]
    model_config: PretrainedConfig
    pages: PagedCache
    sliding: SlidingStore | None
    layers: Sequence[KittyLayer | SlidingLayer]
    identity: ModelIdentity
    slots: SlotMap
    _pass: ForwardPass
    _told: ToldMask

    def fork(self: AnyCache) -> AnyCache:
        """A cache with the same tokens that goes its own way; pages are shared until one of the two changes them.

        Caches that share pages take their forward passes one after the other: one that begins in the middle of another
        thread's raises ``CacheBusyError``.

        Raises:
            CacheError: a forward pass failed half-way.
        """
        self._pass.check_idle("fork")
        fork = object.__new__(type(self))
        fork.__dict__.update(self.__dict__)
        fork.pages = self.pages.fork()
        fork.sliding = self.sliding.fork() if self.sliding is not None else None
        fork.layers = in_order(self.windows, fork.pages, fork.sliding)
        fork.identity, fork.slots, fork._told = (copy.copy(part) for part in (self.identity, self.slots, self._told))
        fork._pass = ForwardPass(self.model_config, len(self.layers))
        return fork

    def __copy__(self: AnyCache) -> AnyCache:
        """A fork: two caches with one set of rows would both grow them."""
        return self.fork()

    def __deepcopy__(self: AnyCache, memo: dict[int, Any]) -> AnyCache:
        """``copy.deepcopy`` of a prompt's cache, as Transformers' documentation has it, is a fork."""
        return self.fork()

    def __reduce_ex__(self, protocol: int) -> NoReturn:
        """Raises ``UnsupportedError``: a pickle runs what it contains."""
        raise UnsupportedError(
            "Cannot pickle a KittyCache: write it with save(path) and read it with KittyCache.load(path, model)."
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes all tokens to a safetensors file, from which ``load`` goes on to the bit.

        The file has the config, checksums of all its bytes, and what the model is: the shape that its config gives and,
        where ``for_model`` made this cache, a fingerprint of the weights. It takes its name when the disk has all of it.

        Raises:
            CacheError: a forward pass failed half-way.
            CacheFileError: the file cannot be written; what was there before is as it was.
        """
        self._pass.check_idle("save")
        save_cache(self, path)

    @classmethod
    def load(
        cls: type[AnyCache],
        path: str | os.PathLike[str],
        model: PreTrainedModel,
        impl: str = "auto",
        max_bytes: int | None = None,
    ) -> AnyCache:
        """The cache that ``save`` has written.

        Args:
            path: of the file. Nothing in it is ever run.
            model: the model that the cache was made for, in the same dtype.
            impl, max_bytes: as in the constructor.

        Raises:
            CacheFileError: the file was truncated or changed, is of another version or no saved cache, or belongs to
                another model; says what was found.
            CacheOutOfMemoryError: there is no memory for it.
        """
        return load_cache(cls, path, model, impl, max_bytes)
