"""The manager interface of an exchange, for one bridge at a time: answers its actions, and sends what it is given."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping, Sequence

from bench.failure import InvalidRun
from bench.gateway import DEADLINE

BANNER = b"Asterisk Call Manager/11.0.0\r\n"

_QUIET_SECONDS = 1.0
_FULLY_BOOTED = "Event: FullyBooted\r\nPrivilege: system,all\r\nUptime: 60\r\nStatus: Fully Booted\r\n\r\n"
_ANSWERS: Mapping[str, str] = {
    "Challenge": "Response: Success\r\nChallenge: 123456789\r\n",
    "Login": "Response: Success\r\nMessage: Authentication accepted\r\n",
    "CoreSettings": "Response: Success\r\nAMIversion: 11.0.0\r\nAsteriskVersion: 22.10.1\r\n",
    "CoreStatus": "Response: Success\r\nCoreStartupDate: 2026-11-29\r\nCoreStartupTime: 06:00:00\r\n",
    "Filter": "Response: Success\r\nMessage: Filter added successfully\r\n",
    "Ping": "Response: Success\r\nPing: Pong\r\n",
}
_UNKNOWN = "Response: Error\r\nMessage: Invalid/unknown command\r\n"


class ExchangeAnswers:
    """Answers the actions of one connection. The exchange has queues and members, but no call.

    Args:
        queue_items: the items of the answer to ``QueueStatus``.

    Attributes:
        listed: whether the queues have been asked for.
    """

    def __init__(self, queue_items: Sequence[str]) -> None:
        self._lists: Mapping[str, tuple[str, Sequence[str], str]] = {
            "QueueStatus": ("Queue status", queue_items, "QueueStatusComplete"),
            "CoreShowChannels": ("Channels", (), "CoreShowChannelsComplete"),
            "BridgeList": ("Bridge listing", (), "BridgeListComplete"),
        }
        self._buffer = b""
        self.listed = False

    def feed(self, data: bytes) -> bytes:
        """Return the answers to the actions that these bytes complete."""
        *actions, self._buffer = (self._buffer + data).split(b"\r\n\r\n")
        return b"".join(map(self._answer, actions))

    def _answer(self, action: bytes) -> bytes:
        headers = dict(line.partition(": ")[::2] for line in action.decode().split("\r\n"))
        name = headers.get("Action", "")
        action_id = f"ActionID: {headers.get('ActionID', '')}\r\n\r\n"
        self.listed |= name == "QueueStatus"
        if name in self._lists:
            what, items, complete = self._lists[name]
            end = f"Event: {complete}\r\nEventList: Complete\r\nListItems: {len(items)}\r\n"
            start = f"Response: Success\r\nEventList: start\r\nMessage: {what} will follow\r\n"
            return "".join(text + action_id for text in (start, *items, end)).encode()
        answer = _ANSWERS.get(name, _UNKNOWN) + action_id
        return (answer + _FULLY_BOOTED if name == "Login" else answer).encode()


class ExchangeServer:
    """Listens on a port of the loopback interface, and runs until it is closed."""

    def __init__(self, queue_items: Sequence[str]) -> None:
        self._queue_items = queue_items
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._connection: socket.socket | None = None
        self._writing = threading.Lock()
        self._answered = threading.Event()
        self._synchronized = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def await_bridge(self) -> None:
        """Wait until a bridge has logged in, has asked for the lists, and asks nothing more.

        Raises:
            InvalidRun: if this takes longer than ``DEADLINE``.
        """
        if not self._synchronized.wait(DEADLINE):
            raise InvalidRun("the bridge did not log in and ask for the lists")
        while self._answered.wait(_QUIET_SECONDS):
            self._answered.clear()

    def send(self, data: bytes) -> None:
        """Send events; block while the bridge does not read.

        Raises:
            InvalidRun: if the bridge is not connected.
        """
        connection = self._connection
        if connection is None:
            raise InvalidRun("the bridge is not connected")
        try:
            with self._writing:
                connection.sendall(data)
        except OSError as error:
            raise InvalidRun(f"the bridge does not read events: {error}") from error

    def close(self) -> None:
        """Close the connection and the listener."""
        # Wakes the thread, which a mere close would leave in accept.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        if self._connection is not None:
            self._connection.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            try:
                self._converse(connection)
            except OSError:
                continue
            finally:
                self._connection = None

    def _converse(self, connection: socket.socket) -> None:
        answers = ExchangeAnswers(self._queue_items)
        connection.sendall(BANNER)
        self._connection = connection
        while data := connection.recv(65_536):
            with self._writing:
                connection.sendall(answers.feed(data))
            self._answered.set()
            if answers.listed:
                self._synchronized.set()
