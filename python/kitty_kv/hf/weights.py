"""A model's fingerprint: cheap enough to take at every save, and different for weights that differ anywhere usual."""

from __future__ import annotations

import hashlib

import torch
from transformers import PreTrainedModel

_SAMPLES = 64  # values of each parameter


def fingerprint(model: PreTrainedModel) -> str:
    """sha256 over every parameter's name, shape and 64 of its values, evenly spread.

    Weights that were fine-tuned, rounded to another dtype or replaced have another one; so has a model parts of which are
    offloaded, since their values are not here.
    """
    digest, samples = hashlib.sha256(), {}
    for name, parameter in sorted(model.named_parameters()):
        digest.update(f"{name} {tuple(parameter.shape)}\n".encode())
        if parameter.device.type != "meta" and parameter.numel():
            flat = parameter.detach().reshape(-1)
            chosen = torch.linspace(0, flat.numel() - 1, _SAMPLES, dtype=torch.float64, device=flat.device).long()
            samples.setdefault(parameter.device, []).append(flat[chosen].float())
    for device in sorted(samples, key=str):
        # One transfer a device.
        digest.update(torch.cat(samples[device]).cpu().numpy().tobytes())
    return digest.hexdigest()


def layer_devices(model: PreTrainedModel, layers: int) -> list[torch.device]:
    """Where each layer's attention computes."""
    found = dict.fromkeys(range(layers), model.device)
    for module in model.modules():
        index, weight = getattr(module, "layer_idx", None), next(module.parameters(), None)
        if index in found and weight is not None and weight.device.type != "meta":
            found[index] = weight.device
    return list(found.values())
