"""Daemons with a spool that are killed, with and without a gateway."""

from __future__ import annotations

import secrets
import signal
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from processes import Deadline, RemoteDaemon, free_port


class Site:
    """Where a daemon lives and where it sends to, before there is a gateway."""

    def __init__(self, folder: Path, start_gateway: Any) -> None:
        self.spool = folder / "events.spool"
        self._port = free_port()
        self._start_gateway = start_gateway
        self._token_file = folder / "amp.token"
        self._token_file.write_text(secrets.token_urlsafe(32))
        self._token_file.chmod(0o600)

    def start_gateway(self) -> Any:
        listen = f"tcp:{self._port}:interface=127.0.0.1"
        return self._start_gateway("", "--set", f"amp.token_file={self._token_file}", amp=[listen])

    def start_daemon(self) -> RemoteDaemon:
        return RemoteDaemon(f"tcp:127.0.0.1:{self._port}", self._token_file, self.spool)

    def spooled(self) -> list[tuple[str, str]]:
        """Ids and times of the events in the spool."""
        if not self.spool.exists():
            return []
        db = sqlite3.connect(self.spool)
        try:
            # The daemon may have made nothing but the file so far.
            if not db.execute("SELECT * FROM sqlite_schema").fetchall():
                return []
            return db.execute("SELECT event_id, timestamp FROM event ORDER BY key").fetchall()
        finally:
            db.close()


@pytest.fixture
def site(tmp_path: Path, start_gateway: Any) -> Site:
    return Site(tmp_path, start_gateway)


def until(condition: Callable[[], Any]) -> None:
    deadline, pause = Deadline(), threading.Event()
    while not condition():
        pause.wait(min(0.02, deadline.left()))


def alerts(gateway: Any, epoch: str, last: str) -> list[dict[str, Any]]:
    """All that the gateway has published, the alert with that title being the last one."""
    watcher = gateway.connect("supervisor", f"/ws?epoch={epoch}&seq=0")
    received = [watcher.receive_type("alert")]
    while received[-1]["payload"]["title"] != last:
        received.append(watcher.receive_type("alert"))
    received += [message for message in watcher.received_before_pong() if message["type"] == "alert"]
    watcher.socket.close()
    return received


def test_a_daemon_that_is_killed_while_the_gateway_is_down_loses_nothing(site: Site) -> None:
    first = site.start_daemon()
    for number in range(250):
        first.tell("send_alert", "acme", f"{number}", "x" * 300_000 * (number == 120))
    until(lambda: len(site.spooled()) == 250)
    spooled = site.spooled()
    assert first.stop(signal.SIGKILL) == -signal.SIGKILL
    second = site.start_daemon()
    for number in range(250, 260):
        second.tell("send_alert", "acme", f"{number}", "…")
    until(lambda: len(site.spooled()) == 260)
    assert second.stop(signal.SIGKILL) == -signal.SIGKILL
    third = site.start_daemon()
    answer = third.tell("send_alert", "acme", "last", "…")
    gateway = site.start_gateway()
    epoch = third.answer(answer)["result"]["epoch"]
    received = alerts(gateway, epoch, "last")
    assert [message["payload"]["title"] for message in received] == [*map(str, range(260)), "last"]
    assert [(message["id"], message["timestamp"]) for message in received[:250]] == spooled
    until(lambda: site.spooled() == [])
    assert third.wait() == 0


def test_a_daemon_that_is_killed_while_it_sends_loses_nothing_and_sends_nothing_twice(site: Site) -> None:
    gateway = site.start_gateway()
    first = site.start_daemon()
    numbers = [first.tell("send_alert", "acme", f"{number}", "…") for number in range(400)]
    epoch = first.answer(numbers[150])["result"]["epoch"]
    assert first.stop(signal.SIGKILL) == -signal.SIGKILL
    spooled = site.spooled()
    second = site.start_daemon()
    second.ask("send_alert", "acme", "last", "…")
    received = alerts(gateway, epoch, "last")
    titles = [message["payload"]["title"] for message in received]
    # Of the last ones the daemon may have been told, but have had no time to write them down.
    assert titles == [*map(str, range(len(titles) - 1)), "last"]
    assert len(titles) > 150
    ids = [message["id"] for message in received]
    assert [event_id for event_id in ids if event_id in dict(spooled)] == [event_id for event_id, _ in spooled]
    assert second.wait() == 0


def test_a_second_daemon_on_the_same_spool_does_not_start(site: Site) -> None:
    first = site.start_daemon()
    until(site.spool.exists)
    second = site.start_daemon()
    assert second.wait() == 1
    assert f"{site.spool} is in use by another process" in second.output
    assert first.wait() == 0
