"""Compiles every Triton kernel for GPUs that are not there; ``python -m kitty_kernels.ahead_of_time``."""
