"""The process behind the bridge: ``python -m kitty_kv.worker`` answers calls over stdin and stdout."""
