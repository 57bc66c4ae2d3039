"""The worker's part of a reload of the node: it prepares the settings that it is given, and uses or discards them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from callcenter_ws.config.changes import PreparedReload, Reloadable, ReloadReport
from callcenter_ws.config.source import SettingsSource


class WorkerReload:
    """Loads the settings of a worker again, in two steps.

    Args:
        source: where ``reloadable`` reads the settings.
        refused: called when the settings are refused, by this worker, another one or the supervisor.
    """

    def __init__(
        self, source: SettingsSource, reloadable: Reloadable, refused: Callable[[], None] = lambda: None
    ) -> None:
        self._source = source
        self._reloadable = reloadable
        self._refused = refused
        self._prepared: PreparedReload | None = None

    def prepare(self, copy: str) -> ReloadReport:
        """Read settings, and change nothing yet.

        Args:
            copy: the path of the copy of the settings' file; empty: there is no file.

        Raises:
            ConfigError: with all problems.
        """
        self._prepared = None
        self._source.copy = Path(copy) if copy else None
        # What was pinned at the start is in use; the reload finds by itself what stays as it is.
        self._source.pinned = ()
        self._prepared = self._reloadable.prepare()
        return self._prepared.report

    def commit(self) -> None:
        """Use what was prepared."""
        prepared, self._prepared = self._prepared, None
        if prepared is not None:
            prepared.commit()

    def abort(self) -> None:
        """Discard what was prepared, if anything was."""
        self._prepared = None
        self._refused()
