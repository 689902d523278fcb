"""The GPUs that kernels are compiled for, and what a block may use on them."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """A compute capability.

    Args:
        capability: 90 for SM 9.0.
        shared_bytes: shared memory that one block may have.
    """

    capability: int
    shared_bytes: int

    @property
    def name(self) -> str:
        return f"SM {self.capability // 10}.{self.capability % 10}"


# Source: CUDA C++ programming guide, technical specifications per compute capability.
TARGETS = {
    target.capability: target for target in (Target(80, 163 * 1024), Target(89, 99 * 1024), Target(90, 227 * 1024))
}
