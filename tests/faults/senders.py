"""Publishers that resend unanswered events with the same ids."""

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
    """Return a box as bytes: length-prefixed keys and values, and an empty key."""
    return b"".join(len(text).to_bytes(2, "big") + text for pair in box.items() for text in pair) + b"\0\0"


async def read_box(stream: asyncio.StreamReader) -> AmpBox:
    """Return the next box."""
    box: AmpBox = {}
    while key := await _text(stream):
        box[key] = await _text(stream)
    return box


async def _text(stream: asyncio.StreamReader) -> bytes:
    return await stream.readexactly(int.from_bytes(await stream.readexactly(2), "big"))


def publish_box(offer: Offer) -> AmpBox:
    """Return the box of ``PublishEvent``; the event id is its ``_ask``."""
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


class EventQuota:
    """The number of events that all publishers together may submit."""

    def __init__(self) -> None:
        self.left = 0
        self.waiters: list[asyncio.Event] = []

    def add(self, count: int) -> None:
        """Allow ``count`` more events."""
        self.left += count
        for waiter in self.waiters:
            waiter.set()

    def use(self) -> bool:
        """Use one event of the quota; return whether there was one."""
        if not self.left:
            return False
        self.left -= 1
        return True


class AmpSender:
    """Publishes over AMP, on one connection at a time.

    Args:
        path: the socket to connect to; with several nodes, a random one each time.
        offers: the events; it ends with them or after ``stop``, when all answers have arrived.
        window: the maximum number of unanswered events.
        resends: it resends unanswered events; otherwise it drops them, and they may have been published or not.
        timeout: seconds without an answer after which it disconnects; None: never.
        max_pause: the maximum time before it reconnects, in seconds.
    """

    def __init__(
        self,
        path: Path | Sequence[Path],
        ledger: Ledger,
        offers: Iterator[Offer],
        rng: random.Random,
        *,
        quota: EventQuota,
        window: int = 64,
        resends: bool = True,
        timeout: float | None = None,
        max_pause: float = 0.05,
    ) -> None:
        self._paths = [path] if isinstance(path, Path) else path
        self._timeout = timeout
        self._max_pause = max_pause
        self._ledger = ledger
        self._offers: Iterator[Offer] | None = offers
        self._rng = rng
        self._window = window
        self._resends = resends
        self._unanswered: dict[str, Offer] = {}
        self._changed = asyncio.Event()
        self._quota = quota
        quota.waiters.append(self._changed)

    def stop(self) -> None:
        """Submit no new events."""
        self._offers = None
        self._changed.set()

    async def run(self) -> None:
        """Publish until there is nothing left."""
        while self._offers is not None or self._unanswered:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self._connection()
            if not self._resends:
                self._unanswered.clear()
            await asyncio.sleep(self._rng.uniform(0, self._max_pause))

    async def _connection(self) -> None:
        reader, writer = await asyncio.open_unix_connection(str(self._rng.choice(self._paths)))
        try:
            for offer in self._unanswered.values():
                self._ledger.resent += 1
                writer.write(packed(publish_box(offer)))
            await self._send_and_receive(reader, writer)
        finally:
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _send_and_receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Send and receive concurrently, until one of the two ends."""
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
            self._changed.clear()
            if self._offers is not None and len(self._unanswered) < self._window and self._quota.use():
                offer = next(self._offers, None)
                if offer is None:
                    self._offers = None
                    continue
                self._ledger.offer(offer)
                self._unanswered[offer.event_id] = offer
                writer.write(packed(publish_box(offer)))
                await writer.drain()
            else:
                await self._changed.wait()

    async def _receive(self, reader: asyncio.StreamReader) -> None:
        while True:
            box = await asyncio.wait_for(read_box(reader), self._timeout)
            event_id = box.get(b"_answer", box.get(b"_error", b"")).decode()
            if b"_answer" in box:
                self._unanswered.pop(event_id)
                self._ledger.acknowledge(event_id, box[b"epoch"].decode(), int(box[b"seq"]))
            else:
                self._ledger.refuse(event_id, box[b"_error_code"].decode())
                raise OSError(box[b"_error_description"].decode())
            self._changed.set()


class HttpSender:
    """Publishes lists of events with ``POST /ws/events``, one after the other, to random nodes."""

    def __init__(
        self,
        gateway: RestartableGateway | Sequence[RestartableGateway],
        ledger: Ledger,
        offers: Iterator[Offer],
        rng: random.Random,
        *,
        quota: EventQuota,
        batch: int = 8,
        timeout: float = DEADLINE,
        max_pause: float = 0.05,
    ) -> None:
        self._gateways = [gateway] if isinstance(gateway, RestartableGateway) else gateway
        self._timeout = timeout
        self._max_pause = max_pause
        self._ledger = ledger
        self._offers = offers
        self._rng = rng
        self._batch = batch
        self._changed = asyncio.Event()
        self._quota = quota
        quota.waiters.append(self._changed)
        self._is_stopped = False

    def stop(self) -> None:
        """Submit no new events."""
        self._is_stopped = True
        self._changed.set()

    async def run(self) -> None:
        """Publish until there is nothing left."""
        while not self._is_stopped:
            self._changed.clear()
            batch = []
            while len(batch) < self._batch and self._quota.use():
                batch.append(next(self._offers))
                self._ledger.offer(batch[-1])
            if not batch:
                await self._changed.wait()
            while batch := await self._unacknowledged(batch):
                self._ledger.resent += len(batch)
                await asyncio.sleep(self._rng.uniform(0, self._max_pause))

    async def _unacknowledged(self, batch: list[Offer]) -> list[Offer]:
        """Publish events; return those to be sent again: all of them if there was no answer."""
        if not batch:
            return []
        try:
            fields = [offer.fields for offer in batch]
            status, answer = await asyncio.to_thread(self._rng.choice(self._gateways).publish, fields, self._timeout)
        except (OSError, HTTPException, ValueError):
            return batch
        if status != 200:
            return batch
        for offer, result in zip(batch, answer["results"], strict=True):
            if "error" in result:
                self._ledger.refuse(offer.event_id, result["error"]["code"])
            else:
                self._ledger.acknowledge(offer.event_id, result["epoch"], result["seq"])
        return [offer for offer, result in zip(batch, answer["results"], strict=True) if "error" in result]


class DaemonSender:
    """Publishes through a daemon with ``callcenter_ws.remote.EventBroadcaster``, which resends by itself."""

    def __init__(
        self,
        gateway: RestartableGateway,
        ledger: Ledger,
        offers: Iterator[Offer],
        *,
        quota: EventQuota,
        window: int = 64,
    ) -> None:
        self._daemon = RemoteDaemon(f"unix:{gateway.amp_path}")
        self._ledger = ledger
        self._offers = offers
        self._window = window
        self._changed = asyncio.Event()
        self._quota = quota
        quota.waiters.append(self._changed)
        self._is_stopped = False
        self._waiting: dict[int, str] = {}

    def stop(self) -> None:
        """Submit no new events."""
        self._is_stopped = True
        self._changed.set()

    async def run(self) -> None:
        """Publish until there is nothing left."""
        while not self._is_stopped or self._waiting:
            self._changed.clear()
            while not self._is_stopped and len(self._waiting) < self._window and self._quota.use():
                self._publish(next(self._offers))
            if self._waiting:
                await self._receive_answer(next(iter(self._waiting)))
            elif not self._is_stopped:
                await self._changed.wait()
        assert await asyncio.to_thread(self._daemon.wait) == 0

    async def _receive_answer(self, number: int) -> None:
        try:
            answer = await asyncio.to_thread(self._daemon.response, number)
        except AssertionError:
            # Its reconnect delay grows while the gateway is unavailable most of the time.
            assert self._daemon.process.poll() is None, self._daemon.output
            return
        assert "result" in answer, answer
        event_id = self._waiting.pop(number)
        assert answer["result"]["event_id"] == event_id
        self._ledger.acknowledge(event_id, answer["result"]["epoch"], answer["result"]["seq"])

    @property
    def is_answered(self) -> bool:
        """Whether all events are answered."""
        return not self._waiting

    def _publish(self, offer: Offer) -> None:
        self._ledger.offer(offer)
        more = {"user_id": offer.user_id, "persist": offer.persist, "event_id": offer.event_id}
        number = self._daemon.start_call("publish", offer.tenant, offer.type, offer.payload, **more)
        self._waiting[number] = offer.event_id

    def end(self) -> None:
        """End the daemon, with or without unanswered events."""
        self._daemon.stop()


class AmpLink:
    """One AMP connection for calls, each of which returns its answer or its error.

    Attributes:
        client_events: the received calls of ``ClientEvent``, each answered.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.client_events: list[AmpBox] = []
        self._ledger = ledger
        self._waiting: dict[str, asyncio.Future[AmpBox]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._receiving: asyncio.Task[None] | None = None

    async def open(self, path: Path) -> AmpLink:
        """Connect; ``close`` must follow, or the next test fails on the open connection."""
        reader, self._writer = await asyncio.open_unix_connection(str(path))
        self._receiving = asyncio.create_task(self._receive(reader))
        return self

    async def close(self) -> None:
        """Disconnect; unanswered calls are abandoned."""
        assert self._writer is not None and self._receiving is not None
        self._receiving.cancel()
        await asyncio.gather(self._receiving, return_exceptions=True)
        self._writer.transport.abort()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def publish(self, offer: Offer) -> str:
        """Publish an event, for the first time or again; return why it was refused, or an empty string."""
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
        """Call a command, which must be answered; return the answer."""
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
        try:
            await self._read_boxes(reader)
        except (OSError, asyncio.IncompleteReadError) as error:
            # The calls fail at once, not at their deadline.
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(ConnectionError(f"the gateway closed the connection: {error}"))
            raise

    async def _read_boxes(self, reader: asyncio.StreamReader) -> None:
        while True:
            box = await read_box(reader)
            if b"_command" in box:
                assert self._writer is not None
                self.client_events.append(box)
                self._writer.write(packed({b"_answer": box[b"_ask"]}))
            else:
                self._waiting.pop(box.get(b"_answer", box.get(b"_error", b"")).decode()).set_result(box)
