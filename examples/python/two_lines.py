"""A stock Transformers script with a 2-bit KV cache: two lines changed, two added.

Run: .venv/bin/python examples/python/two_lines.py [MODEL]
"""

import sys

from transformers import AutoModelForCausalLM, AutoTokenizer

import kitty_kv  # added

kitty_kv.install()  # added

path = sys.argv[1] if len(sys.argv) > 1 else str(kitty_kv.tiny.MODEL_PATH)
tokenizer = AutoTokenizer.from_pretrained(path)
model = AutoModelForCausalLM.from_pretrained(path, attn_implementation="kitty")  # changed
inputs = tokenizer("Once upon a time", return_tensors="pt")
settings = {"cache_implementation": "kitty", "cache_config": {"preset": "kitty-pro"}}
output = model.generate(**inputs, max_new_tokens=64, do_sample=False, **settings)  # changed

print(tokenizer.decode(output[0], skip_special_tokens=True))
