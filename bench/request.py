"""AMP requests that are encoded in advance, and the check of their answers."""

# mypy: allow-untyped-calls
# Twisted has no annotations on most of AMP.

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import count
from typing import NamedTuple

from bench.amp_box import Box, encode_box
from bench.event import Event
from bench.failure import InvalidRun
from callcenter_ws.amp.arguments import JsonText

_tags = count(1)
_json_text = JsonText()


class Request(NamedTuple):
    """An encoded request.

    Attributes:
        tag: the value of ``_ask``.
        event_ids: the ids of the events that it publishes.
        data: the encoded box.
    """

    tag: bytes
    event_ids: tuple[str, ...]
    data: bytes


def make_request(command: bytes, arguments: Mapping[bytes, bytes], event_ids: Sequence[str] = ()) -> Request:
    """Return a request with a fresh tag."""
    tag = b"%x" % next(_tags)
    return Request(tag, tuple(event_ids), encode_box({b"_ask": tag, b"_command": command, **arguments}))


def publish_one(event: Event) -> Request:
    """Return a ``PublishEvent`` request."""
    arguments = {
        b"tenant_id": event.tenant.encode(),
        b"type": event.type.encode(),
        b"event_id": event.event_id.encode(),
        b"payload": event.payload,
    }
    if event.user is not None:
        arguments[b"user_id"] = event.user.encode()
    return make_request(b"PublishEvent", arguments, [event.event_id])


def publish_batch(events: Sequence[Event]) -> Request:
    """Return a ``PublishBatch`` request."""
    arguments: Box = {}
    _json_text.toBox(b"events", arguments, {"events": batch_text(events)}, None)
    return make_request(b"PublishBatch", arguments, [event.event_id for event in events])


def batch_text(events: Sequence[Event]) -> bytes:
    """Return the events as the JSON list that ``PublishBatch`` takes."""
    return b"[%b]" % b",".join([event.draft for event in events])


def seqs_of(request: Request, answer: Box) -> list[int]:
    """Return the positions that an answer gives to the request's events.

    Raises:
        InvalidRun: if an event was refused, or the answer does not belong to the request.
    """
    if answer.get(b"_answer") != request.tag:
        raise InvalidRun(f"request {request.tag!r} got {answer!r}")
    if b"results" in answer:
        seqs = json.loads(answer[b"results"])
        if len(seqs) != len(request.event_ids) or not all(isinstance(seq, int) for seq in seqs):
            raise InvalidRun(f"a batch of {len(request.event_ids)} events got {answer[b'results'][:1_000]!r}")
        return list(seqs)
    if (answer[b"event_id"].decode(),) != request.event_ids:
        raise InvalidRun(f"the answer to event {request.event_ids} is about {answer[b'event_id']!r}")
    return [int(answer[b"seq"])]
