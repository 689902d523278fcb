"""The process behind the bridge: ``python -m kitty_kv.worker`` answers calls and pushes tokens over its stdin and stdout."""
