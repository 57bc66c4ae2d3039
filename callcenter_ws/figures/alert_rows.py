"""What alerts keep in the checkpoint: open alerts, and which sources are down."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Annotated

import msgspec
from twisted.logger import Logger

from callcenter_ws.events.publication import Publication
from callcenter_ws.runtime.log_fields import Name
from callcenter_ws.statistics.alerts import Instance
from callcenter_ws.statistics.checkpoint import NO_DAY, RowKey, Rows
from callcenter_ws.statistics.occurrence import milliseconds

KIND = "alert"

MAX_DOWN = 1_000
"""Sources that are remembered as down; of more, the one that went down first is taken for up."""

_SOURCES = RowKey(KIND, "sources", NO_DAY)

_Instant = Annotated[datetime, msgspec.Meta(tz=True)]

_log = Logger("callcenter_ws")


class AlertFacts(msgspec.Struct, gc=False):
    """The fields of ``queue.alert.*``, with the time of the event."""

    alert_id: str
    rule: str
    since: _Instant
    queue_name: str | None = None
    source: str | None = None
    repeat: int | None = None
    metric: str | None = None
    window: str | None = None
    severity: str | None = None
    threshold: float | None = None
    at_ms: int = 0

    @property
    def target(self) -> str:
        """The queue or source."""
        return self.queue_name or self.source or ""

    @property
    def is_source(self) -> bool:
        """Whether it is about a source."""
        return self.queue_name is None

    @property
    def since_ms(self) -> int:
        """``since`` in Unix milliseconds."""
        return milliseconds(self.since)


class _Source(msgspec.Struct, gc=False):
    source: str


_decode_facts = msgspec.json.Decoder(AlertFacts).decode
_decode_source = msgspec.json.Decoder(_Source).decode
_decode_instance = msgspec.msgpack.Decoder(Instance).decode
_decode_names = msgspec.msgpack.Decoder(list[str]).decode


class AlertRows:
    """Collects the rows of one tenant that changed, and remembers which sources are down."""

    def __init__(self, tenant_id: str) -> None:
        self._tenant_id = tenant_id
        self._down: dict[str, None] = {}
        self._changed: Rows = {}
        self._has_logged = False

    def load(self, rows: Mapping[RowKey, bytes]) -> Iterator[Instance]:
        """Yield the alerts of a checkpoint; rows that cannot be read are left out, and logged once."""
        self._down, self._changed = {}, {}
        for key, data in rows.items():
            try:
                if key == _SOURCES:
                    self._down = dict.fromkeys(_decode_names(data)[-MAX_DOWN:])
                else:
                    yield _decode_instance(data)
            except msgspec.DecodeError as error:
                self.log_unreadable(f"row {key.name[:200]}: {error}")

    def take(self) -> Rows:
        """Return the rows that changed since the last call."""
        changed, self._changed = self._changed, {}
        return changed

    def store(self, instance: Instance) -> None:
        """Write an alert, or delete it when it is over."""
        key = RowKey(KIND, msgspec.json.encode([instance.rule, instance.target]).decode(), NO_DAY)
        self._changed[key] = None if instance.phase == "normal" else msgspec.msgpack.encode(instance)

    def source(self, publication: Publication, *, is_down: bool) -> None:
        """Remember that a source is down, or up."""
        try:
            name = _decode_source(publication.event.payload).source
        except msgspec.DecodeError as error:
            self.log_unreadable(f"event {publication.seq}: {error}")
            return
        if is_down == (name in self._down):
            return
        if is_down:
            self._down[name] = None
            if len(self._down) > MAX_DOWN:
                del self._down[next(iter(self._down))]
        else:
            del self._down[name]
        self._changed[_SOURCES] = msgspec.msgpack.encode(list(self._down))

    def is_down(self, name: str) -> bool:
        """Return whether a source is down."""
        return name in self._down

    def log_unreadable(self, reason: str) -> None:
        """Log that something could not be read, the first time."""
        if not self._has_logged:
            self._has_logged = True
            _log.error(
                "alerts of tenant {tenant} cannot be read, and are left out: {reason}",
                tenant=Name(self._tenant_id),
                reason=reason,
            )


def decode_alert(publication: Publication, rows: AlertRows) -> AlertFacts | None:
    """Return the fields of an alert; None if they cannot be read."""
    try:
        facts = _decode_facts(publication.event.payload)
        facts.at_ms = milliseconds(datetime.fromisoformat(publication.event.timestamp))
    except (msgspec.DecodeError, ValueError) as error:
        rows.log_unreadable(f"event {publication.seq}: {error}")
        return None
    return facts
