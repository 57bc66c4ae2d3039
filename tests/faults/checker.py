"""What every client should have seen, and what it saw.

The Ledger knows what was handed in, what was acknowledged and under which position. A Reader follows the protocol as a
careful client does and remembers what it was shown. Who may see what is said here once more, after PROTOCOL section
4.1 and not after the gateway's code: of two statements that agree, one may be wrong, but not by the same mistake.
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

Told = dict[str, Any]
MASK = "***"
OF_THE_GATEWAY = "presence.changed"
_CONFLATED_BY = {"queue.stats": "queue_name", OF_THE_GATEWAY: "user_id"}


class Fault(AssertionError):
    """A promise that was not kept."""


@dataclass(frozen=True)
class Offer:
    """An event as its publisher hands it in, and what decides who may see it.

    Attributes:
        queue, agents: those of the whole call, where its later events do not repeat them.
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
        """What ``PublishEvent`` and ``POST /ws/events`` take."""
        more = {"user_id": self.user_id} if self.user_id is not None else {}
        persist = {"persist": True} if self.persist else {}
        event = {"tenant_id": self.tenant, "type": self.type, "payload": self.payload, "event_id": self.event_id}
        return {**event, **more, **persist}

    @property
    def is_mail(self) -> bool:
        """Whether it is kept for its user."""
        return self.user_id is not None and (self.persist or self.type == "notification")

    @property
    def conflation_key(self) -> tuple[str, Any] | None:
        """Of messages with the same key a client that is behind needs the newest alone."""
        name = _CONFLATED_BY.get(self.type)
        return None if name is None else (self.type, self.payload[name])


@dataclass(frozen=True)
class Viewer:
    """A client as its token describes it, and what it subscribed to; None: it never did."""

    tenant: str
    role: str
    user_id: str
    queues: tuple[str, ...] | None = None
    session: str | None = None
    events: tuple[str, ...] | None = None
    jti: str | None = None

    @property
    def claims(self) -> dict[str, Any]:
        """What the token says beside the role."""
        queues = None if self.queues is None else list(self.queues)
        named = {"tenant_id": self.tenant, "sub": self.user_id, "session_id": self.session, "jti": self.jti}
        return {**named, "queues": queues}

    def may_see(self, offer: Offer) -> bool:
        """Whether the event is for this client."""
        if offer.tenant != self.tenant or not self._wants(offer.type):
            return False
        family = offer.type.partition(".")[0]
        if self.role == "visitor":
            own = family == "chat" and offer.payload["session_id"] == self.session
            return own and not offer.payload.get("private") and offer.user_id in (None, self.user_id)
        if self.role == "wallboard" and family == "chat":
            return False
        if self.role == "agent" and offer.type == OF_THE_GATEWAY:
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

    def shown(self, offer: Offer) -> dict[str, Any]:
        """The payload as this client is shown it."""
        if self.role == "wallboard":
            masked = {"caller_id", "caller_name"}
            return {key: MASK if key in masked else value for key, value in offer.payload.items()}
        if self.role == "visitor":
            return {key: value for key, value in offer.payload.items() if "email" not in key}
        return offer.payload


@dataclass
class Ledger:
    """What publishers handed in, and what they were told.

    Attributes:
        acknowledged: positions by event id.
        refused: codes by event id; who sends the event again and is answered crosses it out.
        streams: by tenant and position the id of the event there, as far as anybody was told or shown.
        epochs: by tenant that of all that was acknowledged.
        life: which process of the gateway it is, counted.
        is_shaken: something fails just now, so that a note of what was shown may be lost, or late.
        may_fork: the store may begin a new epoch although it has lost nothing.
        longest_wait: seconds from handing an event in to its acknowledgement.
    """

    offers: dict[str, Offer] = field(default_factory=dict)
    acknowledged: dict[str, int] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    streams: dict[str, dict[int, str]] = field(default_factory=dict)
    epochs: dict[str, str] = field(default_factory=dict)
    resent: int = 0
    life: int = 1
    is_shaken: bool = False
    may_fork: bool = False
    longest_wait: float = 0.0
    _positions: dict[tuple[str, str], int] = field(default_factory=dict)
    _offered_at: dict[str, float] = field(default_factory=dict)

    @property
    def epoch(self) -> str | None:
        """That of all tenants, where one store has one for all."""
        epochs = set(self.epochs.values())
        if len(epochs) > 1:
            raise Fault(f"there are several epochs: {self.epochs}")
        return next(iter(epochs), None)

    def offer(self, offer: Offer) -> None:
        """An event is about to be handed in for the first time."""
        if offer.event_id in self.offers:
            raise Fault(f"the test uses the id {offer.event_id} twice")
        self.offers[offer.event_id] = offer
        self._offered_at[offer.event_id] = time.monotonic()

    def acknowledge(self, event_id: str, epoch: str, seq: int) -> None:
        """The gateway says that the event is durable."""
        offer = self.offers[event_id]
        self.check_epoch(offer.tenant, epoch)
        now = time.monotonic()
        self.longest_wait = max(self.longest_wait, now - self._offered_at.pop(event_id, now))
        self._place(offer.tenant, seq, event_id, "acknowledged")
        self.acknowledged[event_id] = seq
        self.refused.pop(event_id, None)

    def refuse(self, event_id: str, code: str) -> None:
        """The gateway says that it did not take the event."""
        if event_id in self.acknowledged:
            raise Fault(f"{event_id} was acknowledged at {self.acknowledged[event_id]} and then refused: {code}")
        self.refused[event_id] = code

    def check_epoch(self, tenant: str, epoch: str) -> None:
        """There is one history for ever."""
        known = self.epochs.setdefault(tenant, epoch)
        if known != epoch and not self.may_fork:
            raise Fault(f"the epoch of {tenant} was {known} and is {epoch}")

    def lose_history(self) -> None:
        """The store has lost everything, and begins new epochs."""
        for what in (self.epochs, self.streams, self.acknowledged, self._positions):
            what.clear()

    def observe(self, viewer: Viewer, message: Told) -> Offer:
        """Somebody was shown a message: it has to be what was handed in, where everybody else saw it."""
        tenant, seq, event_id = message["tenant_id"], message["seq"], message["id"]
        if tenant != viewer.tenant:
            raise Fault(f"{viewer} was shown {message} of another tenant")
        offer = self.offers.get(event_id)
        if offer is None:
            if message["type"] != OF_THE_GATEWAY:
                raise Fault(f"{viewer} was shown {message}, which nobody published")
            offer = self.offers[event_id] = Offer(tenant, message["type"], message["payload"], event_id)
        self._place(tenant, seq, event_id, f"shown to {viewer}")
        if not viewer.may_see(offer):
            raise Fault(f"{viewer} must not see {message}")
        said = (message["type"], message.get("user_id"), message["payload"])
        if said != (offer.type, offer.user_id, viewer.shown(offer)):
            raise Fault(f"{viewer} was shown {message}, but published was {offer}")
        return offer

    def _place(self, tenant: str, seq: int, event_id: str, what: str) -> None:
        here = self.streams.setdefault(tenant, {}).setdefault(seq, event_id)
        if here != event_id:
            raise Fault(f"at {seq} of {tenant} stands {here}, but {event_id} was {what}")
        first = self._positions.setdefault((tenant, event_id), seq)
        if first != seq:
            raise Fault(f"{event_id} of {tenant} stands at {first} and was {what} at {seq}: it is there twice")

    def check_refused(self) -> None:
        """Nobody was shown what was refused, and the file does not have it."""
        shown = {event_id for stream in self.streams.values() for event_id in stream.values()}
        wrong = sorted(shown & self.refused.keys())
        if wrong:
            raise Fault(f"refused, but there: {wrong[:5]}")

    def head(self, tenant: str) -> int:
        """The last acknowledged position."""
        mine = [seq for event_id, seq in self.acknowledged.items() if self.offers[event_id].tenant == tenant]
        return max(mine, default=0)

    def check_store(self, found: list[StoredEvent], known_to: int | None = None) -> None:
        """Hold what the file has against everything that was acknowledged.

        Args:
            known_to: how many acknowledgements to look for, the first ones; None: all.
        """
        acknowledged = list(self.acknowledged.items())[:known_to]
        places = {(tenant, event_id): seq_of(place) for tenant, place, event_id, *_ in found}
        if len(places) != len(found):
            twice = [key for key, count in Counter((row[0], row[2]) for row in found).items() if count > 1]
            raise Fault(f"the file has events twice: {twice[:5]}")
        for event_id, seq in acknowledged:
            here = places.get((self.offers[event_id].tenant, event_id))
            if here != seq:
                raise Fault(f"{event_id} was acknowledged at {seq}, the file has it at {here}")
        for tenant, place, event_id, type_, payload in found:
            if event_id not in self.offers:
                if type_ != OF_THE_GATEWAY:
                    raise Fault(f"the file has {event_id} of {tenant}, which nobody published")
                self.offers[event_id] = Offer(tenant, type_, json.loads(payload), event_id)
            self._place(tenant, seq_of(place), event_id, "found in the file")
        for tenant in {row[0] for row in found}:
            seqs = [seq_of(row[1]) for row in found if row[0] == tenant]
            if seqs != list(range(1, len(seqs) + 1)):
                raise Fault(f"the stream of {tenant} has holes: {seqs[:3]}…{seqs[-3:]}, {len(seqs)} in all")


StoredEvent = tuple[str, int, str, str, str]
"""Tenant, place, event id, type and payload."""


def stored_events(path: Path) -> list[StoredEvent]:
    """What the file has.

    The gateway must be running: who opens the file last would tidy it up, which is for the next gateway to do.
    """
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=30)) as db:
        return db.execute(
            f"SELECT t.name, e.place, e.event_id, e.type, CAST(e.payload AS TEXT) "  # noqa: S608 - a number of ours
            f"FROM event e JOIN tenant t ON t.id = e.place >> {SEQ_BITS} ORDER BY place"
        ).fetchall()


@dataclass
class Figures:
    """What was counted."""

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

    def __add__(self, other: Figures) -> Figures:
        return Figures(*[mine + theirs for mine, theirs in zip(vars(self).values(), vars(other).values(), strict=True)])

    def __str__(self) -> str:
        return ", ".join(f"{name} {count}" for name, count in vars(self).items())


class Reader:
    """One client's eyes: what it was shown over all its connections, and its position.

    Args:
        forgetful: it has no position when it comes back, so that only the mailbox brings it what it missed.
        hops: it comes back to any of several nodes, one of which may be a moment behind another.

    Attributes:
        position: epoch and ``seq`` of the last message that it dealt with.
        offline_on_last: ids of what the mailbox brought on the latest connection.
        asks: it asks for what it missed once it is connected, and not with the URL. The answer comes behind what the
            mailbox brings.
        letters: ids of mailbox messages that it was shown, and how often.
        reasons: why it was given a new position.
        pongs: what was answered to its pings.
        errors: what it was told of its other requests.
        drains: milliseconds after which it was asked to come back, each time that a node sent it away.
    """

    def __init__(self, ledger: Ledger, viewer: Viewer, *, forgetful: bool = False, hops: bool = False) -> None:
        self.ledger = ledger
        self.viewer = viewer
        self.forgetful = forgetful
        self.hops = hops
        self.figures = Figures()
        self.position: tuple[str, int] | None = None
        self.asks = viewer.events is not None
        self.letters: Counter[str] = Counter()
        self._shown_in: dict[str, int] = {}
        self._life = 0
        self.offline_on_last: list[str] = []
        self.reasons: list[str] = []
        self.pongs: list[str | None] = []
        self.errors: list[Told] = []
        self.drains: list[int] = []
        self.caught_up = False
        self.welcome_seq = 0
        self._first: int | None = None
        self._seen: set[int] = set()
        self._holes: list[tuple[int, int]] = []
        self._asked: int | None = None
        self._held: list[Told] = []
        self._in_url = True
        self._mail_cursor = 0
        self._replayed = 0

    def __str__(self) -> str:
        return f"{self.viewer.tenant}/{self.viewer.user_id}"

    @property
    def waits(self) -> bool:
        """Whether it cannot deal with what it is shown before its request is answered."""
        return self._asked is not None and not self._in_url

    # A connection

    def begin(self) -> str:
        """A connection is about to be made; return the query of its URL."""
        if self.forgetful:
            self.position = self._first = None
            self._seen = set()
            self._holes = []
        self.caught_up = False
        # What a process has written may be read when it has ended.
        self._life = self.ledger.life
        self.offline_on_last = []
        self._held = []
        self._mail_cursor = self._replayed = 0
        # A subscription is for one connection: who has one can ask for the past only when it stands.
        self._in_url = not self.asks
        self._asked = None if self.position is None else self.position[1]
        if self.position is None or not self._in_url:
            return ""
        return f"epoch={self.position[0]}&seq={self.position[1]}"

    def requests(self) -> list[Told]:
        """What to send after the welcome."""
        if self._in_url:
            return []
        assert self.position is not None
        resume = {"epoch": self.position[0], "seq": self.position[1]}
        requests: list[Told] = [{"type": "resume", "id": "resume", "payload": resume}]
        if self.viewer.events is not None:
            requests.insert(0, {"type": "subscribe", "payload": {"events": list(self.viewer.events)}})
        return requests

    def take(self, message: Told) -> str | None:
        """Deal with a message; return the id of one that is to be acknowledged."""
        if message.get("offline"):
            return self._take_mail(message)
        if "seq" in message:
            if self.waits:
                # It may have come before the subscription stood, or before the replay began: ``resumed`` tells.
                self._held.append(message)
                return None
            self._replayed += 1
            return self._take_event(message, replayed=self._asked is not None)
        handler = getattr(self, "_take_" + message["type"].replace(".", "_"), None)
        if handler is None:
            raise Fault(f"{self} was told {message}")
        handler(message)
        return None

    def _take_welcome(self, message: Told) -> None:
        payload = message["payload"]
        who = (payload["tenant_id"], payload["user_id"], payload["role"])
        if who != (self.viewer.tenant, self.viewer.user_id, self.viewer.role):
            raise Fault(f"{self} was welcomed as {who}")
        self._check_epoch(payload["epoch"])
        self.figures.connections += 1
        self.welcome_seq = payload["seq"]
        if self.position is None:
            self.position = (payload["epoch"], payload["seq"])
            self._first = payload["seq"]
            self.caught_up = self._in_url
        elif payload["seq"] < self.position[1] and not self.hops and payload["epoch"] == self.position[0]:
            raise Fault(f"{self} has dealt with {self.position[1]}, but the stream ends at {payload['seq']}")
        if not self._in_url:
            self._asked = self.position[1]

    def _take_event(self, message: Told, *, replayed: bool) -> str | None:
        assert self.position is not None
        offer = self.ledger.observe(self.viewer, message)
        seq = message["seq"]
        if seq <= self.position[1]:
            raise Fault(f"{self} was shown {seq} after {self.position[1]}: twice, or out of order")
        self.figures.messages += 1
        self._seen.add(seq)
        self.position = (self.position[0], seq)
        if not offer.is_mail:
            return None
        if self.letters[offer.event_id] and not replayed:
            if not self.hops:
                raise Fault(f"{self} was shown {message} again, live")
            # It was shown by another node, and the position of this one's welcome was before it.
            self.figures.unflagged += 1
        self._count_letter(offer.event_id)
        return offer.event_id

    def _take_mail(self, message: Told) -> str:
        offer = self.ledger.observe(self.viewer, message)
        seq, event_id = message["seq"], message["id"]
        if self._replayed or seq <= self._mail_cursor or seq > self.welcome_seq:
            raise Fault(f"{self} was brought {message} out of its mailbox after {self._mail_cursor}, and too late")
        self._mail_cursor = seq
        if not offer.is_mail:
            raise Fault(f"{self} was brought {message}, which is no letter")
        self.figures.mail += 1
        self._seen.add(seq)
        self.offline_on_last.append(event_id)
        if message.get("redelivered"):
            self.figures.redelivered += 1
        elif self.letters[event_id]:
            if self._shown_in[event_id] == self._life == self.ledger.life and not self.ledger.is_shaken:
                raise Fault(f"{self} was brought {message} again, and not told that it is redelivered")
            # The process was killed after it had shown the letter and before it had noted that.
            self.figures.unflagged += 1
        self._count_letter(event_id)
        return event_id

    def _count_letter(self, event_id: str) -> None:
        self.letters[event_id] += 1
        self._shown_in[event_id] = self._life

    def _take_resumed(self, message: Told) -> None:
        payload = message["payload"]
        assert self.position is not None
        if self._asked is None or payload["from_seq"] != self._asked:
            raise Fault(f"{self} asked for what follows {self._asked} and was told {message}")
        if not self._in_url:
            held, self._held = self._held, []
            self._asked = None
            for one in held[len(held) - payload["count"] :]:
                self._take_event(one, replayed=True)
        elif payload["count"] != self._replayed:
            raise Fault(f"{self} was shown {self._replayed} messages, then told {message}")
        if payload["to_seq"] < self.position[1]:
            raise Fault(f"{self} is at {self.position[1]} and was told {message}")
        self.figures.resumed += 1
        self.position = (payload["epoch"], payload["to_seq"])
        self._asked = None
        self.caught_up = True

    def _take_reset(self, message: Told) -> None:
        self.figures.resets += 1
        self.reasons.append(f"{message['payload']['reason']} at {self.position}: {message['payload']}")
        self._asked = None
        self._held = []
        self._check_epoch(message["payload"]["epoch"])

    def _check_epoch(self, epoch: str) -> None:
        self.ledger.check_epoch(self.viewer.tenant, epoch)

    def _take_gap(self, message: Told) -> None:
        self.figures.gaps += 1
        if message["payload"]["reason"] != "mailbox":
            self._holes.append((message["payload"]["from_seq"], message["payload"]["to_seq"]))

    def _take_snapshot(self, message: Told) -> None:
        payload = message["payload"]
        assert self.position is not None
        self._check_epoch(payload["epoch"])
        for event in payload["events"]:
            self.ledger.observe(self.viewer, event)
        if payload["epoch"] == self.position[0]:
            self._holes.append((self.position[1] + 1, payload["seq"]))
        else:
            # What there was before has nothing to do with it.
            self._first, self._seen, self._holes = payload["seq"], set(), []
        self.position = (payload["epoch"], payload["seq"])
        self.caught_up = True

    def _take_subscribed(self, message: Told) -> None:
        if message["payload"]["events"] != list(self.viewer.events or ()):
            raise Fault(f"{self} subscribed to {self.viewer.events} and was told {message}")

    def _take_pong(self, message: Told) -> None:
        self.pongs.append(message.get("in_reply_to"))

    def _take_error(self, message: Told) -> None:
        self.errors.append(message)

    def _take_drain(self, message: Told) -> None:
        self.drains.append(message["payload"]["reconnect_after_ms"])

    # The end

    def compare(self, head: int = 0) -> None:
        """Hold what was seen against what there was, from the first position to the last.

        Args:
            head: up to where the client must have been told everything, if that is more than its position.
        """
        if self.forgetful:
            return
        assert self.position is not None and self._first is not None
        last = max(self.position[1], head)
        stream = self.ledger.streams.get(self.viewer.tenant, {})
        expected = {
            seq: offer
            for seq, event_id in stream.items()
            if self._first < seq <= last and self.viewer.may_see(offer := self._known(seq, event_id))
        }
        self.figures.compared += len(expected)
        strange = sorted(seq for seq in self._seen if self._first < seq <= last and seq not in expected)
        if strange:
            raise Fault(f"{self} saw {strange[:10]}, which are not there")
        lost = [seq for seq in expected if seq not in self._seen and not self._is_in_a_hole(seq)]
        newest = {offer.conflation_key: seq for seq, offer in sorted(expected.items()) if seq in self._seen}
        really_lost = []
        for seq in sorted(lost):
            key = expected[seq].conflation_key
            if key is not None and newest.get(key, 0) > seq:
                self.figures.outdated += 1
            else:
                really_lost.append(seq)
        if really_lost:
            acknowledged = sum(expected[seq].event_id in self.ledger.acknowledged for seq in really_lost)
            shown = [(seq, expected[seq].type) for seq in really_lost[:10]]
            raise Fault(
                f"{self} never saw {len(really_lost)} of {len(expected)} messages, {acknowledged} of them "
                f"acknowledged: {shown} between {self._first} and {last}"
            )

    def _known(self, seq: int, event_id: str) -> Offer:
        offer = self.ledger.offers.get(event_id)
        if offer is None:
            raise Fault(f"nobody was shown {event_id} at {seq} of {self.viewer.tenant}, but it is there")
        return offer

    def _is_in_a_hole(self, seq: int) -> bool:
        return any(low <= seq <= high for low, high in self._holes)

    def compare_letters(self) -> None:
        """Every acknowledged message for the user was seen, however often."""
        for event_id in self.ledger.acknowledged:
            offer = self.ledger.offers[event_id]
            mine = offer.is_mail and offer.tenant == self.viewer.tenant and offer.user_id == self.viewer.user_id
            if mine and not self.letters[event_id]:
                raise Fault(f"{self} never saw its {offer}, acknowledged at {self.ledger.acknowledged[event_id]}")


def presence_in(events: Iterable[StoredEvent]) -> dict[str, list[tuple[str, bool]]]:
    """What was announced of users, by tenant, in order."""
    found: dict[str, list[tuple[str, bool]]] = {}
    for tenant, _, _, type_, text in events:
        if type_ == OF_THE_GATEWAY:
            payload = json.loads(text)
            found.setdefault(tenant, []).append((payload["user_id"], payload["online"]))
    return found


def check_presence(rows: Iterable[tuple[str, bool]]) -> Counter[tuple[str, bool]]:
    """Hold the announcements of one tenant, in order, against their rule: come and go in turn.

    Returns:
        How often each user was announced as here, and as gone.
    """
    state: dict[str, bool] = {}
    for user_id, online in rows:
        if state.get(user_id, False) == online:
            raise Fault(f"{user_id} was announced {'here' if online else 'gone'} twice in a row")
        state[user_id] = online
    return Counter(rows)
