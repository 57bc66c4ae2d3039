"""Lines of exported streams: what a fold needs of a publication, as JSON, and back.

A line is the message as clients with full rights are sent it, with three more fields: ``received_at``, when the store
accepted the event; ``source``, the source that sent it, or null; and ``epoch``, that of ``seq``.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec

from callcenter_ws.events.event import restore_event
from callcenter_ws.events.publication import Publication
from callcenter_ws.events.redaction import View
from callcenter_ws.runtime.json import encode_json
from callcenter_ws.statistics.fold import TYPES
from callcenter_ws.statistics.occurrence import instant_text, milliseconds

_Instant = Annotated[datetime, msgspec.Meta(tz=True)]


class NotALine(ValueError):
    """A text is not a line of an exported stream; the message says what is wrong."""


class ExportedEvent(msgspec.Struct, gc=False):
    """A line, decoded."""

    type: str
    tenant_id: str
    id: str
    seq: Annotated[int, msgspec.Meta(ge=1, le=2**53)]
    timestamp: _Instant
    payload: msgspec.Raw
    received_at: _Instant
    user_id: str | None = None
    source: str | None = None
    epoch: str = ""

    def __post_init__(self) -> None:
        if not 1971 <= self.received_at.year <= 9995:
            raise ValueError("received_at: expected a year from 1971 to 9995")

    @property
    def received_ms(self) -> int:
        """When the store accepted the event, in Unix milliseconds."""
        return milliseconds(self.received_at)

    @property
    def is_folded(self) -> bool:
        """Whether figures may depend on it."""
        return self.user_id is None and self.type in TYPES

    def publication(self) -> Publication:
        """Return the publication, with what a fold reads of it.

        Raises:
            NotALine: the payload is not an object.
        """
        payload = bytes(self.payload)
        if not payload.startswith(b"{"):
            raise NotALine("payload: expected an object")
        try:
            event = restore_event(
                type_=self.type,
                tenant_id=self.tenant_id,
                event_id=self.id,
                timestamp=instant_text(milliseconds(self.timestamp)),
                user_id=self.user_id,
                payload=payload,
                persist=False,
                origin="producer",
                received_at=0.0,
                received_ms=self.received_ms,
                source=self.source,
            )
        except msgspec.DecodeError as error:
            raise NotALine(f"payload: {error}") from None
        return Publication(event, self.seq)


_decode = msgspec.json.Decoder(ExportedEvent).decode


def export_line(publication: Publication, epoch: str) -> bytes:
    """Return the line of a publication, without a line feed. Thread-safe: no frame of the publication is made."""
    event = publication.event
    return b'%b,"received_at":"%b","source":%b,"epoch":%b}' % (
        publication.message(View.FULL)[:-1],
        instant_text(event.received_ms).encode(),
        encode_json(event.source),
        encode_json(epoch),
    )


def read_line(line: bytes) -> ExportedEvent:
    """Return what a line holds.

    Raises:
        NotALine: it is not a line of an exported stream.
    """
    try:
        return _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NotALine(str(error)) from None
    except RecursionError:
        raise NotALine("it is nested too deeply") from None
