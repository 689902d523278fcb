"""A kernel of one warp that keeps 512 numbers a thread; prints its resource usage on SM 9.0 as JSON."""

from __future__ import annotations

import dataclasses
import json

import torch
import triton
import triton.language as tl

from kitty_kernels.ahead_of_time.compile_launches import compile_launches
from kitty_kernels.ahead_of_time.resource_usage import read_usage
from kitty_kernels.ahead_of_time.target import TARGETS


@triton.jit
def spilling_kernel(x_ptr, SIZE: tl.constexpr):
    rows = tl.arange(0, SIZE)
    pointers = x_ptr + rows[:, None] * SIZE + rows[None, :]
    x = tl.load(pointers)  # [SIZE, SIZE]
    # Every number is needed after the last one was read.
    tl.store(pointers, x * tl.sum(tl.sum(x, 0), 0))


x = torch.zeros(128, 128)
(kernel,) = compile_launches(lambda: spilling_kernel[(1,)](x, SIZE=128, num_warps=1), TARGETS[90])
print(json.dumps({"name": kernel.name, "warps": kernel.warps, **dataclasses.asdict(read_usage(kernel.cubin))}))
