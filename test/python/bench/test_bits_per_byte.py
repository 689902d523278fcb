"""The bits-per-byte protocol: page-wise calls stand for token-by-token decoding."""

from __future__ import annotations

import pytest
import torch

from kitty_kv import KittyCache
from kitty_kv.bench import bits_per_byte


@pytest.mark.parametrize("preset", ["kivi-2", "kitty-pro"])
def test_page_wise_calls_give_the_likelihood_of_token_by_token_decoding(make_model, preset):
    model = make_model(num_hidden_layers=2)
    tokens = torch.randint(3, 96, (2, 420), generator=torch.Generator().manual_seed(1))
    got = bits_per_byte.sequence_nats(model, tokens, KittyCache.for_model(model, preset=preset))
    cache = KittyCache.for_model(model, preset=preset)
    want, unquantized = 0.0, 0.0
    with torch.inference_mode():
        for t in range(419):
            logits = model(tokens[:, t : t + 1], past_key_values=cache).logits[:, 0].float()
            want += torch.nn.functional.cross_entropy(logits, tokens[:, t + 1], reduction="sum").item()
        logits = model(tokens, use_cache=False).logits[:, :-1].float()
        unquantized = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="sum"
        ).item()
    # A float32 model's tokens are seen in float32 within a call and from float16 after it.
    assert abs(got - want) < 1e-4 * want
    assert abs(got - unquantized) > 10 * abs(got - want)


def test_wrong_usage_is_one_sentence_and_exit_code_2(tmp_path, capsys):
    text = tmp_path / "short.txt"
    text.write_text("Too short.", encoding="utf-8")
    assert bits_per_byte.main(["--text", str(text), "--presets", "kity"]) == 2
    assert "did you mean 'kitty'" in capsys.readouterr().err
    assert bits_per_byte.main(["--text", str(tmp_path / "none.txt")]) == 1
    assert "none.txt" in capsys.readouterr().err
