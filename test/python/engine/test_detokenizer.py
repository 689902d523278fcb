"""Incremental text against the decoder of the real tokenizers library, over random unicode."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from kitty_kv.engine.detokenizer import REPLACEMENT, Detokenizer

WORDS = ["the cat sat on the mat", "naïve café", "你好世界", "🙂🐈‍⬛👩‍👩‍👧", "a\u0301e\u0302", "שלום", "¿qué?"]


def byte_level() -> Tokenizer:
    """Tokens are bytes and runs of bytes, like those of GPT-2, Llama 3 and Qwen."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(WORDS * 3, trainer)
    return tokenizer


def sentencepiece_like() -> Tokenizer:
    """Spaces are part of tokens, the first one is dropped, rare characters are byte tokens: Llama 2 and Gemma."""
    byte_tokens = {f"<0x{byte:02X}>": byte + 1 for byte in range(256)}
    pieces = ["▁", "▁the", "▁cat", "s", "at", "▁on", "m", *"abcdefghijklnopqrtuvwxyz"]
    vocab = {"<unk>": 0, **byte_tokens}
    for piece in pieces:
        vocab.setdefault(piece, len(vocab))
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


TOKENIZERS = {"byte-level": byte_level(), "sentencepiece-like": sentencepiece_like()}


@pytest.fixture(params=list(TOKENIZERS))
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return TOKENIZERS[request.param]


def decoder(tokenizer: Tokenizer) -> Callable[[list[int]], str]:
    return lambda ids: tokenizer.decode(ids, skip_special_tokens=True)


def chunks_of(tokenizer: Tokenizer, ids: list[int], prompt: list[int] = ()) -> list[str]:
    written = tokenizer.encode(REPLACEMENT).ids
    detokenizer = Detokenizer(decoder(tokenizer), prompt, written)
    return [*(detokenizer.push(token) for token in ids), detokenizer.flush()]


def random_text(rng: random.Random) -> str:
    ranges = [(0x20, 0x7E), (0xA0, 0x24F), (0x400, 0x4FF), (0x4E00, 0x9FFF), (0x1F300, 0x1FAFF), (0x10FF00, 0x10FFFD)]
    characters = [chr(rng.randint(*rng.choice(ranges))) for _ in range(rng.randint(0, 30))]
    return rng.choice(WORDS) + "".join(characters) + rng.choice(WORDS)


@pytest.mark.parametrize("seed", range(4))
def test_chunks_put_together_equal_the_full_decode(tokenizer: Tokenizer, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(60):
        ids = tokenizer.encode(random_text(rng)).ids
        assert "".join(chunks_of(tokenizer, ids)) == decoder(tokenizer)(ids)


@pytest.mark.parametrize("seed", range(4))
def test_no_chunk_holds_a_part_of_a_character(tokenizer: Tokenizer, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(60):
        text = random_text(rng)
        ids = tokenizer.encode(text).ids
        # Also when the completion is cut anywhere, even inside a character.
        cut = ids[: rng.randint(0, len(ids))]
        chunks = chunks_of(tokenizer, cut)
        assert REPLACEMENT not in "".join(chunks)
        assert decoder(tokenizer)(ids).startswith("".join(chunks))


@pytest.mark.parametrize("seed", range(4))
def test_a_completion_is_written_as_it_would_be_after_its_prompt(tokenizer: Tokenizer, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(60):
        ids = tokenizer.encode(random_text(rng) + " the cat sat").ids
        at = rng.randint(1, len(ids))
        prompt, completion = ids[:at], ids[at:]
        if REPLACEMENT in decoder(tokenizer)(prompt):
            continue
        full, before = decoder(tokenizer)(ids), decoder(tokenizer)(prompt)
        assert before + "".join(chunks_of(tokenizer, completion, prompt)) == full


def test_a_replacement_character_that_the_model_wrote_is_kept(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode(f"the {REPLACEMENT}").ids
    assert "".join(chunks_of(tokenizer, ids)) == f"the {REPLACEMENT}"


@pytest.mark.parametrize("seed", range(4))
def test_bytes_that_are_no_text_come_through_as_the_full_decode_has_them(seed: int) -> None:
    tokenizer = TOKENIZERS["byte-level"]
    rng = random.Random(seed)
    for _ in range(60):
        ids = [rng.randrange(tokenizer.get_vocab_size()) for _ in range(60)]
        whole = decoder(tokenizer)(ids)
        text = "".join(chunks_of(tokenizer, ids))
        assert whole.startswith(text)
        assert set(whole[len(text) :]) <= {REPLACEMENT}


def test_endless_noise_is_let_go_and_does_not_pile_up() -> None:
    tokenizer = TOKENIZERS["byte-level"]
    decoded: list[int] = []

    def decode(ids: list[int]) -> str:
        decoded.append(len(ids))
        return tokenizer.decode(ids)

    noise = tokenizer.token_to_id("ÿ")  # the byte FF, which no UTF-8 text holds
    detokenizer = Detokenizer(decode)
    text = "".join(detokenizer.push(noise) for _ in range(500))
    assert len(text) > 480
    assert max(decoded) < 40
