"""Checks that each client received what it should have received.

The Ledger records which events were submitted, which were acknowledged, and at which positions. A Reader implements the
client's side of the protocol and records what it received. The rules of who may see an event are implemented here a
second time, from ``docs/events.rst`` and not from the gateway's code, so that a mistake in one of them is found.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from callcenter_ws.broker.sqlite.schema import SEQ_BITS, seq_of

Message = dict[str, Any]
"""A decoded message of the gateway."""
MASK = "***"
PRESENCE_CHANGED = "presence.changed"
COMMAND_EXECUTED = "command.executed"
_CONFLATED_BY = {"queue.stats": "queue_name", PRESENCE_CHANGED: "user_id"}


class Violation(AssertionError):
    """The gateway broke one of its guarantees."""


@dataclass(frozen=True)
class Offer:
    """An event as its publisher submits it, and what determines who may see it.

    Attributes:
        queue, agents: those of the whole call, if the event omits them.
    """

    tenant: str
    type: str
    payload: dict[str, Any]
    event_id: str
    user_id: str | None = None
    persist: bool = False
    queue: str | None = None
    agents: frozenset[str] = frozenset()

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of ``PublishEvent`` and of ``POST /ws/events``."""
        more = {"user_id": self.user_id} if self.user_id is not None else {}
        persist = {"persist": True} if self.persist else {}
        event = {"tenant_id": self.tenant, "type": self.type, "payload": self.payload, "event_id": self.event_id}
        return {**event, **more, **persist}

    @property
    def is_mail(self) -> bool:
        """Whether it goes to the mailbox of its user."""
        return self.user_id is not None and (self.persist or self.type == "notification")

    @property
    def conflation_key(self) -> tuple[str, Any] | None:
        """Of events with the same key, a client that lags needs only the newest."""
        name = _CONFLATED_BY.get(self.type)
        return None if name is None else (self.type, self.payload[name])


@dataclass(frozen=True)
class Viewer:
    """The token of a client, and the events it subscribes to; None: it sends no subscription."""

    tenant: str
    role: str
    user_id: str
    queues: tuple[str, ...] | None = None
    session: str | None = None
    events: tuple[str, ...] | None = None
    jti: str | None = None

    @property
    def claims(self) -> dict[str, Any]:
        """The claims of the token beside the role."""
        queues = None if self.queues is None else list(self.queues)
        named = {"tenant_id": self.tenant, "sub": self.user_id, "session_id": self.session, "jti": self.jti}
        return {**named, "queues": queues}

    def may_see(self, offer: Offer) -> bool:
        """Return whether the gateway may send the event to this client."""
        if offer.tenant != self.tenant or not self._wants(offer.type):
            return False
        family = offer.type.partition(".")[0]
        if self.role == "visitor":
            own = family == "chat" and offer.payload["session_id"] == self.session
            return own and not offer.payload.get("private") and offer.user_id in (None, self.user_id)
        if self.role == "wallboard" and family == "chat":
            return False
        if self.role == "agent" and offer.type in (PRESENCE_CHANGED, COMMAND_EXECUTED):
            return False
        if offer.user_id is not None:
            return offer.user_id == self.user_id
        if family in ("call", "queue") and self.queues is not None:
            handles = self.role == "agent" and self.user_id in offer.agents
            return handles or offer.queue in self.queues
        return True

    def _wants(self, type_: str) -> bool:
        if self.events is None:
            return self.role != "service"
        return any(type_ == name or (name.endswith(".*") and type_.startswith(name[:-1])) for name in self.events)

    def redacted(self, offer: Offer) -> dict[str, Any]:
        """Return the payload as this client receives it."""
        if self.role == "wallboard":
            masked = {"caller_id", "caller_name"}
            return {key: MASK if key in masked else value for key, value in offer.payload.items()}
        if self.role == "visitor":
            return {key: value for key, value in offer.payload.items() if "email" not in key}
        return offer.payload


@dataclass
class Ledger:
    """The submitted events, and their outcomes.

    Attributes:
        acknowledged: positions by event id.
        refused: error codes by event id; removed when the event is sent again and acknowledged.
        streams: event ids by tenant and position, of all events that were acknowledged or received by a client.
        epochs: by tenant, the epoch of the acknowledged events.
        process_number: the number of the gateway's process, counted from 1.
        may_lose_sent_marks: a fault is in progress, and the record that a mailbox item was sent may be late or lost.
        may_change_epoch: the store may begin a new epoch although it has lost nothing.
        longest_wait: the longest time from the submission of an event to its acknowledgement, in seconds.
    """

    offers: dict[str, Offer] = field(default_factory=dict)
    acknowledged: dict[str, int] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    streams: dict[str, dict[int, str]] = field(default_factory=dict)
    epochs: dict[str, str] = field(default_factory=dict)
    resent: int = 0
    process_number: int = 1
    may_lose_sent_marks: bool = False
    may_change_epoch: bool = False
    longest_wait: float = 0.0
    _positions: dict[tuple[str, str], int] = field(default_factory=dict)
    _offered_at: dict[str, float] = field(default_factory=dict)

    @property
    def epoch(self) -> str | None:
        """The epoch of all tenants, of a store that has one for all; None if nothing was acknowledged."""
        epochs = set(self.epochs.values())
        if len(epochs) > 1:
            raise Violation(f"there are several epochs: {self.epochs}")
        return next(iter(epochs), None)

    def offer(self, offer: Offer) -> None:
        """Record that an event is submitted for the first time."""
        if offer.event_id in self.offers:
            raise Violation(f"the test uses the id {offer.event_id} twice")
        self.offers[offer.event_id] = offer
        self._offered_at[offer.event_id] = time.monotonic()

    def acknowledge(self, event_id: str, epoch: str, seq: int) -> None:
        """Record that the gateway acknowledged an event."""
        offer = self.offers[event_id]
        self.check_epoch(offer.tenant, epoch)
        now = time.monotonic()
        self.longest_wait = max(self.longest_wait, now - self._offered_at.pop(event_id, now))
        self._place(offer.tenant, seq, event_id, "acknowledged")
        self.acknowledged[event_id] = seq
        self.refused.pop(event_id, None)

    def refuse(self, event_id: str, code: str) -> None:
        """Record that the gateway refused an event."""
        if event_id in self.acknowledged:
            raise Violation(f"{event_id} was acknowledged at {self.acknowledged[event_id]} and then refused: {code}")
        self.refused[event_id] = code

    def check_epoch(self, tenant: str, epoch: str) -> None:
        """Check that the epoch is the one known of the tenant."""
        known = self.epochs.setdefault(tenant, epoch)
        if known != epoch and not self.may_change_epoch:
            raise Violation(f"the epoch of {tenant} was {known} and is {epoch}")

    def lose_history(self) -> None:
        """Forget everything but the submitted events: the store has lost its content and begins new epochs."""
        for what in (self.epochs, self.streams, self.acknowledged, self._positions):
            what.clear()

    def observe(self, viewer: Viewer, message: Message) -> Offer:
        """Check a message that a client received: its content, its position, and whether the client may see it."""
        tenant, seq, event_id = message["tenant_id"], message["seq"], message["id"]
        if tenant != viewer.tenant:
            raise Violation(f"{viewer} received {message} of another tenant")
        offer = self.offers.get(event_id)
        if offer is None:
            if message["type"] != PRESENCE_CHANGED:
                raise Violation(f"{viewer} received {message}, which was not published")
            offer = self.offers[event_id] = Offer(tenant, message["type"], message["payload"], event_id)
        self._place(tenant, seq, event_id, f"received by {viewer}")
        if not viewer.may_see(offer):
            raise Violation(f"{viewer} must not see {message}")
        received = (message["type"], message.get("user_id"), message["payload"])
        if received != (offer.type, offer.user_id, viewer.redacted(offer)):
            raise Violation(f"{viewer} received {message}, but published was {offer}")
        return offer

    def _place(self, tenant: str, seq: int, event_id: str, what: str) -> None:
        here = self.streams.setdefault(tenant, {}).setdefault(seq, event_id)
        if here != event_id:
            raise Violation(f"at {seq} of {tenant} is {here}, but {event_id} was {what}")
        first = self._positions.setdefault((tenant, event_id), seq)
        if first != seq:
            raise Violation(f"{event_id} of {tenant} is at {first} and was {what} at {seq}: it was published twice")

    def check_refused(self) -> None:
        """Check that no refused event was received by a client or found in the file."""
        published = {event_id for stream in self.streams.values() for event_id in stream.values()}
        wrong = sorted(published & self.refused.keys())
        if wrong:
            raise Violation(f"refused, but published: {wrong[:5]}")

    def head(self, tenant: str) -> int:
        """Return the last acknowledged position of a tenant."""
        mine = [seq for event_id, seq in self.acknowledged.items() if self.offers[event_id].tenant == tenant]
        return max(mine, default=0)

    def check_store(self, found: list[StoredEvent], known_to: int | None = None) -> None:
        """Check that the file has every acknowledged event at its position, and no others.

        Args:
            known_to: the number of acknowledgements to look for, the first ones; None: all.
        """
        acknowledged = list(self.acknowledged.items())[:known_to]
        places = {(tenant, event_id): seq_of(place) for tenant, place, event_id, *_ in found}
        if len(places) != len(found):
            twice = [key for key, count in Counter((row[0], row[2]) for row in found).items() if count > 1]
            raise Violation(f"the file has events twice: {twice[:5]}")
        for event_id, seq in acknowledged:
            here = places.get((self.offers[event_id].tenant, event_id))
            if here != seq:
                raise Violation(f"{event_id} was acknowledged at {seq}, the file has it at {here}")
        for tenant, place, event_id, type_, payload in found:
            if event_id not in self.offers:
                if type_ != PRESENCE_CHANGED:
                    raise Violation(f"the file has {event_id} of {tenant}, which was not published")
                self.offers[event_id] = Offer(tenant, type_, json.loads(payload), event_id)
            self._place(tenant, seq_of(place), event_id, "found in the file")
        for tenant in {row[0] for row in found}:
            seqs = [seq_of(row[1]) for row in found if row[0] == tenant]
            if seqs != list(range(1, len(seqs) + 1)):
                raise Violation(f"the stream of {tenant} has gaps: {seqs[:3]}…{seqs[-3:]}, {len(seqs)} in all")


StoredEvent = tuple[str, int, str, str, str]
"""Tenant, place, event id, type and payload."""


def stored_events(path: Path) -> list[StoredEvent]:
    """Return all events in the file.

    The gateway must be running: the last connection to close the file would move the write-ahead log into it, which
    the next gateway must be able to do after a crash.
    """
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=30)) as db:
        return db.execute(
            f"SELECT t.name, e.place, e.event_id, e.type, CAST(e.payload AS TEXT) "  # noqa: S608 - a number from our code
            f"FROM event e JOIN tenant t ON t.id = e.place >> {SEQ_BITS} ORDER BY place"
        ).fetchall()


@dataclass
class Counts:
    """What a Reader counted."""

    connections: int = 0
    resumed: int = 0
    resets: int = 0
    gaps: int = 0
    messages: int = 0
    compared: int = 0
    outdated: int = 0
    mail: int = 0
    redelivered: int = 0
    unflagged: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*[mine + theirs for mine, theirs in zip(vars(self).values(), vars(other).values(), strict=True)])

    def __str__(self) -> str:
        return ", ".join(f"{name} {count}" for name, count in vars(self).items())


class Reader:
    """The protocol of one client: what it received over all its connections, and its position.

    Args:
        forgets_position: it reconnects without a position, so that it receives what it missed from the mailbox only.
        changes_nodes: it reconnects to any of several nodes, one of which may lag behind another.

    Attributes:
        position: epoch and ``seq`` of the last message that it has processed.
        mail_on_connection: ids of the mailbox items received on the latest connection.
        resumes_by_request: it resumes by a request after the welcome, not by the URL. The replay follows the mailbox.
        mail_seen: how often it received each mailbox item, by event id.
        reasons: the reasons of the resets it received.
        pongs: the requests that pongs answered.
        errors: the error messages it received.
        drains: the ``reconnect_after_ms`` of the drain messages it received.
    """

    def __init__(
        self, ledger: Ledger, viewer: Viewer, *, forgets_position: bool = False, changes_nodes: bool = False
    ) -> None:
        self.ledger = ledger
        self.viewer = viewer
        self.forgets_position = forgets_position
        self.changes_nodes = changes_nodes
        self.counts = Counts()
        self.position: tuple[str, int] | None = None
        # A subscription by a message would follow the replay by the URL; a service names its events in the URL.
        self.resumes_by_request = viewer.events is not None and viewer.role != "service"
        self.mail_seen: Counter[str] = Counter()
        self._seen_in_process: dict[str, int] = {}
        self._process_number = 0
        self.mail_on_connection: list[str] = []
        self.reasons: list[str] = []
        self.pongs: list[str | None] = []
        self.errors: list[Message] = []
        self.drains: list[int] = []
        self.caught_up = False
        self.welcome_seq = 0
        self._first: int | None = None
        self._seen: set[int] = set()
        self._skipped: list[tuple[int, int]] = []
        self._resume_from: int | None = None
        self._held: list[Message] = []
        self._in_url = True
        self._mail_cursor = 0
        self._replayed = 0

    def __str__(self) -> str:
        return f"{self.viewer.tenant}/{self.viewer.user_id}"

    @property
    def holds_events(self) -> bool:
        """Whether it holds events back until its resume request is answered."""
        return self._resume_from is not None and not self._in_url

    # A connection

    def begin(self) -> str:
        """Prepare for a new connection; return the query of its URL."""
        if self.forgets_position:
            self.position = self._first = None
            self._seen = set()
            self._skipped = []
        self.caught_up = False
        # What a process wrote to the socket may be read after it has ended.
        self._process_number = self.ledger.process_number
        self.mail_on_connection = []
        self._held = []
        self._mail_cursor = self._replayed = 0
        self._in_url = not self.resumes_by_request
        self._resume_from = None if self.position is None else self.position[1]
        if not self._in_url:
            return ""
        events = "" if self.viewer.events is None else f"events={','.join(self.viewer.events)}&"
        return events if self.position is None else f"{events}epoch={self.position[0]}&seq={self.position[1]}"

    def requests(self) -> list[Message]:
        """Return the requests to send after the welcome."""
        if self._in_url:
            return []
        assert self.position is not None
        resume = {"epoch": self.position[0], "seq": self.position[1]}
        requests: list[Message] = [{"type": "resume", "id": "resume", "payload": resume}]
        if self.viewer.events is not None:
            requests.insert(0, {"type": "subscribe", "payload": {"events": list(self.viewer.events)}})
        return requests

    def receive(self, message: Message) -> str | None:
        """Process a message; return its event id if it is to be acknowledged."""
        if message.get("offline"):
            return self._on_mail(message)
        if "seq" in message:
            if self.holds_events:
                # It may precede the subscription or the replay: ``resumed`` has the number of replayed events.
                self._held.append(message)
                return None
            self._replayed += 1
            return self._on_event(message, replayed=self._resume_from is not None)
        handler = getattr(self, "_on_" + message["type"].replace(".", "_"), None)
        if handler is None:
            raise Violation(f"{self} received {message}")
        handler(message)
        return None

    def _on_welcome(self, message: Message) -> None:
        payload = message["payload"]
        user = (payload["tenant_id"], payload["user_id"], payload["role"])
        if user != (self.viewer.tenant, self.viewer.user_id, self.viewer.role):
            raise Violation(f"{self} was welcomed as {user}")
        self._check_epoch(payload["epoch"])
        self.counts.connections += 1
        self.welcome_seq = payload["seq"]
        if self.position is None:
            self.position = (payload["epoch"], payload["seq"])
            self._first = payload["seq"]
            self.caught_up = self._in_url
        elif payload["seq"] < self.position[1] and not self.changes_nodes and payload["epoch"] == self.position[0]:
            raise Violation(f"{self} has processed {self.position[1]}, but the stream ends at {payload['seq']}")
        if not self._in_url:
            self._resume_from = self.position[1]

    def _on_event(self, message: Message, *, replayed: bool) -> str | None:
        assert self.position is not None
        offer = self.ledger.observe(self.viewer, message)
        seq = message["seq"]
        if seq <= self.position[1]:
            raise Violation(f"{self} received {seq} after {self.position[1]}: twice, or out of order")
        self.counts.messages += 1
        self._seen.add(seq)
        self.position = (self.position[0], seq)
        if not offer.is_mail:
            return None
        if self.mail_seen[offer.event_id] and not replayed:
            if not self.changes_nodes:
                raise Violation(f"{self} received {message} again, live")
            # Another node sent it before, and the position in the welcome of this node precedes it.
            self.counts.unflagged += 1
        self._count_mail(offer.event_id)
        return offer.event_id

    def _on_mail(self, message: Message) -> str:
        offer = self.ledger.observe(self.viewer, message)
        seq, event_id = message["seq"], message["id"]
        if self._replayed or seq <= self._mail_cursor or seq > self.welcome_seq:
            raise Violation(f"{self} received {message} from its mailbox too late, after {self._mail_cursor}")
        self._mail_cursor = seq
        if not offer.is_mail:
            raise Violation(f"{self} received {message} from its mailbox, but it is no mail")
        self.counts.mail += 1
        self._seen.add(seq)
        self.mail_on_connection.append(event_id)
        if message.get("redelivered"):
            self.counts.redelivered += 1
        elif self.mail_seen[event_id]:
            if (
                self._seen_in_process[event_id] == self._process_number == self.ledger.process_number
                and not self.ledger.may_lose_sent_marks
            ):
                raise Violation(f"{self} received {message} again, not marked as redelivered")
            # The process was killed after it had sent the item and before that was recorded.
            self.counts.unflagged += 1
        self._count_mail(event_id)
        return event_id

    def _count_mail(self, event_id: str) -> None:
        self.mail_seen[event_id] += 1
        self._seen_in_process[event_id] = self._process_number

    def _on_resumed(self, message: Message) -> None:
        payload = message["payload"]
        assert self.position is not None
        if self._resume_from is None or payload["from_seq"] != self._resume_from:
            raise Violation(f"{self} resumed after {self._resume_from} and received {message}")
        if not self._in_url:
            held, self._held = self._held, []
            self._resume_from = None
            for one in held[len(held) - payload["count"] :]:
                self._on_event(one, replayed=True)
        elif payload["count"] != self._replayed:
            raise Violation(f"{self} received {self._replayed} events, then {message}")
        if payload["to_seq"] < self.position[1]:
            raise Violation(f"{self} is at {self.position[1]} and received {message}")
        self.counts.resumed += 1
        self.position = (payload["epoch"], payload["to_seq"])
        self._resume_from = None
        self.caught_up = True

    def _on_reset(self, message: Message) -> None:
        self.counts.resets += 1
        self.reasons.append(f"{message['payload']['reason']} at {self.position}: {message['payload']}")
        self._resume_from = None
        self._held = []
        self._check_epoch(message["payload"]["epoch"])

    def _check_epoch(self, epoch: str) -> None:
        self.ledger.check_epoch(self.viewer.tenant, epoch)

    def _on_gap(self, message: Message) -> None:
        self.counts.gaps += 1
        if message["payload"]["reason"] != "mailbox":
            self._skipped.append((message["payload"]["from_seq"], message["payload"]["to_seq"]))

    def _on_snapshot(self, message: Message) -> None:
        payload = message["payload"]
        assert self.position is not None
        self._check_epoch(payload["epoch"])
        for event in payload["events"]:
            self.ledger.observe(self.viewer, event)
        if payload["epoch"] == self.position[0]:
            self._skipped.append((self.position[1] + 1, payload["seq"]))
        else:
            # Earlier positions are of another history.
            self._first, self._seen, self._skipped = payload["seq"], set(), []
        self.position = (payload["epoch"], payload["seq"])
        self.caught_up = True

    def _on_subscribed(self, message: Message) -> None:
        if message["payload"]["events"] != list(self.viewer.events or ()):
            raise Violation(f"{self} subscribed to {self.viewer.events} and received {message}")

    def _on_pong(self, message: Message) -> None:
        self.pongs.append(message.get("in_reply_to"))

    def _on_error(self, message: Message) -> None:
        self.errors.append(message)

    def _on_drain(self, message: Message) -> None:
        self.drains.append(message["payload"]["reconnect_after_ms"])

    # Comparison

    def compare(self, head: int = 0) -> None:
        """Check that it received all events it may see, and no others, from its first position to its last.

        Args:
            head: the position up to which the client must have received everything, if greater than its own.
        """
        if self.forgets_position:
            return
        assert self.position is not None and self._first is not None
        last = max(self.position[1], head)
        stream = self.ledger.streams.get(self.viewer.tenant, {})
        expected = {
            seq: offer
            for seq, event_id in stream.items()
            if self._first < seq <= last and self.viewer.may_see(offer := self._known(seq, event_id))
        }
        self.counts.compared += len(expected)
        unexpected = sorted(seq for seq in self._seen if self._first < seq <= last and seq not in expected)
        if unexpected:
            raise Violation(f"{self} received {unexpected[:10]}, which it must not")
        lost = [seq for seq in expected if seq not in self._seen and not self._was_skipped(seq)]
        newest = {offer.conflation_key: seq for seq, offer in sorted(expected.items()) if seq in self._seen}
        really_lost = []
        for seq in sorted(lost):
            key = expected[seq].conflation_key
            if key is not None and newest.get(key, 0) > seq:
                self.counts.outdated += 1
            else:
                really_lost.append(seq)
        if really_lost:
            acknowledged = sum(expected[seq].event_id in self.ledger.acknowledged for seq in really_lost)
            first_lost = [(seq, expected[seq].type) for seq in really_lost[:10]]
            raise Violation(
                f"{self} never received {len(really_lost)} of {len(expected)} messages, {acknowledged} of them "
                f"acknowledged: {first_lost} between {self._first} and {last}"
            )

    def _known(self, seq: int, event_id: str) -> Offer:
        offer = self.ledger.offers.get(event_id)
        if offer is None:
            raise Violation(f"{event_id} at {seq} of {self.viewer.tenant} was received, but not published")
        return offer

    def _was_skipped(self, seq: int) -> bool:
        return any(low <= seq <= high for low, high in self._skipped)

    def compare_mail(self) -> None:
        """Check that it received every acknowledged mailbox item of its user at least once."""
        for event_id in self.ledger.acknowledged:
            offer = self.ledger.offers[event_id]
            mine = offer.is_mail and offer.tenant == self.viewer.tenant and offer.user_id == self.viewer.user_id
            if mine and not self.mail_seen[event_id]:
                raise Violation(f"{self} never received {offer}, acknowledged at {self.ledger.acknowledged[event_id]}")


def presence_in(events: Iterable[StoredEvent]) -> dict[str, list[tuple[str, bool]]]:
    """Return the announcements of users, by tenant, in order."""
    found: dict[str, list[tuple[str, bool]]] = {}
    for tenant, _, _, type_, text in events:
        if type_ == PRESENCE_CHANGED:
            payload = json.loads(text)
            found.setdefault(tenant, []).append((payload["user_id"], payload["online"]))
    return found


def check_presence(rows: Iterable[tuple[str, bool]]) -> Counter[tuple[str, bool]]:
    """Check that each user of a tenant is announced online and offline alternately.

    Args:
        rows: the announcements of one tenant, in order.

    Returns:
        How often each user was announced online, and offline.
    """
    state: dict[str, bool] = {}
    for user_id, online in rows:
        if state.get(user_id, False) == online:
            raise Violation(f"{user_id} was announced {'online' if online else 'offline'} twice in a row")
        state[user_id] = online
    return Counter(rows)
