"""Bits per byte: how many bits the model needs for a text, divided by the text's UTF-8 bytes.

Protocol: the documents are encoded plainly, joined as ``<|endoftext|> doc <|endoftext|> doc … <|endoftext|>`` and read in
windows of `length` tokens that do not overlap, so each token but the first is predicted exactly once, with only its own
window's earlier tokens as context. The bits of the separators count, their bytes do not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from .model_definition import IGNORED, TinyModel
from .text import Corpus
from .tokenizer import EOS_ID


@dataclass(frozen=True)
class Windows:
    """A text ready to be measured: inputs and targets [N, length], and the bytes they stand for."""

    inputs: Tensor
    targets: Tensor
    size_bytes: int
    tokens: int


def windows(tokenizer: Tokenizer, corpus: Corpus, length: int) -> Windows:
    """Encode a text for `bits_per_byte`."""
    encoded = [np.array([*e.ids, EOS_ID], np.int64) for e in tokenizer.encode_batch(list(corpus.documents))]
    stream = np.concatenate([np.array([EOS_ID]), *encoded])
    tokens = len(stream) - 1
    count = -(-tokens // length)
    inputs = np.zeros(count * length, np.int64)
    targets = np.full(count * length, IGNORED, np.int64)
    inputs[:tokens], targets[:tokens] = stream[:-1], stream[1:]
    inputs, targets = inputs.reshape(count, length), targets.reshape(count, length)
    predicted = targets[targets >= 0]
    size_bytes = int(_token_sizes(tokenizer)[predicted].sum())
    return Windows(torch.from_numpy(inputs), torch.from_numpy(targets), size_bytes, len(predicted))


@torch.no_grad()
def bits_per_byte(model: TinyModel, text: Windows, rows: int, *, autocast: bool = False) -> float:
    """Measure a text, `rows` windows at a time; `autocast` computes in bfloat16."""
    device = model.model.embed_tokens.weight.device
    was_training = model.training
    model.eval()
    nats = torch.zeros((), dtype=torch.float64, device=device)
    for start in range(0, len(text.inputs), rows):
        inputs = _padded(text.inputs[start : start + rows], rows, 0).to(device)
        targets = _padded(text.targets[start : start + rows], rows, IGNORED).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            nats += model.loss_sum(inputs, targets).double()
    model.train(was_training)
    return nats.item() / math.log(2) / text.size_bytes


def _token_sizes(tokenizer: Tokenizer) -> np.ndarray:
    """Bytes that each token stands for: one a character of its byte-level spelling, none for the separator."""
    sizes = [len(tokenizer.id_to_token(i)) for i in range(tokenizer.get_vocab_size())]
    sizes[EOS_ID] = 0
    return np.array(sizes)


def _padded(block: Tensor, rows: int, value: int) -> Tensor:
    """Fill the last block up, so that a compiled model sees one shape only."""
    missing = rows - len(block)
    return torch.cat([block, block.new_full((missing, block.shape[1]), value)]) if missing else block
