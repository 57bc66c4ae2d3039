"""What a tenant's state holds of each call is not scanned by the garbage collector: there may be tens of thousands."""

from __future__ import annotations

import gc

from sample_events import event

from callcenter_ws.broker.stream import Stream
from callcenter_ws.events.frames import PLAIN as PLAIN_FORMATS
from callcenter_ws.events.publication import Publication
from callcenter_ws.events.redaction import View

PLAIN = PLAIN_FORMATS[View.FULL]


def test_the_collector_scans_nothing_for_each_call() -> None:
    stream = Stream()
    gc.collect()
    before = len(gc.get_objects())
    for number in range(1_000):
        fields = {"unique_id": f"c{number}", "caller_id": "5", "destination": "1", "queue_name": f"q{number}"}
        publication = stream.stage(event("call.incoming", fields))
        stream.append(publication)
        publication.frame(PLAIN)
    # Tuples, and dicts of untracked objects, are untracked by the collections that find them.
    for _ in range(3):
        gc.collect()
    assert len(stream.state) == 1_000
    assert len(gc.get_objects()) - before < 100


def test_publications_of_a_reassigned_chat_share_their_frames() -> None:
    first = Publication(event("chat.message", {"session_id": "s", "body": "hello"}), 7)
    second = first.assigned("sales", ("a",))
    third = second.assigned("support", ("b",))
    assert third.frame(PLAIN) is second.frame(PLAIN) is first.frame(PLAIN)
    assert "hello" not in repr(first)
    assert (second.seq, second.memory, third.event.agents) == (7, first.memory, ("b",))
