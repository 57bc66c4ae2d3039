"""The outcome of reloads of the settings, for the metrics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from callcenter_ws.config.changes import PreparedReload, Reloadable, ReloadReport


@dataclass(slots=True)
class ReloadOutcome:
    """The outcome of the last reload in this process.

    Attributes:
        successful: whether it was applied; true before the first.
        applied_at: when settings were read last that are in use now, in Unix seconds.
    """

    applied_at: float
    successful: bool = True


class RecordedReload:
    """Implements ``Reloadable`` by another one, and records the outcomes.

    Args:
        time: returns the Unix time.
    """

    def __init__(self, reloadable: Reloadable, outcome: ReloadOutcome, time: Callable[[], float]) -> None:
        self._reloadable = reloadable
        self._outcome = outcome
        self._time = time

    def prepare(self) -> PreparedReload:
        """Prepare; see ``Reloadable``. What this process refuses is recorded."""
        try:
            prepared = self._reloadable.prepare()
        except BaseException:
            self.refused()
            raise
        return _Recorded(prepared, self._applied)

    def refused(self) -> None:
        """Record that the settings are refused, as by another process of the node."""
        self._outcome.successful = False

    def _applied(self) -> None:
        self._outcome.successful = True
        self._outcome.applied_at = self._time()


class _Recorded:
    """Implements ``PreparedReload`` by another one."""

    def __init__(self, prepared: PreparedReload, applied: Callable[[], None]) -> None:
        self._prepared = prepared
        self._applied = applied

    @property
    def report(self) -> ReloadReport:
        """What the reload changes."""
        return self._prepared.report

    def commit(self) -> None:
        """Use the new settings, and record it."""
        self._prepared.commit()
        self._applied()
