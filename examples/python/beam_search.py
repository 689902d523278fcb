"""Beam search over a packed cache: beams share pages, and a step reorders tables, not data.

Run: .venv/bin/python examples/python/beam_search.py [MODEL]
"""

import sys

from transformers import AutoModelForCausalLM, AutoTokenizer

import kitty_kv

kitty_kv.install()
path = sys.argv[1] if len(sys.argv) > 1 else str(kitty_kv.tiny.MODEL_PATH)
tokenizer = AutoTokenizer.from_pretrained(path)
model = AutoModelForCausalLM.from_pretrained(path, attn_implementation="kitty").eval()
inputs = tokenizer("Once upon a time", return_tensors="pt")

cache = kitty_kv.KittyCache.for_model(model, preset="kitty-pro")
output = model.generate(
    **inputs, past_key_values=cache, num_beams=4, num_return_sequences=2, max_new_tokens=32, do_sample=False
)

for text in tokenizer.batch_decode(output, skip_special_tokens=True):
    print(repr(text))
print(f"{len(cache.lengths)} beams of {cache.lengths[0]} tokens: {cache.memory()}")
