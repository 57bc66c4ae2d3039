"""``callcenter-ws export``: prints the stream of a tenant from the archive and the store."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

from twisted.internet.task import deferLater

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

CONNECT_SECONDS = 15.0
"""How long to wait until Redis is connected."""


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
    archive = arguments.archive or (None if settings is None else settings.archive.folder)
    printing = _Printing(arguments, archive, tenant_id)
    printing.print_archive()
    _read_store(arguments, settings, tenant_id, printing.take, has_archive=archive is not None)
    printing.flush()
    return 0


Take = Callable[[str, Publication], None]
"""Takes the epoch and the next event of a store."""


class _Printing:
    """Prints the lines of the archive, then what the store has beyond them."""

    def __init__(self, arguments: argparse.Namespace, archive: Path | None, tenant_id: str) -> None:
        self._arguments = arguments
        self._archive = archive
        self._tenant_id = tenant_id
        self._merge = Merge()
        self._has_begun = False
        self._out = sys.stdout.buffer

    def print_archive(self) -> None:
        """Print the lines of the archive that are new."""
        if self._archive is not None:
            files = _files(self._archive, self._tenant_id, self._arguments.since)
            for line in archived_lines(files, self._merge, _warn):
                self._print(line)

    def take(self, epoch: str, publication: Publication) -> None:
        """Print an event of the store, unless the archive has it."""
        last = self._merge.last(epoch)
        if not self._has_begun and last and publication.seq > last + 1:
            # What is missing was archived, and trimmed from the store, since the files were read.
            self.print_archive()
            last = self._merge.last(epoch)
        if last and publication.seq > last + 1:
            _warn(f"events {last + 1:,} to {publication.seq - 1:,} are neither in this archive nor in the store")
        self._has_begun = True
        if publication.seq > last:
            text = export_line(publication, epoch)
            line = Line(text, read_line(text))
            if self._merge.is_new(line):
                self._print(line)

    def _print(self, line: Line) -> None:
        received = line.event.received_ms
        since, until = self._arguments.since, self._arguments.until
        if (since is None or received >= since) and (until is None or received < until):
            self._out.write(line.text + b"\n")

    def flush(self) -> None:
        """Write what is buffered."""
        self._out.flush()


def _files(archive: Path, tenant_id: str, since: int | None) -> list[Path]:
    if not archive.is_dir():
        raise CommandFailed(f"{archive}: no such folder")
    try:
        files = TenantFolder(archive, tenant_id, "").files()
    except OSError as error:
        raise CommandFailed(f"{error.filename}: {error.strerror}") from None
    if since is None:
        return files
    # Where clocks of nodes differ, the file of a day has events of the first moments of the next.
    first = date(1970, 1, 1) + timedelta(milliseconds=since) - timedelta(days=1)
    return [path for path in files if day_of_file(path) >= first]


def _read_store(
    arguments: argparse.Namespace, settings: Settings | None, tenant_id: str, take: Take, *, has_archive: bool
) -> None:
    """Pass each event of the store to ``take``, in order.

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
            for epoch, publication in stored_events(path, tenant_id):
                take(epoch, publication)
        except StoreUnusable as error:
            raise CommandFailed(str(error)) from None
    elif settings is not None and settings.redis_is_used:
        _read_redis(settings, tenant_id, take)
    elif not has_archive:
        raise CommandFailed("the store is in the memory of the gateway, and there is no archive: nothing can be read")


def _read_redis(settings: Settings, tenant_id: str, take: Take) -> None:
    """Pass each event in Redis to ``take``, page by page: the log may be larger than the memory."""

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
            await _connected(reactor, broker, settings)
            log, seq = broker.tenant_store(tenant_id), 0
            while (page := await log.read_log(seq, PAGE_EVENTS)).publications:
                for publication in page.publications:
                    take(page.epoch, publication)
                seq = page.publications[-1].seq
        finally:
            await broker.stop()

    try:
        run_in_reactor(read)
    except Refusal as refusal:
        raise CommandFailed(f"{settings.store_name}: {refusal.message}") from None
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as error:
        raise CommandFailed(str(error)) from None


async def _connected(reactor: Reactor, broker: RedisBroker, settings: Settings) -> None:
    """Wait until Redis is connected.

    Raises:
        CommandFailed: it is not in time.
    """
    deadline = reactor.seconds() + CONNECT_SECONDS
    while (problem := broker.not_ready()) is not None:
        if reactor.seconds() >= deadline:
            raise CommandFailed(f"{settings.store_name}: {problem}")
        await deferLater(reactor, 0.02)


def _demo_tenant(arguments: argparse.Namespace) -> str:
    if arguments.config is None and not arguments.set and arguments.file is None and arguments.archive is None:
        tenant = DemoState.find().tenant
        if tenant:
            return tenant
    raise CommandFailed("no tenant given: use --tenant ID")


def _warn(text: str) -> None:
    print(f"callcenter-ws export: {printable(text)}", file=sys.stderr)
