"""Publications: events with a position in their tenant's stream, and the frames that clients are sent of them.

A publication is encoded once for each view; all outboxes hold references to the same frame.
"""

from __future__ import annotations

import msgspec
from msgspec import structs

from callcenter_ws.events.event import Event
from callcenter_ws.events.frames import WireFormat, frame_payload, text_frame
from callcenter_ws.events.redaction import View, redact
from callcenter_ws.runtime.json import decode_trusted_json, encode_json

_OVERHEAD = 700
"""Bytes of a publication beside its payload and frames, measured with ``sys.getsizeof`` on CPython 3.11."""


_Frames = tuple[bytes | None, ...]
"""Frames by view; None: not made yet. A tuple, which the garbage collector does not scan for long, unlike a list."""

_NO_FRAMES: _Frames = (None,) * len(View)


class Publication(msgspec.Struct, eq=False, gc=False):
    """An event with its position in the tenant's stream; immutable except for the cache of its frames.

    The garbage collector does not scan it, for the state of a large tenant holds tens of thousands: it is part of no
    reference cycle, because neither events nor frames refer to publications.

    Attributes:
        memory: approximate bytes, with all frames that may be made of it. Frames count before they are made, so that
            the size never changes.
    """

    event: Event
    seq: int
    memory: int = 0
    _frames: _Frames = _NO_FRAMES
    _deflated: _Frames = _NO_FRAMES
    # The publication whose frames are those of this one too.
    _original: Publication | None = None

    def __post_init__(self) -> None:
        """Compute the size."""
        event = self.event
        # The payload, its frames, and the same frames compressed.
        self.memory = _OVERHEAD + (2 * event.type.copies - 1) * len(event.payload)

    def __repr__(self) -> str:
        """Return a text without the payload, which belongs in no log."""
        return f"<Publication {self.seq} of {self.event.type.name}>"

    def assigned(self, queue_name: str | None, agents: tuple[str, ...]) -> Publication:
        """Return this publication of a chat with another queue and agents; the frames, which hold neither, are shared.

        A snapshot shows a chat by its present assignment, the history by the one at the time of each event.
        """
        event = self.event
        if event.queue_name == queue_name and event.agents == agents:
            return self
        copy = Publication(structs.replace(event, queue_name=queue_name, agents=agents), self.seq)
        copy._original = self._original or self
        return copy

    def frame(self, wire_format: WireFormat) -> bytes:
        """Return the frame of a wire format. Made once; formats with equal bytes share it."""
        if wire_format.deflater is None:
            return self._plain_frame(wire_format.view)
        view = self._effective_view(wire_format.view)
        frame = self._deflated[view]
        if frame is None:
            original = self._original
            if original is None:
                frame = wire_format.deflater.deflated(self._plain_frame(view))
            else:
                frame = original.frame(wire_format)
            self._deflated = _with(self._deflated, view, frame)
        return frame

    def _plain_frame(self, view: View) -> bytes:
        view = self._effective_view(view)
        frame = self._frames[view]
        if frame is None:
            original = self._original
            frame = text_frame(self._encode(view)) if original is None else original._plain_frame(view)
            self._frames = _with(self._frames, view, frame)
        return frame

    def _effective_view(self, view: View) -> View:
        return View.FULL if view is View.WALLBOARD and not self.event.type.carries_call else view

    def body(self, view: View) -> bytes:
        """Return the message as a JSON object, taken from its frame."""
        return frame_payload(self._plain_frame(view))

    def message(self, view: View) -> bytes:
        """Return the message as a JSON object, made at each call: for uses that are not worth a frame in memory."""
        return self._encode(view)

    def mail_frame(self, view: View, *, redelivered: bool) -> bytes:
        """Return the frame of a mailbox item. Not cached: few are sent twice."""
        return text_frame(
            self._encode(view, b',"offline":true,"redelivered":true' if redelivered else b',"offline":true')
        )

    def _encode(self, view: View, marks: bytes = b"") -> bytes:
        event = self.event
        user = b"" if event.user_id is None else b',"user_id":' + encode_json(event.user_id)
        return b'{"type":"%b","tenant_id":%b%b,"id":%b,"seq":%d,"timestamp":"%b"%b,"payload":%b}' % (
            event.type.name.encode(),
            encode_json(event.tenant_id),
            user,
            encode_json(event.event_id),
            self.seq,
            event.timestamp.encode(),
            marks,
            self._payload(view),
        )

    def _payload(self, view: View) -> bytes:
        payload = self.event.payload
        return payload if view is View.FULL else encode_json(redact(decode_trusted_json(payload), view))


def _with(frames: _Frames, view: View, frame: bytes) -> _Frames:
    return (*frames[:view], frame, *frames[view + 1 :])
