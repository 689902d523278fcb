"""How much each key channel matters to a model's queries: what ``selection: query`` weighs a channel's range with."""

from __future__ import annotations

import hashlib

import torch

from ..errors import ConfigError


class ChannelWeights:
    """Weights of the key channels of all attention layers that a cache packs.

    Args:
        weights: ``[LAYERS, HKV, D]``, finite; kept as float32 without their sign, on the CPU and on devices that ask.

    Raises:
        ConfigError: they are of another shape or type, or one is not finite.
    """

    def __init__(self, weights: torch.Tensor) -> None:
        if not isinstance(weights, torch.Tensor) or weights.ndim != 3 or not weights.is_floating_point():
            got = tuple(weights.shape) if isinstance(weights, torch.Tensor) else type(weights).__name__
            raise ConfigError(
                f"Cannot weigh channels: want a floating point tensor [layers, KV heads, head_dim], got {got}."
            )
        with torch.inference_mode(False), torch.no_grad():
            self._weights = weights.detach().to("cpu", torch.float32, copy=True).abs().contiguous()
        if not bool(self._weights.isfinite().all()):
            raise ConfigError(
                "Cannot weigh channels: some weights are not finite; measure them again, with the model in bfloat16 or float32 if "
                "float16 is too narrow for it."
            )
        self._on: dict[tuple[torch.device, tuple[int, ...]], torch.Tensor] = {}

    @property
    def tensor(self) -> torch.Tensor:
        """Float32 ``[LAYERS, HKV, D]`` on the CPU; not to be changed."""
        return self._weights

    @property
    def digest(self) -> str:
        """A hash of shape and values."""
        content = str(tuple(self._weights.shape)).encode() + self._weights.numpy().tobytes()
        return hashlib.sha256(content).hexdigest()

    def on(self, device: torch.device, layers: tuple[int, ...]) -> torch.Tensor:
        """Those of some layers on a device, float32 ``[len(layers), HKV, D]``; copied there once."""
        found = self._on.get((device, layers))
        if found is None:
            with torch.inference_mode(False), torch.no_grad():
                found = self._weights[list(layers)].to(device).contiguous()
            self._on[device, layers] = found
        return found

    def check(self, layers: int, kv_heads: int, head_dim: int) -> None:
        """Raises ``ConfigError`` unless they are of a cache with such layers."""
        if (wanted := (layers, kv_heads, head_dim)) != tuple(self._weights.shape):
            raise ConfigError(
                f"Cannot weigh channels: the cache has layers, KV heads and channels {wanted}, the weights "
                f"{tuple(self._weights.shape)}; measure them with this model."
            )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ChannelWeights) and torch.equal(self._weights, other._weights)

    def __hash__(self) -> int:
        return hash(self.digest)
