"""The outcome of reloads, as the metrics show it."""

from __future__ import annotations

import pytest

from callcenter_ws.config.changes import ReloadReport
from callcenter_ws.ops.reload_outcome import RecordedReload, ReloadOutcome
from callcenter_ws.runtime.setting_problems import ConfigError


class Prepared:
    report = ReloadReport(applied=("log.level",))
    committed = False

    def commit(self) -> None:
        self.committed = True


class Settings:
    """A Reloadable whose settings may be wrong."""

    def __init__(self) -> None:
        self.problem = ""
        self.prepared = Prepared()

    def prepare(self) -> Prepared:
        if self.problem:
            raise ConfigError(self.problem)
        return self.prepared


def test_a_reload_that_is_refused_is_shown_until_one_is_applied() -> None:
    settings, outcome = Settings(), ReloadOutcome(10.0)
    reload = RecordedReload(settings, outcome, lambda: 99.0)
    assert (outcome.successful, outcome.applied_at) == (True, 10.0)
    settings.problem = "log.level: expected one of …"
    with pytest.raises(ConfigError):
        reload.prepare()
    assert (outcome.successful, outcome.applied_at) == (False, 10.0)
    settings.problem = ""
    prepared = reload.prepare()
    assert prepared.report is settings.prepared.report
    # Another worker may refuse it.
    assert (outcome.successful, outcome.applied_at) == (False, 10.0)
    prepared.commit()
    assert settings.prepared.committed
    assert (outcome.successful, outcome.applied_at) == (True, 99.0)
