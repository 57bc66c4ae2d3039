"""The queue of a tenant's webhooks: filled from the stream, kept in rows of the store, emptied by the holder."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase

import msgspec
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from callcenter_ws.events.catalogue import CATALOGUE
from callcenter_ws.events.publication import Publication
from callcenter_ws.events.redaction import View
from callcenter_ws.runtime.backoff import Backoff
from callcenter_ws.runtime.clock import Clock, Timer
from callcenter_ws.runtime.log_fields import Name
from callcenter_ws.statistics.checkpoint import NO_DAY, RowKey, Rows
from callcenter_ws.statistics.counters import WebhookCounters
from callcenter_ws.statistics.state import State
from callcenter_ws.webhooks.delivery import Outcome, Sender, Target

MAX_ITEMS = 1_000
"""Items that wait for one receiver; above that the oldest are dropped."""

MAX_AGE_MS = 86_400_000
"""Milliseconds for which an item is sent again."""

FIRST_RETRY_SECONDS = 1.0
LONGEST_RETRY_SECONDS = 900.0

LINES_PER_MINUTE = 20
"""Items of a receiver that are given up with a line in the log; the others are counted in a later line."""

KIND = "webhook"

_TYPES = frozenset(name for name in CATALOGUE if name.startswith(("queue.alert.", "statistics.")))
"""The types of events that are entered."""

_log = Logger("callcenter_ws.webhooks")


class _Item(msgspec.Struct, array_like=True, frozen=True):
    """A message for a receiver; ``entered`` is the received time of its event, in Unix milliseconds."""

    hook: str
    seq: int
    event_id: str
    entered: int
    body: bytes

    @property
    def key(self) -> RowKey:
        """The key of its row."""
        return RowKey(KIND, f"{self.hook}:{self.seq}", NO_DAY)


class _Queue(msgspec.Struct, frozen=True):
    queue_name: str | None = None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Item).decode
_decode_queue = msgspec.json.Decoder(_Queue).decode


class WebhookQueue:
    """Implements ``FoldedPart``.

    Each receiver is sent its items one at a time and in their order. An item is removed with the next write after its
    delivery, so a receiver may get it again after a failover, with the same ``X-Callcenter-Event-Id``.

    Args:
        targets: returns the receivers of the tenant, which a reload may change.
        counters: of all tenants of the process.
    """

    kinds = frozenset({KIND})
    types: frozenset[str] | None = _TYPES

    def __init__(
        self,
        tenant_id: str,
        targets: Callable[[], Sequence[Target]],
        send: Sender,
        clock: Clock,
        counters: WebhookCounters,
    ) -> None:
        self._tenant_id = tenant_id
        self._targets = targets
        self._send = send
        self._clock = clock
        self._lines: dict[str, _Line] = {}
        self._changes: Rows = {}
        self._counters = counters
        self._counted = 0
        self._is_started = False

    def load(self, rows: Mapping[RowKey, bytes]) -> None:
        """Begin with the rows of a checkpoint."""
        self._lines, self._changes = {}, {}
        for item in sorted(map(_decode, rows.values()), key=lambda item: item.seq):
            self._line(item.hook).items.append(item)

    def apply(self, publication: Publication) -> None:
        """Enter an alert, or a change of settings, for each receiver that wants it."""
        event = publication.event
        name = event.type.name
        if name not in _TYPES:
            return
        queue_name = _decode_queue(event.payload).queue_name
        for target in self._targets():
            queues = target.queues
            if any(fnmatchcase(name, pattern) for pattern in target.events) and (not queues or queue_name in queues):
                body = publication.body(View.FULL)
                self._enter(_Item(target.name, publication.seq, event.event_id, event.received_ms, body))

    def _enter(self, item: _Item) -> None:
        line = self._line(item.hook)
        line.items.append(item)
        self._changes[item.key] = _encode(item)
        if len(line.items) > MAX_ITEMS:
            self._drop(line, "too many wait for this receiver")
        self._count()
        self._advance(line)

    def second(self, state: State, second_ms: int) -> None:
        """Give up the items of receivers that the settings no longer have."""
        if self._is_started and self._lines:
            known = {target.name for target in self._targets()}
            for name in [name for name in self._lines if name not in known]:
                line = self._lines.pop(name)
                line.stop()
                while line.items:
                    self._drop(line, "the settings no longer have this receiver")
        self._count()

    def _count(self) -> None:
        """Bring the number of waiting items of the process up to date."""
        waiting = sum(len(line.items) for line in self._lines.values()) if self._is_started else 0
        self._counters.waiting += waiting - self._counted
        self._counted = waiting

    def take_changes(self) -> Rows:
        """Return the rows that changed since the last call."""
        changes, self._changes = self._changes, {}
        return changes

    def hold(self) -> int | None:
        """Return None: the items are in the rows."""
        return None

    def start(self, fence: int) -> None:
        """Send from now on."""
        self._is_started = True
        self._count()
        for line in self._lines.values():
            self._advance(line)

    def stop(self) -> Deferred[None]:
        """Cancel the requests under way; their items stay."""
        self._is_started = False
        self._count()
        for line in self._lines.values():
            line.stop()
        return succeed(None)

    def _line(self, hook: str) -> _Line:
        return self._lines.setdefault(hook, _Line(hook))

    def _advance(self, line: _Line) -> None:
        """Send the first item of a receiver, unless it is being sent, or waits."""
        target = next((target for target in self._targets() if target.name == line.hook), None)
        if not self._is_started or target is None or line.request is not None or line.timer is not None:
            return
        while line.items and self._clock.time() * 1000 - line.items[0].entered > MAX_AGE_MS:
            self._drop(line, "it is older than 24 hours")
        if line.items:
            item = line.items[0]
            line.request = request = self._send(target, item.event_id, item.body)
            request.addCallback(lambda outcome: self._sent(line, request, item, outcome))

    def _sent(self, line: _Line, request: Deferred[Outcome], item: _Item, outcome: Outcome) -> None:
        if line.request is not request:
            return  # it was stopped
        line.request = None
        if outcome.is_done:
            self._counters.delivered += 1
            line.succeeded(self._tenant_id)
            self._remove(line, item)
            delay = 0.0
        else:
            self._counters.failed += 1
            line.failed(self._tenant_id, outcome)
            delay = 0.0 if outcome.is_final else line.backoff.delay()
            if outcome.is_final and line.items and line.items[0] is item:
                self._drop(line, outcome.reason)
        line.timer = self._clock.call_later(delay, self._continue, line)

    def _continue(self, line: _Line) -> None:
        line.timer = None
        self._advance(line)

    def _remove(self, line: _Line, item: _Item) -> None:
        if line.items and line.items[0] is item:
            line.items.popleft()
            self._changes[item.key] = None
            self._count()

    def _drop(self, line: _Line, reason: str) -> None:
        item = line.items[0]
        self._remove(line, item)
        self._counters.dropped += 1
        if not line.may_log(self._clock.monotonic()):
            return
        text = "gave up event {event_id} of tenant {tenant} for the webhook {hook}: {reason}"
        tenant = Name(self._tenant_id)
        _log.warn(text, event_id=Name(item.event_id), tenant=tenant, hook=line.hook, reason=reason)
        if line.left_out:
            text = "gave up {count} more events of tenant {tenant} for the webhook {hook} since the last line"
            _log.warn(text, count=line.left_out, tenant=tenant, hook=line.hook)
            line.left_out = 0


class _Line:
    """What waits for one receiver.

    Attributes:
        left_out: items that were given up without a line in the log.
    """

    def __init__(self, hook: str) -> None:
        self.hook = hook
        self.items: deque[_Item] = deque()
        self.request: Deferred[Outcome] | None = None
        self.timer: Timer | None = None
        self.backoff = Backoff(FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS)
        self.left_out = 0
        self._has_failed = False
        self._minute = 0
        self._logged = 0

    def may_log(self, monotonic: float) -> bool:
        """Return whether an item that is given up has a line of its own in this minute; if not, it is counted."""
        minute = int(monotonic // 60)
        if minute != self._minute:
            self._minute, self._logged = minute, 0
        if self._logged >= LINES_PER_MINUTE:
            self.left_out += 1
            return False
        self._logged += 1
        return True

    def succeeded(self, tenant_id: str) -> None:
        """Note that the receiver works."""
        self.backoff.reset()
        if self._has_failed:
            _log.info("the webhook {hook} of tenant {tenant} works again", hook=self.hook, tenant=Name(tenant_id))
        self._has_failed = False

    def failed(self, tenant_id: str, outcome: Outcome) -> None:
        """Log the first failure of several."""
        if not self._has_failed:
            text = "the webhook {hook} of tenant {tenant} failed: {reason}; it is tried again for 24 hours"
            if outcome.is_final:
                text = "the webhook {hook} of tenant {tenant} refuses a message: {reason}"
            _log.warn(text, hook=self.hook, tenant=Name(tenant_id), reason=outcome.reason)
        self._has_failed = True

    def stop(self) -> None:
        """Stop sending; the items stay."""
        request, self.request = self.request, None
        if request is not None:
            request.cancel()
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
