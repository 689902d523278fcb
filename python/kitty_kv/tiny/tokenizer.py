"""The model's tokenizer: byte-level BPE, digits one by one, no normalisation, so any text comes back unchanged."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from ..errors import ConfigError
from .text import SEPARATOR

# Merges never cross these pieces: a contraction's ending, a word with the space before it, one digit, punctuation with the
# space before it, line ends with the blanks before them, other blanks (the last one is left to the word that follows).
PIECES = r"['’](?:s|t|re|ve|m|ll|d)(?!\p{L})| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s*[\r\n]+|\s+(?!\S)|\s+"
EOS_ID = 0
BYTES_ONLY = 257


def train_tokenizer(documents: Iterable[str], vocab_size: int) -> Tokenizer:
    """Learn merges until `vocab_size` entries exist: `<|endoftext|>` (id 0), 256 bytes, merges; 257 means bytes only."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        show_progress=False,
        special_tokens=[SEPARATOR],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(documents, trainer)
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path, max_length: int) -> None:
    """Write tokenizer.json, tokenizer_config.json and special_tokens_map.json as Transformers reads them."""
    tokenizer.save(str(folder / "tokenizer.json"))
    special = {"bos_token": SEPARATOR, "eos_token": SEPARATOR, "pad_token": SEPARATOR, "unk_token": None}
    config = {
        **special,
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_length,
        "model_input_names": ["input_ids", "attention_mask"],
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "added_tokens_decoder": {
            str(EOS_ID): {
                "content": SEPARATOR,
                "lstrip": False,
                "normalized": False,
                "rstrip": False,
                "single_word": False,
                "special": True,
            }
        },
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    named = {name: token for name, token in special.items() if token}
    (folder / "special_tokens_map.json").write_text(json.dumps(named, indent=2) + "\n")


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of an exported model.

    Raises:
        ConfigError: there is none.
    """
    try:
        return Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # what the library raises for a file it cannot read
        raise ConfigError(
            f'Cannot go on from the model "{folder}": {error} (tokenizer.json); give a folder that this recipe wrote'
        ) from error


def merge_ranks(tokenizer: Tokenizer) -> dict[tuple[int, int], tuple[int, int]]:
    """``(left id, right id) -> (rank, merged id)``, lowest rank merges first."""
    vocab = tokenizer.get_vocab()
    ranks = {}
    for rank, merge in enumerate(json.loads(tokenizer.to_str())["model"]["merges"]):
        left, right = merge if isinstance(merge, list) else merge.split(" ")
        ranks[(vocab[left], vocab[right])] = (rank, vocab[left + right])
    return ranks


def byte_ids(tokenizer: Tokenizer) -> list[int]:
    """The id of each of the 256 bytes."""
    vocab = tokenizer.get_vocab()
    return [vocab[character] for character in _byte_characters()]


def _byte_characters() -> list[str]:
    """GPT-2's printable stand-in for each byte, which ByteLevel uses: itself where printable, else U+0100 upwards."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in printable]
    characters = {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(rest)}
    return [characters[byte] for byte in range(256)]
