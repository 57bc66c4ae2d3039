"""GatewayReload: loads the settings of a running gateway again, and uses them without closing a connection.

``prepare`` reads everything and builds what the new settings need: each part of the gateway that can change has a step
in ``gateway.reload_steps``. ``commit`` exchanges what was built. ``config.changes.EFFECTS`` says when each key takes
effect.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from twisted.logger import Logger

from callcenter_ws.config.access import check_access
from callcenter_ws.config.changes import EFFECTS, ReloadReport, changed_keys, changes_in_place, settings_in_use
from callcenter_ws.config.rules import RULES
from callcenter_ws.config.settings import Settings
from callcenter_ws.gateway.reload_step import Commit, Reloading
from callcenter_ws.gateway.reload_steps import prepare_steps
from callcenter_ws.gateway.service import GatewayService
from callcenter_ws.gateway.setting_files import LISTEN_KEYS, file_digests
from callcenter_ws.runtime.setting_problems import ConfigError, Problem

_log = Logger()


class GatewayReload:
    """Implements ``config.changes.Reloadable`` for a gateway.

    Args:
        load: reads the settings as at the start of the process; raises ConfigError.
        set_log_level: sets the lowest level that is written to the log.
    """

    def __init__(
        self,
        service: GatewayService,
        load: Callable[[], Settings],
        set_log_level: Callable[[str], None] = lambda level: None,
    ) -> None:
        self._service = service
        self._load = load
        self._set_log_level = set_log_level
        # Of the files as they are used now.
        self._digests = file_digests(service.settings)

    def prepare(self) -> PreparedGatewayReload:
        """Read the settings and their files, and change nothing yet.

        Raises:
            ConfigError: with all problems; the old settings stay in use.
        """
        old, new = self._service.settings, self._load()
        settings = settings_in_use(old, new)
        changed = changed_keys(old, new)
        # Before the files are read for use: the next reload finds what changes after this.
        digests = file_digests(settings)
        in_place = {key for key in changed if changes_in_place(key)}
        # New endpoints wait for a restart, and until then the old ones keep what they have.
        files = [key for key, digest in digests.items() if key not in changed and digest != self._digests.get(key)]
        used = {key: digests[key] for key in digests if key in in_place or (key in files and _reads_again(key))}
        reloading = Reloading(
            self._service, old, settings, frozenset({*in_place, *filter(_reads_again, files)}), self._set_log_level
        )
        report = _report(changed, files, new)
        _check_together(old, settings, report)
        commits = prepare_steps(reloading)
        return PreparedGatewayReload(report, commits, lambda: self._use(settings, {**self._digests, **used}))

    def _use(self, settings: Settings, digests: Mapping[str, bytes]) -> None:
        self._service.settings = settings
        self._digests = digests


class PreparedGatewayReload:
    """Implements ``config.changes.PreparedReload``.

    Args:
        commits: what the steps have prepared.
        use: records the settings that are in use then.
    """

    def __init__(self, report: ReloadReport, commits: Sequence[Commit], use: Commit) -> None:
        self.report = report
        self._commits = (*commits, use)

    def commit(self) -> None:
        """Use the new settings from now on. Never raises."""
        for commit in self._commits:
            try:
                commit()
            except Exception:
                # A bug in one part must not prevent the same for the others.
                _log.failure("unhandled error in using new settings")


def _check_together(old: Settings, settings: Settings, report: ReloadReport) -> None:
    """Check that the new settings can be used together with the old ones of the keys that wait.

    Raises:
        ConfigError: with all problems.
    """
    if old.jwt.has_keys and not settings.jwt.has_keys:
        # Most often the file is being written just now: an empty one is valid.
        reason = "there would be no key to verify tokens with, and every client be refused; that needs a restart"
        raise ConfigError([Problem("", "jwt.secret_file", reason)])
    waiting = ", ".join(key for key, _ in report.waiting)
    findings = [finding for check in RULES for finding in check(settings)] if waiting else []
    if findings:
        text = f"; a change of {waiting} is used after a restart only"
        raise ConfigError([Problem("", finding.key, finding.reason + text) for finding in findings])


def _reads_again(key: str) -> bool:
    """Return whether a reload uses new contents of the files of a key: of certificates, though not new endpoints."""
    return key in LISTEN_KEYS or changes_in_place(key)


def _report(changed: Sequence[str], files: Sequence[str], new: Settings) -> ReloadReport:
    waiting = [key for key in changed if not changes_in_place(key)]
    waiting += [key for key in files if not _reads_again(key) and key not in waiting]
    return ReloadReport(
        applied=tuple([key for key in changed if changes_in_place(key)]),
        files=tuple([key for key in files if _reads_again(key)]),
        waiting=tuple([(key, EFFECTS[key].value) for key in waiting]),
        warnings=(*new.warnings, *_access_warnings(new, waiting)),
    )


def _access_warnings(new: Settings, waiting: Sequence[str]) -> Iterator[str]:
    """Yield what will prevent the next start: what this user cannot use of the settings that wait for it."""
    for finding in check_access(new):
        if finding.key in waiting:
            yield f"{finding.key}: {finding.reason}"
