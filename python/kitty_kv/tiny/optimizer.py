"""Muon for the weight matrices, AdamW for the embedding and the gains."""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor

from .model_definition import TinyModel
from .settings import TrainSettings


class Muon(torch.optim.Optimizer):
    """Momentum whose update is replaced by the nearest semi-orthogonal matrix (Jordan et al., 2024), with decoupled decay.

    Matrices of one shape are orthogonalised as one batch, which keeps a step to a few dozen launches.
    """

    def __init__(self, matrices: list[Tensor], lr: float, weight_decay: float, momentum: float = 0.95) -> None:
        by_shape: dict[torch.Size, list[Tensor]] = defaultdict(list)
        for matrix in matrices:
            by_shape[matrix.shape].append(matrix)
        groups = [{"params": same} for same in by_shape.values()]
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            parameters, lr = group["params"], group["lr"]
            gradients = torch.stack([parameter.grad for parameter in parameters])  # [N, out, in]
            state = self.state[parameters[0]]
            velocity = state.setdefault("velocity", torch.zeros_like(gradients))
            velocity.lerp_(gradients, 1 - group["momentum"])
            update = orthogonalize(gradients.lerp_(velocity, group["momentum"]))
            # An orthogonal update has RMS 1/sqrt(max side); tall matrices get the factor that keeps their output's RMS.
            tall = max(1.0, update.shape[1] / update.shape[2]) ** 0.5
            torch._foreach_mul_(parameters, 1 - lr * group["weight_decay"])
            torch._foreach_add_(parameters, list(update.float().unbind()), alpha=-lr * tall)


def orthogonalize(x: Tensor, iterations: int = 5) -> Tensor:
    """Push the singular values of each matrix in [N, out, in] towards 1: the quintic Newton-Schulz iteration."""
    x = x.bfloat16() if x.is_cuda else x  # enough digits, and much faster where there are tensor cores
    is_tall = x.shape[1] > x.shape[2]
    if is_tall:
        x = x.mT
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(iterations):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.mT if is_tall else x


def build_optimizers(model: TinyModel, settings: TrainSettings) -> list[torch.optim.Optimizer]:
    """Optimizers that together own every parameter; each group's ``base_lr`` is its peak learning rate."""
    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    gains = [p for p in model.parameters() if p.ndim == 1]
    embedding = [model.model.embed_tokens.weight]
    adam_groups = [
        {"params": embedding, "lr": settings.adam_lr, "weight_decay": settings.adam_weight_decay},
        {"params": gains, "lr": settings.adam_lr, "weight_decay": 0.0},
    ]
    optimizers: list[torch.optim.Optimizer] = []
    if settings.optimizer == "muon":
        optimizers.append(Muon(matrices, settings.muon_lr, settings.muon_weight_decay))
    else:
        adam_groups[0]["params"] = embedding + matrices
    is_cuda = embedding[0].is_cuda
    optimizers.append(torch.optim.AdamW(adam_groups, betas=(0.9, 0.95), eps=1e-8, fused=is_cuda or None))
    for group in (g for optimizer in optimizers for g in optimizer.param_groups):
        group["base_lr"] = group["lr"]
    return optimizers


def learning_rate_factor(step: int, progress: float, settings: TrainSettings) -> float:
    """Linear warm-up, flat, then linear to zero over the last `decay_share` of the training."""
    warm_up = min(1.0, (step + 1) / settings.warmup_steps)
    return warm_up * min(1.0, max(0.0, 1.0 - progress) / settings.decay_share)
