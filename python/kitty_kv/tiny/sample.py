"""Writes a little text with the plain model, for the model card."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer

from .model_definition import TinyModel


@torch.no_grad()
def sample(model: TinyModel, tokenizer: Tokenizer, prompt: str, new_tokens: int, temperature: float, seed: int) -> str:
    """Continue `prompt`; temperature 0 is greedy. The whole text is read again for each token, which is fine for a card."""
    model.eval()
    device = model.model.embed_tokens.weight.device
    generator = torch.Generator().manual_seed(seed)
    ids = tokenizer.encode(prompt).ids
    for _ in range(new_tokens):
        logits = model(torch.tensor([ids], device=device))[0, -1].float().cpu()
        chosen = (
            torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator)
            if temperature
            else logits.argmax()
        )
        ids.append(int(chosen))
    return tokenizer.decode(ids, skip_special_tokens=False)
