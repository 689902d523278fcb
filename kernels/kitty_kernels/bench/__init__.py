"""Measures the operations against 16-bit attention; ``python -m kitty_kernels.bench``."""
