"""The model in plain PyTorch, with Qwen3's arithmetic and Qwen3's parameter names, so that its state dict is the checkpoint."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

IGNORED = -100


@dataclass(frozen=True)
class ModelShape:
    """Sizes of the model; `config.json` says the same in Transformers' words."""

    vocab_size: int
    intermediate_size: int
    hidden_size: int = 384
    layers: int = 6
    heads: int = 6
    kv_heads: int = 2
    head_dim: int = 128
    max_positions: int = 4096
    rope_theta: float = 10_000.0
    norm_eps: float = 1e-6

    @property
    def parameters(self) -> int:
        """Number of parameters; the output layer shares the embedding's."""
        projections = 2 * self.hidden_size * self.head_dim * (self.heads + self.kv_heads)
        feed_forward = 3 * self.hidden_size * self.intermediate_size
        norms = 2 * self.hidden_size + 2 * self.head_dim
        return self.layers * (projections + feed_forward + norms) + self.hidden_size * (self.vocab_size + 1)


class TinyModel(nn.Module):
    """Token ids [B, S] to logits [B, S, vocab]; parameter names equal Qwen3ForCausalLM's."""

    def __init__(self, shape: ModelShape, dropout: float = 0.0) -> None:
        super().__init__()
        self.shape = shape
        self.model = _Backbone(shape, dropout)
        self._loss_sum = _loss_sum

    def forward(self, ids: Tensor) -> Tensor:
        return F.linear(self.model(ids), self.model.embed_tokens.weight)

    def loss_sum(self, ids: Tensor, targets: Tensor) -> Tensor:
        """Sum of the nats of `targets` [B, S], those equal to `IGNORED` left out."""
        loss_sum = self._loss_sum if self.training else _loss_sum
        return loss_sum(self.model(ids), self.model.embed_tokens.weight, targets)

    def compile_parts(self) -> None:
        """Compile, for training only, the one block that all layers share and the loss: seconds instead of a minute."""
        for layer in self.model.layers:
            layer.compile()
        self._loss_sum = torch.compile(_loss_sum)

    def initialize(self, seed: int) -> None:
        """Draw the weights: matrices at 1/sqrt(fan in), the two that write to the residual stream at zero."""
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in self.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                nn.init.zeros_(parameter)
            elif parameter.ndim == 2:
                scale = 0.02 if "embed_tokens" in name else parameter.shape[1] ** -0.5
                drawn = torch.randn(parameter.shape, generator=generator) * scale
                parameter.data.copy_(drawn)


def _loss_sum(hidden: Tensor, embedding: Tensor, targets: Tensor) -> Tensor:
    logits = F.linear(hidden, embedding).float().flatten(0, 1)
    return F.cross_entropy(logits, targets.flatten(), ignore_index=IGNORED, reduction="sum")


class _Backbone(nn.Module):
    def __init__(self, shape: ModelShape, dropout: float) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocab_size, shape.hidden_size)
        self.layers = nn.ModuleList(_Block(shape, dropout) for _ in range(shape.layers))
        self.norm = _RMSNorm(shape.hidden_size, shape.norm_eps)
        cos, sin = _rotary_table(shape)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed_tokens(ids)  # [B, S, hidden]
        cos, sin = self.cos[: ids.shape[1]], self.sin[: ids.shape[1]]
        for layer in self.layers:
            run = layer if self.training else layer.forward  # only the call, not `forward`, is the compiled one
            x = run(x, cos, sin)
        return self.norm(x)


class _Block(nn.Module):
    def __init__(self, shape: ModelShape, dropout: float) -> None:
        super().__init__()
        self.input_layernorm = _RMSNorm(shape.hidden_size, shape.norm_eps)
        self.self_attn = _Attention(shape)
        self.post_attention_layernorm = _RMSNorm(shape.hidden_size, shape.norm_eps)
        self.mlp = _FeedForward(shape)
        self.dropout = dropout

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + F.dropout(self.self_attn(self.input_layernorm(x), cos, sin), self.dropout, self.training)
        return x + F.dropout(self.mlp(self.post_attention_layernorm(x)), self.dropout, self.training)


class _Attention(nn.Module):
    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.head_dim = shape.head_dim
        self.q_proj = nn.Linear(shape.hidden_size, shape.heads * shape.head_dim, bias=False)
        self.k_proj = nn.Linear(shape.hidden_size, shape.kv_heads * shape.head_dim, bias=False)
        self.v_proj = nn.Linear(shape.hidden_size, shape.kv_heads * shape.head_dim, bias=False)
        self.o_proj = nn.Linear(shape.heads * shape.head_dim, shape.hidden_size, bias=False)
        self.q_norm = _RMSNorm(shape.head_dim, shape.norm_eps)
        self.k_norm = _RMSNorm(shape.head_dim, shape.norm_eps)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        heads = (*x.shape[:2], -1, self.head_dim)
        v = self.v_proj(x).view(heads).transpose(1, 2)  # [B, HKV, S, D]
        q = _rotate(self.q_norm(self.q_proj(x).view(heads)).transpose(1, 2), cos, sin).to(v.dtype)  # [B, HQ, S, D]
        k = _rotate(self.k_norm(self.k_proj(x).view(heads)).transpose(1, 2), cos, sin).to(v.dtype)  # [B, HKV, S, D]
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return self.o_proj(out.transpose(1, 2).flatten(2))  # [B, S, hidden]


class _FeedForward(nn.Module):
    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.hidden_size, shape.intermediate_size, bias=False)
        self.up_proj = nn.Linear(shape.hidden_size, shape.intermediate_size, bias=False)
        self.down_proj = nn.Linear(shape.intermediate_size, shape.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class _RMSNorm(nn.Module):
    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return self.weight * wide.to(x.dtype)


def _rotary_table(shape: ModelShape) -> tuple[Tensor, Tensor]:
    """Cosines and sines [max_positions, head_dim], both halves alike as Qwen3 has them."""
    frequency = 1.0 / shape.rope_theta ** (torch.arange(0, shape.head_dim, 2).float() / shape.head_dim)
    angle = torch.outer(torch.arange(shape.max_positions).float(), frequency).repeat(1, 2)
    return angle.cos(), angle.sin()


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    left, right = x.chunk(2, -1)
    return x * cos + torch.cat((-right, left), -1) * sin
