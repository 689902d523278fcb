"""Windows of a text to measure a model on."""

from __future__ import annotations

import pathlib

import torch

from ..errors import ConfigError
from ..hf.loading import LoadedModel
from ..tiny.text import read_corpus

# Chapters 1 to 4 of Stevenson's Treasure Island (Project Gutenberg eBook 120, public domain), which the bundled model has
# not been trained on.
EXCERPT = pathlib.Path(__file__).with_name("excerpt.txt")


def read_text(path: pathlib.Path) -> str:
    """A text file, plain or ``.xz``, in UTF-8, without its document separators.

    Raises:
        ConfigError: the file is missing, unreadable, not UTF-8 or holds no text.
    """
    return "".join(read_corpus(path).documents)


def cut_windows(loaded: LoadedModel, text: str, sequences: int, length: int) -> tuple[torch.Tensor, int]:
    """Windows int64 ``[sequences, length]`` spread over ``text``, and the bytes of the tokens to predict.

    Raises:
        ConfigError: the text is too short or the model's context too small.
    """
    if sequences < 1:
        raise ConfigError(f"Cannot measure {sequences} windows: give 1 or more.")
    if not 2 <= length <= loaded.context_length:
        raise ConfigError(f"Cannot measure at length {length}: the model takes 2 to {loaded.context_length} tokens.")
    # The text is longer than the model's context, which the tokenizer would warn of.
    encoded = loaded.tokenizer(text, return_offsets_mapping=True, add_special_tokens=False, verbose=False)
    ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
    if len(ids) < sequences * length:
        raise ConfigError(
            f"Cannot cut {sequences} windows of {length} tokens: the text has {len(ids)}; give a longer text, or fewer or shorter windows."
        )
    stride = len(ids) // sequences
    starts = [index * stride for index in range(sequences)]
    spans = [text[offsets[start][1] : offsets[start + length - 1][1]] for start in starts]
    windows = torch.tensor([ids[start : start + length] for start in starts])
    return windows, sum(len(span.encode()) for span in spans)
