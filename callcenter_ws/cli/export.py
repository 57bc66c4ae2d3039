"""``callcenter-ws export``: prints the stream of a tenant from the archive and the store."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

from callcenter_ws.broker.redis.broker import RedisBroker
from callcenter_ws.broker.sqlite.export import stored_events
from callcenter_ws.broker.sqlite.file import StoreUnusable
from callcenter_ws.cli.arguments import Commands, add_command, add_settings, instant
from callcenter_ws.cli.exported import Line, Merge, archived_lines
from callcenter_ws.cli.in_reactor import run_in_reactor
from callcenter_ws.cli.printable import printable
from callcenter_ws.cli.target import CommandFailed, settings_of
from callcenter_ws.config.settings import Settings
from callcenter_ws.demo.state import DemoState
from callcenter_ws.errors import Refusal
from callcenter_ws.events.publication import Publication
from callcenter_ws.figures.archive_files import TenantFolder, day_of_file
from callcenter_ws.redis.address import redis_address
from callcenter_ws.runtime.background import spawn
from callcenter_ws.runtime.clock import ReactorClock
from callcenter_ws.runtime.reactor import Reactor
from callcenter_ws.statistics.export_line import export_line, read_line

PAGE_EVENTS = 500
"""Events of one page that is read from Redis."""


def add(commands: Commands) -> None:
    """Add the command."""
    example = (
        "callcenter-ws export --config gw.toml --tenant acme --from 2026-11-23 --to 2026-11-24 | gzip > acme.jsonl.gz"
    )
    text = "print the events of a tenant as JSON lines, from the archive and the store; they may be in use"
    command = add_command(commands, "export", export, text, example)
    command.add_argument("--tenant", metavar="ID", help="the tenant")
    form = "a date (midnight in UTC) or an RFC 3339 instant"
    command.add_argument("--from", dest="since", metavar="WHEN", type=instant, help=f"received at or after: {form}")
    command.add_argument("--to", dest="until", metavar="WHEN", type=instant, help=f"received before: {form}")
    command.add_argument("--file", metavar="PATH", type=Path, help="the store (default: that of the configuration)")
    command.add_argument(
        "--archive", metavar="FOLDER", type=Path, help="the archive (default: archive.folder of the configuration)"
    )
    add_settings(command)


def export(arguments: argparse.Namespace) -> int:
    """Print the lines; return the exit status."""
    settings = None if arguments.config is None and not arguments.set else settings_of(arguments)
    tenant_id = arguments.tenant or _demo_tenant(arguments)
    out = sys.stdout.buffer
    for line in _lines(arguments, settings, tenant_id):
        if _is_wanted(line, arguments):
            out.write(line.text + b"\n")
    out.flush()
    return 0


def _is_wanted(line: Line, arguments: argparse.Namespace) -> bool:
    received = line.event.received_ms
    if arguments.since is not None and received < arguments.since:
        return False
    return arguments.until is None or received < arguments.until


def _lines(arguments: argparse.Namespace, settings: Settings | None, tenant_id: str) -> Iterator[Line]:
    merge = Merge()
    archive = arguments.archive or (None if settings is None else settings.archive.folder)
    files = [] if archive is None else _files(archive, tenant_id, arguments.since)
    yield from archived_lines(files, merge, _warn)
    begun = False
    for epoch, publication in _stored(arguments, settings, tenant_id, has_archive=archive is not None):
        last = merge.last(epoch)
        if not begun and last and publication.seq > last + 1 and archive is not None:
            # What is missing was archived, and trimmed from the store, since the files were read.
            yield from archived_lines(_files(archive, tenant_id, arguments.since), merge, _warn)
            last = merge.last(epoch)
        if last and publication.seq > last + 1:
            _warn(f"events {last + 1:,} to {publication.seq - 1:,} are neither in this archive nor in the store")
        begun = True
        if publication.seq > last:
            text = export_line(publication, epoch)
            line = Line(text, read_line(text))
            if merge.is_new(line):
                yield line


def _files(archive: Path, tenant_id: str, since: int | None) -> list[Path]:
    if not archive.is_dir():
        raise CommandFailed(f"{archive}: no such folder")
    files = TenantFolder(archive, tenant_id, "").files()
    if since is None:
        return files
    # Where clocks of nodes differ, the file of a day has events of the first moments of the next.
    first = date(1970, 1, 1) + timedelta(milliseconds=since) - timedelta(days=1)
    return [path for path in files if day_of_file(path) >= first]


def _stored(
    arguments: argparse.Namespace, settings: Settings | None, tenant_id: str, *, has_archive: bool
) -> Iterator[tuple[str, Publication]]:
    """Yield the epoch and each event that the store has.

    Raises:
        CommandFailed: it cannot be read.
    """
    path: Path | None = arguments.file
    if path is None and settings is None:
        path = DemoState.find().store_file
    elif path is None and settings is not None:
        path = settings.store_file
    if path is not None:
        try:
            yield from stored_events(path, tenant_id)
        except StoreUnusable as error:
            raise CommandFailed(str(error)) from None
    elif settings is not None and settings.redis_is_used:
        yield from _events_in_redis(settings, tenant_id)
    elif not has_archive:
        raise CommandFailed("the store is in the memory of the gateway, and there is no archive: nothing can be read")


def _events_in_redis(settings: Settings, tenant_id: str) -> Iterator[tuple[str, Publication]]:
    """Yield what Redis has; each page is read by a connection that is kept for all."""
    found: list[tuple[str, Publication]] = []

    async def read(reactor: Reactor) -> None:
        store = settings.store
        password = None if store.password_file is None else store.password_file.read_text().strip()
        broker = RedisBroker(
            reactor,
            ReactorClock(reactor),
            spawn,
            redis_address(store.url, password),
            prefix=store.key_prefix,
            ca_file=store.ca_file,
            timeout=store.timeout,
        )
        await broker.start(lambda _publications: None)
        try:
            log, seq = broker.tenant_store(tenant_id), 0
            while True:
                page = await log.read_log(seq, PAGE_EVENTS)
                if not page.publications:
                    return
                found.extend((page.epoch, publication) for publication in page.publications)
                seq = page.publications[-1].seq
        finally:
            await broker.stop()

    try:
        run_in_reactor(read)
    except Refusal as refusal:
        raise CommandFailed(f"{settings.store_name}: {refusal.message}") from None
    except (OSError, ValueError) as error:
        raise CommandFailed(str(error)) from None
    yield from found


def _demo_tenant(arguments: argparse.Namespace) -> str:
    if arguments.config is None and not arguments.set and arguments.file is None and arguments.archive is None:
        tenant = DemoState.find().tenant
        if tenant:
            return tenant
    raise CommandFailed("no tenant given: use --tenant ID")


def _warn(text: str) -> None:
    print(f"callcenter-ws export: {printable(text)}", file=sys.stderr)
