"""A chat that is saved between its turns, as a job does that may be stopped: the second turn reads no token of the first again.

Run: .venv/bin/python examples/python/chat_with_save.py [MODEL]
"""

import pathlib
import sys
import tempfile

from transformers import AutoModelForCausalLM, AutoTokenizer

import kitty_kv

kitty_kv.install()

path = sys.argv[1] if len(sys.argv) > 1 else str(kitty_kv.tiny.MODEL_PATH)
tokenizer = AutoTokenizer.from_pretrained(path)
model = AutoModelForCausalLM.from_pretrained(path, attn_implementation="kitty").eval()


def reply(cache, text):
    """Goes on with ``text``, everything said so far; the cache holds all of it but the end."""
    inputs = tokenizer(text, return_tensors="pt")
    output = model.generate(**inputs, past_key_values=cache, max_new_tokens=48, do_sample=False)
    return tokenizer.decode(output[0], skip_special_tokens=True)


with tempfile.TemporaryDirectory() as folder:
    file = pathlib.Path(folder) / "chat.kitty"
    cache = kitty_kv.KittyCache.for_model(model, preset="kitty-pro")
    text = reply(cache, "Once upon a time there was a cat. ")
    cache.save(file)
    print(f"saved {cache.lengths[0]} tokens in {file.stat().st_size:,} bytes")

    restored = kitty_kv.KittyCache.load(file, model)
    same = reply(restored, text + " Then") == reply(cache, text + " Then")
    print(f"restored {restored.lengths[0]} tokens; the next turn is {'the same' if same else 'ANOTHER'}")
    sys.exit(0 if same else 1)
