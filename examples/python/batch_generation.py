"""Prompts of different lengths in one batch: padding never enters the cache, so each writes what it would write alone.

Run: .venv/bin/python examples/python/batch_generation.py [MODEL]
"""

import sys

from transformers import AutoModelForCausalLM, AutoTokenizer

import kitty_kv

kitty_kv.install()
path = sys.argv[1] if len(sys.argv) > 1 else str(kitty_kv.tiny.MODEL_PATH)
tokenizer = AutoTokenizer.from_pretrained(path, padding_side="left")
model = AutoModelForCausalLM.from_pretrained(path, attn_implementation="kitty").eval()
prompts = ["Once upon a time", "Call me Ishmael. Some years ago, never mind how long precisely,", "The"]
settings = {"max_new_tokens": 32, "do_sample": False}

inputs = tokenizer(prompts, padding=True, return_tensors="pt")
cache = kitty_kv.KittyCache.for_model(model, preset="kitty-pro")
output = model.generate(**inputs, past_key_values=cache, **settings)
texts = tokenizer.batch_decode(output[:, inputs.input_ids.shape[1] :], skip_special_tokens=True)

for prompt, text, length in zip(prompts, texts, cache.lengths, strict=True):
    inputs = tokenizer(prompt, return_tensors="pt")
    alone = model.generate(**inputs, past_key_values=kitty_kv.KittyCache.for_model(model), **settings)
    same = tokenizer.decode(alone[0, inputs.input_ids.shape[1] :], skip_special_tokens=True) == text
    print(f"{prompt!r} -> {text!r}: {length} tokens cached, {'the same' if same else 'NOT the same'} as alone")
