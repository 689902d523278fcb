"""A random model on disk, and worker processes."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Callable, Iterator

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

# pytest imports test files without putting their folder on the path.
sys.path.insert(0, str(pathlib.Path(__file__).parent))
from worker_host import Host

CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TRAINING_TEXT = ["the cat sat on the mat and the dog ate the hat", "naïve café — “quotes” 你好 世界 🙂 🐈"]


def make_tokenizer(chat_template: str | None = CHAT_TEMPLATE) -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        show_progress=False,
    )
    backend.train_from_iterator(TRAINING_TEXT, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<|im_end|>", clean_up_tokenization_spaces=False
    )
    tokenizer.chat_template = chat_template
    return tokenizer


def save_random_model(
    folder: pathlib.Path,
    *,
    chat_template: str | None = CHAT_TEMPLATE,
    seed: int = 0,
    dtype: str = "float32",
    **sizes: object,
) -> pathlib.Path:
    """A model whose greedy text is long, varied and never ends by itself."""
    tokenizer = make_tokenizer(chat_template)
    config = Qwen3Config(
        **{
            "vocab_size": len(tokenizer),
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 128,
            "max_position_embeddings": 4096,
            "bos_token_id": None,
            "eos_token_id": None,
            "tie_word_embeddings": False,
            **sizes,
        }
    )
    torch.manual_seed(seed)
    model = Qwen3ForCausalLM(config)
    with torch.no_grad():
        # Random weights make flat logits; sharper ones make greedy text that differs when the cache does.
        model.lm_head.weight.mul_(8)
        # Only tokens that are whole ASCII text, so that what is compared can be read.
        for token, text in enumerate(tokenizer.batch_decode([[i] for i in range(len(tokenizer))])):
            if token < 3 or not (text.isascii() and text.isprintable()):
                model.lm_head.weight[token] = 0
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return save_random_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="session")
def save_model() -> Callable[..., pathlib.Path]:
    return save_random_model


@pytest.fixture
def start() -> Iterator[Callable[..., Host]]:
    """Starts workers and makes sure that none outlives the test."""
    hosts: list[Host] = []

    def start_one(**options: object) -> Host:
        hosts.append(Host(**options))
        return hosts[-1]

    yield start_one
    for host in hosts:
        host.close()


@pytest.fixture(scope="module")
def shared() -> Iterator[Host]:
    """One worker for tests that leave it as it was."""
    host = Host()
    yield host
    host.close()
