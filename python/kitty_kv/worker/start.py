"""The heavy half of the worker's start: torch, Transformers, threads."""

from __future__ import annotations

import gc
import math
import os

from .outbox import Outbox
from .service import Service

_MAX_THREADS = 16


def start_service(outbox: Outbox) -> tuple[Service, dict[str, str]]:
    """Imports everything that sessions need.

    Returns:
        The service, and the body of the ready event.
    """
    import torch
    import transformers

    from ..hf import cache, loading  # noqa: F401  (loaded now, so that the first session is not slower)

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(_torch_threads())
    service = Service(outbox)
    # A million objects of imported modules never become garbage; looking at them again costs tens of milliseconds.
    gc.collect()
    gc.freeze()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return service, {"torch": torch.__version__, "transformers": transformers.__version__, "device": device}


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
