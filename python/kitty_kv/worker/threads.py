"""How many threads torch may use in a process that shares its machine with a host."""

from __future__ import annotations

import math
import os

import torch

_MAX_THREADS = 16


def set_threads() -> None:
    """All cores this process may use but one, left to the host and the bridge; OMP_NUM_THREADS overrides."""
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(_torch_threads())


def _torch_threads() -> int:
    """All cores we may use but one, which reads, writes and runs the host."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(_MAX_THREADS, math.floor(min(cores, _cgroup_cores())) - 1))


def _cgroup_cores() -> float:
    """A container's share of the processor time, in cores; infinite where there is no limit."""
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:
            quota, period = file.read().split()
    except (OSError, ValueError):
        return math.inf
    return math.inf if quota == "max" else int(quota) / int(period)
