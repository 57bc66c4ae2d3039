"""``callcenter-ws statistics --from``: the figures of exported lines, without a gateway."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from itertools import chain
from pathlib import Path

from callcenter_ws.cli.exported import Line, Merge, lines_of_file
from callcenter_ws.cli.printable import printable
from callcenter_ws.cli.target import CommandFailed, settings_of
from callcenter_ws.config.settings import Settings
from callcenter_ws.config.tenants import producers_of, settings_table
from callcenter_ws.statistics.export_line import NotALine
from callcenter_ws.statistics.occurrence import milliseconds
from callcenter_ws.statistics.period import BadPeriod, Period, period_of
from callcenter_ws.statistics.refold import Refold
from callcenter_ws.statistics.report import Report
from callcenter_ws.statistics.settings import SettingsTable
from callcenter_ws.statistics.stored import shows_derived
from callcenter_ws.statistics.sums import DAY_MS
from callcenter_ws.statistics.zones import Zone

_OF_A_GATEWAY = ("url", "watch", "token", "token_file")

_ZONE_DAYS = 2
"""Days by which the local date and the UTC day of an instant differ, and one more."""


def report_from(arguments: argparse.Namespace) -> Report:
    """Fold the lines of the files, and return the report.

    Raises:
        CommandFailed: a file cannot be read, there is no event in them, or an argument is not valid.
    """
    for name in _OF_A_GATEWAY:
        if getattr(arguments, name) is not None:
            raise CommandFailed(f"--{name.replace('_', '-')} asks a gateway, and --from reads files: give one of them")
    chosen = _Chosen(arguments.tenant)
    lines = Merge().lines([chosen.lines(path) for path in arguments.files])
    first = next(lines, None)
    if first is None:
        raise CommandFailed(
            "these files have no event" + (f" of tenant {arguments.tenant}" if arguments.tenant else "")
        )
    tenant_id = first.event.tenant_id
    settings = None if arguments.config is None and not arguments.set else settings_of(arguments)
    fold = Refold(_table(settings, tenant_id), _first_day(arguments.since), _warn_of_gap)
    for line in chain([first], lines):
        if arguments.at is not None and line.event.received_ms > arguments.at:
            break
        try:
            fold.apply(line.event)
        except NotALine as error:
            _warn(f"event {line.event.seq:,} is left out: {error}")
    now = fold.last_ms if arguments.at is None else arguments.at
    queues, agents = [sorted(set(names)) or None for names in (arguments.queue, arguments.agent)]
    try:
        return fold.report(tenant_id, now, partial(_period, arguments), queues, agents, _producers(settings, tenant_id))
    except BadPeriod as problem:
        text = str(problem).replace("from:", "--since:").replace("to:", "--until:")
        raise CommandFailed(text) from None


def _period(arguments: argparse.Namespace, zone: Zone, now: int) -> Period:
    return period_of(zone, now, start=arguments.since, end=arguments.until, interval=arguments.interval)


class _Chosen:
    """The lines of one tenant: the one that is named, or the only one."""

    def __init__(self, name: str | None) -> None:
        self._is_named = name is not None
        self._tenant_id = name

    def lines(self, path: Path) -> Iterator[Line]:
        """Yield the lines of the tenant in a file."""
        for line in lines_of_file(path, _warn):
            if self._tenant_id is None:
                self._tenant_id = line.event.tenant_id
            if line.event.tenant_id == self._tenant_id:
                yield line
            elif not self._is_named:
                raise CommandFailed("these files have events of several tenants: choose one with --tenant ID")


def _table(settings: Settings | None, tenant_id: str) -> SettingsTable | None:
    return None if settings is None else settings_table(settings.statistics, settings.tenants.by_name.get(tenant_id))


def _producers(settings: Settings | None, tenant_id: str) -> Callable[[str], bool]:
    """Return what says whether the ``queue.stats`` of producers are shown for a queue."""
    if settings is None:
        return shows_derived
    of_tenant, of_queues = producers_of(settings.statistics, settings.tenants.by_name.get(tenant_id))
    return lambda name: of_queues.get(name, of_tenant)


def _first_day(since: str | None) -> int | None:
    """Return the first UTC day that the report may need; None if it is not known before the fold."""
    if since is None:
        return None
    try:
        # Without an offset it is the time of this machine, which differs by a day at most.
        return milliseconds(datetime.fromisoformat(since).astimezone()) // DAY_MS - _ZONE_DAYS
    except (ValueError, OverflowError):
        return None


def _warn_of_gap(first: int, last: int) -> None:
    _warn(f"events {first:,} to {last:,} are not in these files: what depends on them is missing")


def _warn(text: str) -> None:
    print(f"callcenter-ws statistics: {printable(text)}", file=sys.stderr)
