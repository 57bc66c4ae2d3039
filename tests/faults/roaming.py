"""WebSocket clients that disconnect and reconnect, as browsers with a bad connection do."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from checker import Reader
from processes import DEADLINE
from restartable import RestartableGateway
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

MAX_RECONNECT_SECONDS = 0.1


class RoamingClient:
    """A client that reconnects whenever its connection ends, and disconnects at random.

    Args:
        gateway: where it connects; with several nodes, to a random one each time.
        reader: processes the messages.
        max_messages: the number of messages after which it disconnects, at most; 0: it does not disconnect.
        acknowledges: it connects with ``?ack=1`` and acknowledges mailbox items.
        timeout: seconds after which it disconnects from a gateway that does not answer; None: never.

    Attributes:
        closed_with: the close codes that the gateway sent.
        refused_with: the HTTP statuses with which the gateway refused connections.
        withholds_acks: it does not acknowledge at present.
    """

    def __init__(
        self,
        gateway: RestartableGateway | Sequence[RestartableGateway],
        reader: Reader,
        rng: random.Random,
        *,
        max_messages: int = 0,
        acknowledges: bool = False,
        timeout: float | None = None,
    ) -> None:
        self.reader = reader
        self.closed_with: list[int] = []
        self.changed = asyncio.Event()
        self.refused_with: Counter[int] = Counter()
        self._gateways = [gateway] if isinstance(gateway, RestartableGateway) else gateway
        self._timeout = timeout
        self._rng = rng
        self._max_messages = max_messages
        self.acknowledges = acknowledges
        self.withholds_acks = False
        self._socket: ClientConnection | None = None
        self._is_leaving = False
        self._task: asyncio.Task[None] | None = None

    @property
    def is_up_to_date(self) -> bool:
        """Whether it is connected and has received everything up to the position in the welcome."""
        return self._socket is not None and self.reader.caught_up

    # Connections

    def start(self) -> None:
        self._task = asyncio.create_task(self._live(), name=str(self.reader))

    def check(self) -> None:
        """Raise the error that has ended its task, if any."""
        if self._task is not None and self._task.done():
            self._task.result()

    async def leave(self) -> None:
        """Close the connection and do not reconnect."""
        self._is_leaving = True
        if self._socket is not None:
            await self._socket.close()
        if self._task is not None:
            await asyncio.wait_for(self._task, DEADLINE)

    def use_nodes(self, nodes: Sequence[RestartableGateway]) -> None:
        """Connect to one of these nodes from now on."""
        self._gateways = nodes

    def abort(self) -> None:
        """Abort the connection, and do not reconnect."""
        self._is_leaving = True
        if self._socket is not None:
            self._socket.transport.abort()

    async def reconnect(self) -> None:
        """Connect once more, without disconnecting at random, and read until it is up to date."""
        await self.leave()
        self._is_leaving = False
        self._max_messages = 0
        self.reader.caught_up = False
        self.start()
        await self.until(lambda: self.is_up_to_date)

    async def until(self, condition: Callable[[], Any], deadline: float = DEADLINE) -> None:
        """Wait for a condition that depends on messages or connections; fail after ``deadline`` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(deadline):
                while not condition():
                    self.check()
                    self.changed.clear()
                    await self.changed.wait()
        assert condition(), f"{self.reader} waited {deadline:g} s; {self.reader.counts}"

    async def ask(self, type_: str, payload: dict[str, Any] | None = None, id_: str = "") -> None:
        """Send a request."""
        assert self._socket is not None
        await self._socket.send(json.dumps({"type": type_, "payload": payload or {}, **({"id": id_} if id_ else {})}))

    async def wait_for_pongs(self) -> None:
        """Wait for the pongs to a request and to a ping frame: all messages sent before have then been received."""
        assert await self.is_answered(), f"{self.reader} lost its connection, closed with {self.closed_with}"

    async def is_answered(self) -> bool:
        """Wait as ``wait_for_pongs`` does; return False when the connection ended before the pongs came."""
        socket = self._socket
        if socket is None:
            return False
        request = f"ping {len(self.reader.pongs)}"
        try:
            await self.ask("ping", id_=request)
            await self.until(lambda: request in self.reader.pongs or self._socket is not socket)
            if request in self.reader.pongs:
                await asyncio.wait_for(await socket.ping(), DEADLINE)
                return True
        except ConnectionClosed:
            await self.until(lambda: self._socket is not socket)
        return False

    async def _live(self) -> None:
        try:
            while not self._is_leaving:
                drains = len(self.reader.drains)
                try:
                    await self._connection()
                except InvalidStatus as refused:
                    self.refused_with[refused.response.status_code] += 1
                except (OSError, InvalidHandshake, ConnectionClosed, EOFError):
                    pass
                self.changed.set()
                if not self._is_leaving:
                    # After the time in the drain message, or a random one.
                    delays = self.reader.drains[drains:]
                    await asyncio.sleep(delays[-1] / 1000 if delays else self._rng.uniform(0, MAX_RECONNECT_SECONDS))
        finally:
            self.changed.set()

    async def _connection(self) -> None:
        viewer = self.reader.viewer
        path = "/ws/public" if viewer.role == "visitor" else "/ws"
        query = "&".join(filter(None, [self.reader.begin(), "ack=1" if self.acknowledges else ""]))
        gateway = self._rng.choice(self._gateways)
        socket = await connect(
            f"ws://127.0.0.1:{gateway.port}{path}?{query}",
            additional_headers={"Authorization": f"Bearer {gateway.token(viewer.role, **viewer.claims)}"},
            compression=None,
            open_timeout=self._timeout or DEADLINE,
            close_timeout=self._timeout or DEADLINE,
            ping_interval=self._timeout,
            ping_timeout=self._timeout,
            max_queue=None,
            proxy=None,
        )
        self._socket = socket
        left_by_itself = False
        try:
            await self._read(socket)
            left_by_itself = True
        except ConnectionClosed as closed:
            if closed.rcvd is not None:
                self.closed_with.append(closed.rcvd.code)
            raise
        finally:
            self._socket = None
            # Unless it was closed in order, it is lost.
            socket.transport.abort()
            await socket.wait_closed()
        if left_by_itself:
            await self._read_rest(socket)

    async def _read_rest(self, socket: ClientConnection) -> None:
        """Process what had arrived before the client left.

        The library has answered the pings behind it, so that mail without acknowledgements counts as delivered.
        """
        with contextlib.suppress(ConnectionClosed):
            while True:
                self.reader.receive(json.loads(await socket.recv()))

    async def _read(self, socket: ClientConnection) -> None:
        left = self._rng.randint(1, self._max_messages) if self._max_messages else 0
        while not self._is_leaving:
            message = json.loads(await socket.recv())
            event_id = self.reader.receive(message)
            if message["type"] == "welcome":
                for request in self.reader.requests():
                    await socket.send(json.dumps(request))
            if event_id is not None and self.acknowledges and not self.withholds_acks:
                await socket.send(json.dumps({"type": "ack", "payload": {"ids": [event_id]}}))
            self.changed.set()
            if left and "seq" in message and not message.get("offline") and not self.reader.holds_events:
                left -= 1
                if not left:
                    if self._rng.random() < 0.5:
                        await socket.close()
                    return
