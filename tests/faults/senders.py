"""Publishers that send again under the same ids whatever was not answered."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import secrets
from collections.abc import Iterator, Sequence
from http.client import HTTPException
from pathlib import Path

from checker import Ledger, Offer
from processes import DEADLINE, RemoteDaemon
from restartable import RestartableGateway

PART_BYTES = 65_535
AmpBox = dict[bytes, bytes]


def packed(box: AmpBox) -> bytes:
    """A box as it goes over the wire: length-prefixed keys and values, and an empty key."""
    return b"".join(len(text).to_bytes(2, "big") + text for pair in box.items() for text in pair) + b"\0\0"


async def read_box(stream: asyncio.StreamReader) -> AmpBox:
    """The next box."""
    box: AmpBox = {}
    while key := await _text(stream):
        box[key] = await _text(stream)
    return box


async def _text(stream: asyncio.StreamReader) -> bytes:
    return await stream.readexactly(int.from_bytes(await stream.readexactly(2), "big"))


def publish_box(offer: Offer) -> AmpBox:
    """The call of ``PublishEvent``; its event id is its tag."""
    box = {
        b"_ask": offer.event_id.encode(),
        b"_command": b"PublishEvent",
        b"tenant_id": offer.tenant.encode(),
        b"type": offer.type.encode(),
        b"event_id": offer.event_id.encode(),
    }
    payload = json.dumps(offer.payload).encode()
    for part, start in enumerate(range(0, len(payload), PART_BYTES)):
        box[b"payload.%d" % part if part else b"payload"] = payload[start : start + PART_BYTES]
    if offer.user_id is not None:
        box[b"user_id"] = offer.user_id.encode()
    if offer.persist:
        box[b"persist"] = b"True"
    return box


class Allowance:
    """How many events may be handed in from now on, all publishers together."""

    def __init__(self) -> None:
        self.left = 0
        self.rooms: list[asyncio.Event] = []

    def give(self, count: int) -> None:
        """Allow some more."""
        self.left += count
        for room in self.rooms:
            room.set()

    def take(self) -> bool:
        """Whether one more may be handed in; it counts as done then."""
        if not self.left:
            return False
        self.left -= 1
        return True


class AmpSender:
    """One AMP connection at a time, on which some events are under way.

    Args:
        path: where to connect; of several nodes to any, each time.
        offers: what it says; it stops with their end, or when it is told to, and has its answers by then.
        window: events that are under way at once.
        careful: it sends again what was not answered. Otherwise that is forgotten, and may be there or not.
        patience: seconds after which a gateway that says nothing is left; None: never.
        pause: seconds before it connects again, at most.
    """

    def __init__(
        self,
        path: Path | Sequence[Path],
        ledger: Ledger,
        offers: Iterator[Offer],
        rng: random.Random,
        *,
        allowance: Allowance,
        window: int = 64,
        careful: bool = True,
        patience: float | None = None,
        pause: float = 0.05,
    ) -> None:
        self._paths = [path] if isinstance(path, Path) else path
        self._patience = patience
        self._pause = pause
        self._ledger = ledger
        self._offers: Iterator[Offer] | None = offers
        self._rng = rng
        self._window = window
        self._careful = careful
        self._unanswered: dict[str, Offer] = {}
        self._room = asyncio.Event()
        self._allowance = allowance
        allowance.rooms.append(self._room)

    def stop(self) -> None:
        """Say nothing new."""
        self._offers = None
        self._room.set()

    async def run(self) -> None:
        """Send until there is nothing left."""
        while self._offers is not None or self._unanswered:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self._connection()
            if not self._careful:
                self._unanswered.clear()
            await asyncio.sleep(self._rng.uniform(0, self._pause))

    async def _connection(self) -> None:
        reader, writer = await asyncio.open_unix_connection(str(self._rng.choice(self._paths)))
        try:
            for offer in self._unanswered.values():
                self._ledger.resent += 1
                writer.write(packed(publish_box(offer)))
            await self._converse(reader, writer)
        finally:
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Send and receive at once, until one of the two ends."""
        tasks = [asyncio.create_task(self._receive(reader)), asyncio.create_task(self._send(writer))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome

    async def _send(self, writer: asyncio.StreamWriter) -> None:
        while self._offers is not None or self._unanswered:
            self._room.clear()
            if self._offers is not None and len(self._unanswered) < self._window and self._allowance.take():
                offer = next(self._offers, None)
                if offer is None:
                    self._offers = None
                    continue
                self._ledger.offer(offer)
                self._unanswered[offer.event_id] = offer
                writer.write(packed(publish_box(offer)))
                await writer.drain()
            else:
                await self._room.wait()

    async def _receive(self, reader: asyncio.StreamReader) -> None:
        while True:
            box = await asyncio.wait_for(read_box(reader), self._patience)
            event_id = box.get(b"_answer", box.get(b"_error", b"")).decode()
            if b"_answer" in box:
                self._unanswered.pop(event_id)
                self._ledger.acknowledge(event_id, box[b"epoch"].decode(), int(box[b"seq"]))
            else:
                self._ledger.refuse(event_id, box[b"_error_code"].decode())
                raise OSError(box[b"_error_description"].decode())
            self._room.set()


class HttpSender:
    """``POST /ws/events`` with lists of events, one after the other, to any of several nodes."""

    def __init__(
        self,
        gateway: RestartableGateway | Sequence[RestartableGateway],
        ledger: Ledger,
        offers: Iterator[Offer],
        rng: random.Random,
        *,
        allowance: Allowance,
        batch: int = 8,
        patience: float = DEADLINE,
        pause: float = 0.05,
    ) -> None:
        self._gateways = [gateway] if isinstance(gateway, RestartableGateway) else gateway
        self._patience = patience
        self._pause = pause
        self._ledger = ledger
        self._offers = offers
        self._rng = rng
        self._batch = batch
        self._room = asyncio.Event()
        self._allowance = allowance
        allowance.rooms.append(self._room)
        self._is_stopped = False

    def stop(self) -> None:
        """Say nothing new."""
        self._is_stopped = True
        self._room.set()

    async def run(self) -> None:
        """Send until there is nothing left."""
        while not self._is_stopped:
            self._room.clear()
            batch = []
            while len(batch) < self._batch and self._allowance.take():
                batch.append(next(self._offers))
                self._ledger.offer(batch[-1])
            if not batch:
                await self._room.wait()
            while batch and not await self._is_answered(batch):
                self._ledger.resent += len(batch)
                await asyncio.sleep(self._rng.uniform(0, self._pause))

    async def _is_answered(self, batch: list[Offer]) -> bool:
        try:
            fields = [offer.fields for offer in batch]
            status, answer = await asyncio.to_thread(self._rng.choice(self._gateways).publish, fields, self._patience)
        except (OSError, HTTPException, ValueError):
            return False
        if status != 200:
            return False
        for offer, result in zip(batch, answer["results"], strict=True):
            if "error" in result:
                self._ledger.refuse(offer.event_id, result["error"]["code"])
            else:
                self._ledger.acknowledge(offer.event_id, result["epoch"], result["seq"])
        return all("error" not in result for result in answer["results"])


class DaemonSender:
    """A daemon with ``callcenter_ws.remote.EventBroadcaster``, which resends by itself."""

    def __init__(
        self,
        gateway: RestartableGateway,
        ledger: Ledger,
        offers: Iterator[Offer],
        *,
        allowance: Allowance,
        window: int = 64,
    ) -> None:
        self._daemon = RemoteDaemon(f"unix:{gateway.amp_path}")
        self._ledger = ledger
        self._offers = offers
        self._window = window
        self._room = asyncio.Event()
        self._allowance = allowance
        allowance.rooms.append(self._room)
        self._is_stopped = False
        self._waiting: dict[int, str] = {}

    def stop(self) -> None:
        """Say nothing new."""
        self._is_stopped = True
        self._room.set()

    async def run(self) -> None:
        """Have the daemon send until there is nothing left."""
        while not self._is_stopped or self._waiting:
            self._room.clear()
            while not self._is_stopped and len(self._waiting) < self._window and self._allowance.take():
                self._tell(next(self._offers))
            if self._waiting:
                await self._hear(next(iter(self._waiting)))
            elif not self._is_stopped:
                await self._room.wait()
        assert await asyncio.to_thread(self._daemon.wait) == 0

    async def _hear(self, number: int) -> None:
        try:
            answer = await asyncio.to_thread(self._daemon.answer, number)
        except AssertionError:
            # It waits longer and longer before it connects again, for a gateway that is hardly ever there.
            assert self._daemon.process.poll() is None, self._daemon.output
            return
        assert "result" in answer, answer
        event_id = self._waiting.pop(number)
        assert answer["result"]["event_id"] == event_id
        self._ledger.acknowledge(event_id, answer["result"]["epoch"], answer["result"]["seq"])

    @property
    def is_answered(self) -> bool:
        """Whether it waits for nothing."""
        return not self._waiting

    def _tell(self, offer: Offer) -> None:
        self._ledger.offer(offer)
        more = {"user_id": offer.user_id, "persist": offer.persist, "event_id": offer.event_id}
        self._waiting[self._daemon.tell("publish", offer.tenant, offer.type, offer.payload, **more)] = offer.event_id

    def end(self) -> None:
        """End the daemon, whatever it has to say."""
        self._daemon.stop()


class AmpLink:
    """One AMP connection for calls that are answered or refused, each told to whoever called.

    Attributes:
        heard: what the gateway has passed on, each acknowledged.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.heard: list[AmpBox] = []
        self._ledger = ledger
        self._waiting: dict[str, asyncio.Future[AmpBox]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._receiving: asyncio.Task[None] | None = None

    async def open(self, path: Path) -> AmpLink:
        """Connect; ``close`` must follow, or the test after this one is blamed for it."""
        reader, self._writer = await asyncio.open_unix_connection(str(path))
        self._receiving = asyncio.create_task(self._receive(reader))
        return self

    async def close(self) -> None:
        """Disconnect; what is not answered by then is given up."""
        assert self._writer is not None and self._receiving is not None
        self._receiving.cancel()
        await asyncio.gather(self._receiving, return_exceptions=True)
        self._writer.transport.abort()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def publish(self, offer: Offer) -> str:
        """Publish an event, for the first time or again; return why it was refused, or nothing."""
        if offer.event_id not in self._ledger.offers:
            self._ledger.offer(offer)
        box = await self._ask(publish_box(offer))
        if b"_answer" in box:
            self._ledger.acknowledge(offer.event_id, box[b"epoch"].decode(), int(box[b"seq"]))
            return ""
        code = box[b"_error_code"].decode()
        self._ledger.refuse(offer.event_id, code)
        return f"{code} {box[b'_error_description'].decode()}"

    async def call(self, command: str, **arguments: str) -> AmpBox:
        """Call a command, which has to be answered."""
        named = {name.encode(): text.encode() for name, text in arguments.items()}
        box = await self._ask({b"_ask": secrets.token_hex(8).encode(), b"_command": command.encode(), **named})
        assert b"_answer" in box, box
        return box

    async def _ask(self, box: AmpBox) -> AmpBox:
        assert self._writer is not None
        waiting = self._waiting[box[b"_ask"].decode()] = asyncio.get_running_loop().create_future()
        self._writer.write(packed(box))
        return await asyncio.wait_for(waiting, DEADLINE)

    async def _receive(self, reader: asyncio.StreamReader) -> None:
        while True:
            box = await read_box(reader)
            if b"_command" in box:
                assert self._writer is not None
                self.heard.append(box)
                self._writer.write(packed({b"_answer": box[b"_ask"]}))
            else:
                self._waiting.pop(box.get(b"_answer", box.get(b"_error", b"")).decode()).set_result(box)
