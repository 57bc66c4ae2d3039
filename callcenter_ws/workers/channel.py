"""What the supervisor asks of a worker over its channel, and what the worker answers: one line of JSON each.

Status lines (``process.READY``, or why the worker does not serve) are plain text and share the worker's pipe.
"""

from __future__ import annotations

from enum import Enum, unique

import msgspec
from msgspec import Struct

from callcenter_ws.config.changes import ReloadReport

_ANSWER_PREFIX = b"\x1e"
"""The first byte of an answer (the record separator of RFC 7464); status lines do not begin with it."""

MAX_LINE_BYTES = 8_388_608
"""Longer than the longest answer: a reload's, whose problems are bounded by ``control.messages.bounded``."""


@unique
class Act(Enum):
    """What a worker is asked to do.

    ``PREPARE`` reads the settings and answers whether they can be used. ``COMMIT`` uses what was prepared, ``ABORT``
    discards it. ``NODE_STOPS`` says that no other worker will serve the clients of this one. ``STOP_NOW`` ends a drain.
    """

    PING = "ping"
    PREPARE = "prepare-reload"
    COMMIT = "commit-reload"
    ABORT = "abort-reload"
    NODE_STOPS = "node-stops"
    STOP_NOW = "stop-now"


class WorkerRequest(Struct, frozen=True):
    """A request to a worker.

    Attributes:
        id: is repeated in the answer.
        settings: of ``PREPARE``: the path of the copy of the settings' file to read; empty: there is no file.
    """

    id: int
    act: Act
    settings: str = ""


class WorkerAnswer(Struct, frozen=True):
    """The answer of a worker.

    Attributes:
        report: of ``PREPARE``: what the settings change; None if they cannot be used.
        problems: of ``PREPARE``: why the settings cannot be used.
        not_ready_reason: of ``PING``: why the worker does not serve now; empty if it does.
    """

    id: int
    report: ReloadReport | None = None
    problems: tuple[str, ...] = ()
    not_ready_reason: str = ""


_request_decoder = msgspec.json.Decoder(WorkerRequest)
_answer_decoder = msgspec.json.Decoder(WorkerAnswer)


def encode_request(request: WorkerRequest) -> bytes:
    """Return a request as a line."""
    return msgspec.json.encode(request) + b"\n"


def decode_request(line: bytes) -> WorkerRequest:
    """Return a request; raises ``ValueError`` for any other line."""
    return _request_decoder.decode(line)


def encode_answer(answer: WorkerAnswer) -> bytes:
    """Return an answer as a line."""
    return _ANSWER_PREFIX + msgspec.json.encode(answer) + b"\n"


def decode_answer(line: bytes) -> WorkerAnswer | None:
    """Return an answer; None for a status line. Raises ``ValueError`` for an answer that cannot be read."""
    return _answer_decoder.decode(line[1:]) if line.startswith(_ANSWER_PREFIX) else None
