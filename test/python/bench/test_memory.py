"""What ``kitty_kv.bench.memory`` measures: allocated bytes of a real cache."""

from __future__ import annotations

from kitty_kv.bench.memory import fill


def test_a_prompt_allocates_what_it_holds_and_decoding_little_more():
    prompt, decoded = fill("kitty-pro", 8192, 1), fill("kitty-pro", 8192, 1, decoded=200)
    assert prompt["allocated_bytes"] == prompt["packed_bytes"] + prompt["full_precision_bytes"]
    assert prompt["dense_bytes"] / prompt["allocated_bytes"] > 5.66
    assert decoded["dense_bytes"] / decoded["allocated_bytes"] > 5.5
