"""Daemons with a spool that are killed, with and without a running gateway."""

from __future__ import annotations

import secrets
import signal
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from processes import Deadline, RemoteDaemon, free_port, wait_until


class DaemonSetup:
    """The spool, the port and the token of a daemon and its gateway, before either is started."""

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

    @property
    def endpoint(self) -> str:
        return f"tcp:127.0.0.1:{self._port}"

    def start_daemon(self) -> RemoteDaemon:
        return RemoteDaemon(self.endpoint, self._token_file, self.spool)

    def start_daemon_without_token(self) -> RemoteDaemon:
        return RemoteDaemon(self.endpoint)

    def spooled(self) -> list[tuple[str, str]]:
        """Return the ids and timestamps of the events in the spool."""
        if not self.spool.exists():
            return []
        db = sqlite3.connect(self.spool)
        try:
            # The daemon may have created the file, but not the table yet.
            if not db.execute("SELECT * FROM sqlite_schema").fetchall():
                return []
            return db.execute("SELECT event_id, timestamp FROM event ORDER BY key").fetchall()
        finally:
            db.close()


@pytest.fixture
def daemon_setup(tmp_path: Path, start_gateway: Any) -> DaemonSetup:
    return DaemonSetup(tmp_path, start_gateway)


def until(condition: Callable[[], Any]) -> None:
    deadline, pause = Deadline(), threading.Event()
    while not condition():
        pause.wait(min(0.02, deadline.remaining()))


def alerts(gateway: Any, epoch: str, last: str) -> list[dict[str, Any]]:
    """Return the alerts that the gateway has published, up to the one with the title ``last``."""
    watcher = gateway.connect("supervisor", f"/ws?epoch={epoch}&seq=0")
    received = [watcher.receive_type("alert")]
    while received[-1]["payload"]["title"] != last:
        received.append(watcher.receive_type("alert"))
    received += [message for message in watcher.received_before_pong() if message["type"] == "alert"]
    watcher.socket.close()
    return received


def test_daemon_killed_while_the_gateway_is_down_loses_nothing(daemon_setup: DaemonSetup) -> None:
    first = daemon_setup.start_daemon()
    for number in range(250):
        first.start_call("send_alert", "acme", f"{number}", "x" * 300_000 * (number == 120))
    until(lambda: len(daemon_setup.spooled()) == 250)
    spooled = daemon_setup.spooled()
    assert first.stop(signal.SIGKILL) == -signal.SIGKILL
    second = daemon_setup.start_daemon()
    for number in range(250, 260):
        second.start_call("send_alert", "acme", f"{number}", "…")
    until(lambda: len(daemon_setup.spooled()) == 260)
    assert second.stop(signal.SIGKILL) == -signal.SIGKILL
    third = daemon_setup.start_daemon()
    answer = third.start_call("send_alert", "acme", "last", "…")
    gateway = daemon_setup.start_gateway()
    epoch = third.response(answer)["result"]["epoch"]
    received = alerts(gateway, epoch, "last")
    assert [message["payload"]["title"] for message in received] == [*map(str, range(260)), "last"]
    assert [(message["id"], message["timestamp"]) for message in received[:250]] == spooled
    until(lambda: daemon_setup.spooled() == [])
    assert third.wait() == 0


def test_daemon_killed_while_sending_loses_nothing_and_publishes_nothing_twice(daemon_setup: DaemonSetup) -> None:
    gateway = daemon_setup.start_gateway()
    first = daemon_setup.start_daemon()
    numbers = [first.start_call("send_alert", "acme", f"{number}", "…") for number in range(400)]
    epoch = first.response(numbers[150])["result"]["epoch"]
    assert first.stop(signal.SIGKILL) == -signal.SIGKILL
    spooled = daemon_setup.spooled()
    second = daemon_setup.start_daemon()
    second.call("send_alert", "acme", "last", "…")
    received = alerts(gateway, epoch, "last")
    titles = [message["payload"]["title"] for message in received]
    # The last events may have been answered, but not deleted from the spool.
    assert titles == [*map(str, range(len(titles) - 1)), "last"]
    assert len(titles) > 150
    ids = [message["id"] for message in received]
    assert [event_id for event_id in ids if event_id in dict(spooled)] == [event_id for event_id, _ in spooled]
    assert second.wait() == 0


def test_daemon_without_a_token_gets_an_answer_and_both_sides_say_why(daemon_setup: DaemonSetup) -> None:
    """As fault 19, which tried twice a second for ever."""
    gateway = daemon_setup.start_gateway()
    daemon = daemon_setup.start_daemon_without_token()
    daemon.start_call("send_alert", "acme", "1", "…")
    daemon.expect(r'"refused": "unauthorized", "reason": "call Authenticate')
    daemon.stop()
    assert (
        daemon.output.count(f"this daemon is refused by the gateway at {daemon_setup.endpoint}: UNAUTHENTICATED") == 1
    )
    wait_until(lambda: "Ping before Authenticate is refused" in gateway.log, "the refusal in the log")
    # Attempts after 1 and 2 seconds at most, until the event is refused.
    assert gateway.log.count("before Authenticate is refused") <= 3


def test_second_daemon_on_the_same_spool_does_not_start(daemon_setup: DaemonSetup) -> None:
    first = daemon_setup.start_daemon()
    until(daemon_setup.spool.exists)
    second = daemon_setup.start_daemon()
    assert second.wait() == 1
    assert f"{daemon_setup.spool} is in use by another process" in second.output
    assert first.wait() == 0
