"""The heavy half of the worker's start: torch, Transformers, threads."""

from __future__ import annotations

import gc
import importlib.metadata

from .engine_limits import EngineLimits
from .outbox import Outbox
from .service import Service
from .threads import set_threads


def start_service(outbox: Outbox, limits: EngineLimits) -> tuple[Service, dict[str, str]]:
    """Imports everything that sessions need.

    Returns:
        The service, and the body of the ready event.
    """
    import torch

    from ..hf.import_structure import use_known_structure

    use_known_structure()
    from ..hf import cache, loading  # noqa: F401  (loaded now, so that the first session is not slower)

    set_threads()
    service = Service(outbox, limits)
    # A million objects of imported modules never become garbage; looking at them again costs tens of milliseconds.
    gc.collect()
    gc.freeze()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return service, {
        "torch": torch.__version__,
        "transformers": importlib.metadata.version("transformers"),
        "device": device,
    }
