"""Tables and views of a cache on each of its devices, kept while they are true."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .geometry import Geometry
from .row import Row
from .step import RowStep, Step
from .storage import Storage
from .views import Tables, Views, build_views, upload_tables


class DeviceViews:
    """What one cache sends to its devices; ``geometry`` of keys and values."""

    def __init__(self, geometry: tuple[Geometry, Geometry]) -> None:
        self._geometry = geometry
        self._tables: dict[torch.device, Tables] = {}
        self._views: dict[torch.device, tuple[int, Views]] = {}  # behind the version of the storage that they show

    def of(self, storage: Storage, rows: Sequence[Row], step: Step | None) -> Views:
        """Views and counters of the current pass on a device, or of the rows as they are between passes."""
        device = storage.device
        version, views = self._views.get(device, (None, None))
        if version != storage.version:
            if device not in self._tables:
                self._tables[device] = upload_tables(rows, self._geometry, device)
            steps = step.rows if step is not None else [RowStep.at_rest(row) for row in rows]
            views = build_views(storage, self._tables[device], self._geometry[0].sink_tokens, steps)
            self._views[device] = storage.version, views
        return views

    def begin(self, step: Step) -> None:
        """A pass has begun."""
        self._views.clear()
        if step.is_table_changed:
            self._tables.clear()

    def end(self) -> None:
        """A pass is over: what is at rest must not keep pools alive that grow for others."""
        self._views.clear()

    def forget(self) -> None:
        """The ids that the rows hold have changed."""
        self._tables.clear()
        self._views.clear()
