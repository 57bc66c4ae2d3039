"""``callcenter-ws export``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor

from callcenter_ws.broker.ingest import EventBroadcaster
from callcenter_ws.broker.sqlite.broker import SqliteBroker
from callcenter_ws.cli.main import main
from callcenter_ws.events.publication import Publication
from callcenter_ws.figures.archive_files import TenantFolder
from callcenter_ws.runtime.json import decode_json
from callcenter_ws.statistics.checkpoint import RowKey, take_changes
from callcenter_ws.statistics.export_line import export_line, read_line
from callcenter_ws.statistics.fold import apply_publication
from callcenter_ws.statistics.state import State
from callcenter_ws.testing import FakeClock

JOINED = {"unique_id": "1", "queue_name": "sales"}


@pytest_twisted.ensureDeferred
async def test_the_archive_and_the_store_give_each_event_once(tmp_path: Path, capsysbinary: Any) -> None:
    clock, store = FakeClock(), tmp_path / "events.sqlite"
    delivered: list[Publication] = []
    broker = SqliteBroker(reactor, clock, store)
    await broker.start(delivered.extend)
    publisher = EventBroadcaster(broker, clock)
    for type_, payload in (("queue.joined", JOINED), ("queue.left", {**JOINED, "reason": "abandoned"})):
        await publisher.publish("acme", type_, payload)
        clock.advance(86_400)
    await publisher.publish("acme", "agent.login", {"user_id": "7", "username": "a"})
    epoch = (await broker.position("acme")).epoch
    await broker.stop()
    lines = [export_line(publication, epoch) for publication in delivered]
    folder = TenantFolder(tmp_path / "archive", "acme", "node")
    folder.append(folder.new_file(20_833), 0, lines[:2])

    def exported(*arguments: str) -> list[bytes]:
        assert main(["export", "--tenant", "acme", "--file", str(store), *arguments]) == 0
        found: list[bytes] = capsysbinary.readouterr().out.splitlines()
        return found

    archive = ("--archive", str(tmp_path / "archive"))
    assert exported() == lines
    assert exported(*archive) == lines
    assert exported("--from", "2027-01-16", *archive) == lines[1:]
    assert exported("--from", "2027-01-16T08:00:00Z", "--to", "2027-01-17", *archive) == lines[1:2]
    assert exported("--to", "2027-01-16") == lines[:1]
    assert decode_json(lines[0])["received_at"] == "2027-01-15T08:00:00.000Z"
    # The archive of a store that goes on in another epoch, as after a backup was restored.
    earlier = [line.replace(epoch.encode(), b"0-earlier") for line in lines[:2]]
    folder = TenantFolder(tmp_path / "before", "acme", "node")
    folder.append(folder.new_file(20_833), 0, earlier)
    assert exported("--archive", str(tmp_path / "before")) == [*earlier, *lines[1:]]
    # A fold of the lines is that of the publications.
    once, again = State(), State()
    for publication, line in zip(delivered, lines, strict=True):
        apply_publication(once, publication, publication.event.received_ms)
        event = read_line(line)
        apply_publication(again, event.publication(), event.received_ms)
    rows = take_changes(once)
    assert rows == take_changes(again)
    assert RowKey("queue-day", "sales", 20_833) in rows


def test_what_cannot_be_read_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "--tenant", "acme", "--file", str(tmp_path / "none")]) == 1
    assert "none" in capsys.readouterr().err
    assert main(["export", "--file", str(tmp_path / "none")]) == 1
    assert "--tenant" in capsys.readouterr().err
    (tmp_path / "acme").write_bytes(b"a file in place of the folder of a tenant")
    assert main(["export", "--tenant", "acme", "--archive", str(tmp_path)]) == 1
    assert f"{tmp_path}/acme: Not a directory" in capsys.readouterr().err
    assert main(["export", "--tenant", "acme", "--from", "2026-11-23T10:00:00"]) == 2
