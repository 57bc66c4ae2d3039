"""Clients that come and go, as pages on bad lines do."""

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

LONGEST_PAUSE = 0.1


class RoamingClient:
    """A client that connects again whenever its connection ends, and ends it itself now and then.

    Args:
        gateway: where it connects; of several nodes to any, each time.
        reader: deals with what comes.
        stays: messages after which it goes away by itself, at most; 0: it never does.
        acknowledges: it opted in (``?ack=1``), and acknowledges what it has dealt with.
        patience: seconds after which a gateway that does not answer is left; None: never.

    Attributes:
        closed_with: close codes that the gateway sent.
        refused_with: HTTP statuses with which the gateway refused a connection.
        acknowledges: as above.
        owes: it has opted in, and does not acknowledge for now.
    """

    def __init__(
        self,
        gateway: RestartableGateway | Sequence[RestartableGateway],
        reader: Reader,
        rng: random.Random,
        *,
        stays: int = 0,
        acknowledges: bool = False,
        patience: float | None = None,
    ) -> None:
        self.reader = reader
        self.closed_with: list[int] = []
        self.changed = asyncio.Event()
        self.refused_with: Counter[int] = Counter()
        self._gateways = [gateway] if isinstance(gateway, RestartableGateway) else gateway
        self._patience = patience
        self._rng = rng
        self._stays = stays
        self.acknowledges = acknowledges
        self.owes = False
        self._socket: ClientConnection | None = None
        self._is_leaving = False
        self._task: asyncio.Task[None] | None = None

    @property
    def is_here(self) -> bool:
        """Whether it is connected and knows everything up to its welcome."""
        return self._socket is not None and self.reader.caught_up

    # Life

    def start(self) -> None:
        self._task = asyncio.create_task(self._live(), name=str(self.reader))

    def check(self) -> None:
        """Say what it met."""
        if self._task is not None and self._task.done():
            self._task.result()

    async def leave(self) -> None:
        """Close the connection and do not come back."""
        self._is_leaving = True
        if self._socket is not None:
            await self._socket.close()
        if self._task is not None:
            await asyncio.wait_for(self._task, DEADLINE)

    def move(self, nodes: Sequence[RestartableGateway]) -> None:
        """Connect to one of these from now on."""
        self._gateways = nodes

    def break_off(self) -> None:
        """Lose the connection, and do not come back."""
        self._is_leaving = True
        if self._socket is not None:
            self._socket.transport.abort()

    async def come_back(self) -> None:
        """Connect once more, without going away any more, and read until everything is there."""
        await self.leave()
        self._is_leaving = False
        self._stays = 0
        self.reader.caught_up = False
        self.start()
        await self.until(lambda: self.is_here)

    async def until(self, condition: Callable[[], Any], deadline: float = DEADLINE) -> None:
        """Wait for something that a message or a connection changes."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(deadline):
                while not condition():
                    self.check()
                    self.changed.clear()
                    await self.changed.wait()
        assert condition(), f"{self.reader} waited {deadline:g} s in vain; {self.reader.figures}"

    async def ask(self, type_: str, payload: dict[str, Any] | None = None, id_: str = "") -> None:
        """Send a request."""
        assert self._socket is not None
        await self._socket.send(json.dumps({"type": type_, "payload": payload or {}, **({"id": id_} if id_ else {})}))

    async def hear_out(self) -> None:
        """Have the connection answer pings of both kinds; everything that was on its way comes before that."""
        assert self._socket is not None, f"{self.reader} is not connected"
        request = f"ping {len(self.reader.pongs)}"
        await self.ask("ping", id_=request)
        await self.until(lambda: request in self.reader.pongs)
        await asyncio.wait_for(await self._socket.ping(), DEADLINE)

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
                self._socket = None
                self.changed.set()
                if not self._is_leaving:
                    # Clients come back each in its own time, or in that which they were given.
                    told = self.reader.drains[drains:]
                    await asyncio.sleep(told[-1] / 1000 if told else self._rng.uniform(0, LONGEST_PAUSE))
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
            open_timeout=self._patience or DEADLINE,
            close_timeout=self._patience or DEADLINE,
            ping_interval=self._patience,
            ping_timeout=self._patience,
            max_queue=None,
            proxy=None,
        )
        self._socket = socket
        try:
            await self._read(socket)
        except ConnectionClosed as closed:
            if closed.rcvd is not None:
                self.closed_with.append(closed.rcvd.code)
            raise
        finally:
            # Whoever does not close it loses it.
            socket.transport.abort()
            await socket.wait_closed()

    async def _read(self, socket: ClientConnection) -> None:
        left = self._rng.randint(1, self._stays) if self._stays else 0
        while not self._is_leaving:
            message = json.loads(await socket.recv())
            letter = self.reader.take(message)
            if message["type"] == "welcome":
                for request in self.reader.requests():
                    await socket.send(json.dumps(request))
            if letter is not None and self.acknowledges and not self.owes:
                await socket.send(json.dumps({"type": "ack", "payload": {"ids": [letter]}}))
            self.changed.set()
            if left and "seq" in message and not message.get("offline") and not self.reader.waits:
                left -= 1
                if not left:
                    if self._rng.random() < 0.5:
                        await socket.close()
                    return
