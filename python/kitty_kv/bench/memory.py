"""How many bytes a cache really allocates, beside what the same tokens need at 16 bits.

Run: python -m kitty_kv.bench.memory [--preset P] [--layers N]

Default shapes are Qwen3-8B's but for the number of layers: every layer allocates the same, so two show what 36 do. Nothing is
estimated: random keys and values fill a real cache on the CPU, as a prompt, in chunks, or in its last tokens one by one.
"""

from __future__ import annotations

import argparse

import torch

from ..cache.memory import CacheMemory, cache_memory
from ..cache.paged_cache import PagedCache
from ..config import DEFAULT_PRESET, PRESETS

KV_HEADS, HEAD_DIM = 8, 128  # Qwen3-8B
LENGTHS = (8192, 8287, 32768, 32863, 131072)  # 8,287 and 32,863 are the last before one more page
CHUNK = 4096
DECODED = 300  # more than two pages


def fill(preset: str, length: int, layers: int, *, decoded: int = 0) -> CacheMemory:
    """One row of ``length`` tokens, float16: a prompt in chunks, then the last ``decoded`` tokens one by one."""
    cache = PagedCache(PRESETS[preset], layers)
    generator = torch.Generator().manual_seed(0)
    keys, values = torch.randn(2, 1, KV_HEADS, CHUNK, HEAD_DIM, generator=generator).half()
    prompt = length - decoded
    sizes = [CHUNK] * (prompt // CHUNK) + [prompt % CHUNK] * (prompt % CHUNK > 0) + [1] * decoded
    for size in sizes:
        for layer in cache.layers:
            layer.append(keys[:, :, :size], values[:, :, :size])
    return cache_memory(cache)


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(prog="python -m kitty_kv.bench.memory", description=__doc__.split("\n")[0])
    parser.add_argument("--preset", choices=list(PRESETS), default=DEFAULT_PRESET)
    parser.add_argument("--layers", type=int, default=2, help="how many layers are filled")
    arguments = parser.parse_args()
    print(
        f"{arguments.preset}, one row, {KV_HEADS} KV heads x {HEAD_DIM} channels; dense bytes divided by each, per layer"
    )
    print("  tokens  filled                allocated bytes  by allocated  by held")
    for length in LENGTHS:
        for decoded, how in ((0, "as a prompt"), (1, "prompt, one token"), (DECODED, f"last {DECODED} one by one")):
            memory = fill(arguments.preset, length, arguments.layers, decoded=decoded)
            allocated = memory["allocated_bytes"]
            ratio = memory["dense_bytes"] / allocated
            per_layer = allocated // arguments.layers
            print(f"{length:8}  {how:20} {per_layer:16,} {ratio:12.3f}x {memory['compression']:7.3f}x")


if __name__ == "__main__":
    main()
