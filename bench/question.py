"""A question to the gateway, serialised beforehand, and what its answer has to say."""

# mypy: allow-untyped-calls
# Twisted has no annotations on most of AMP.

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import count
from typing import NamedTuple

from bench.box import Box, encode_box
from bench.event import Event
from bench.failure import Broken
from callcenter_ws.amp.arguments import JsonText

_tags = count(1)
_json_text = JsonText()


class Question(NamedTuple):
    """A question.

    Attributes:
        tag: AMP's number for it.
        event_ids: of the events that it publishes.
        data: its box, as it travels.
    """

    tag: bytes
    event_ids: tuple[str, ...]
    data: bytes


def ask(command: bytes, arguments: Mapping[bytes, bytes], event_ids: Sequence[str] = ()) -> Question:
    """Return a question."""
    tag = b"%x" % next(_tags)
    return Question(tag, tuple(event_ids), encode_box({b"_ask": tag, b"_command": command, **arguments}))


def publish_one(event: Event) -> Question:
    """``PublishEvent``."""
    arguments = {
        b"tenant_id": event.tenant.encode(),
        b"type": event.type.encode(),
        b"event_id": event.event_id.encode(),
        b"payload": event.payload,
    }
    if event.user is not None:
        arguments[b"user_id"] = event.user.encode()
    return ask(b"PublishEvent", arguments, [event.event_id])


def publish_batch(events: Sequence[Event]) -> Question:
    """``PublishBatch``."""
    arguments: Box = {}
    _json_text.toBox(b"events", arguments, {"events": batch_text(events)}, None)
    return ask(b"PublishBatch", arguments, [event.event_id for event in events])


def batch_text(events: Sequence[Event]) -> bytes:
    """The JSON list that a batch travels as."""
    return b"[%b]" % b",".join([event.draft for event in events])


def seqs_of(question: Question, answer: Box) -> list[int]:
    """Return the positions that the answer gives to the question's events.

    Raises:
        Broken: an event was refused, or the answer is about something else.
    """
    if answer.get(b"_answer") != question.tag:
        raise Broken(f"question {question.tag!r} got {answer!r}")
    if b"results" in answer:
        seqs = json.loads(answer[b"results"])
        if len(seqs) != len(question.event_ids) or not all(isinstance(seq, int) for seq in seqs):
            raise Broken(f"a batch of {len(question.event_ids)} events got {answer[b'results'][:1_000]!r}")
        return list(seqs)
    if (answer[b"event_id"].decode(),) != question.event_ids:
        raise Broken(f"event {question.event_ids} got the answer of {answer[b'event_id']!r}")
    return [int(answer[b"seq"])]
