"""Requests and answers on the control socket: one line of JSON each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec
from msgspec import Struct

from callcenter_ws.config.changes import ReloadReport

MAX_REQUEST_BYTES = 4_096
MAX_ANSWER_BYTES = 4_194_304

MAX_PROBLEMS, MAX_PROBLEM_CHARACTERS = 500, 2_000
"""Problems of an answer, and characters of each; what is beyond is counted, and left out."""


class ReloadRequest(Struct, frozen=True, tag_field="request", tag="reload"):
    """Load the settings again."""


class StatusRequest(Struct, frozen=True, tag_field="request", tag="status"):
    """Describe the gateway's processes."""


class Reloaded(Struct, frozen=True, tag_field="answer", tag="reloaded"):
    """The new settings are in use."""

    report: ReloadReport


class Refused(Struct, frozen=True, tag_field="answer", tag="refused"):
    """The new settings cannot be used; the old ones stay in use."""

    problems: tuple[str, ...]


class Failed(Struct, frozen=True, tag_field="answer", tag="failed"):
    """The request cannot be answered."""

    reason: str


class WorkerStatus(Struct, frozen=True):
    """A worker, as its supervisor sees it.

    Attributes:
        pid: None while its restart is pending.
        serves: whether it serves, as it has told within the last seconds.
        reason: why it does not serve; empty if it does.
        age: seconds since its start.
    """

    number: int
    pid: int | None
    serves: bool
    reason: str
    age: float


class LastReload(Struct, frozen=True):
    """The last reload, or replacement of the workers.

    Attributes:
        time: its end (Unix seconds).
        outcome: a line of text.
    """

    time: float
    outcome: str


class NodeStatus(Struct, frozen=True, tag_field="answer", tag="status"):
    """The processes of a gateway.

    Attributes:
        pid: of the gateway; with workers, of their supervisor.
        reasons: why a gateway of one process does not serve.
        workers: empty for a gateway of one process.
        draining: whether it stops.
        last_reload: None before the first.
    """

    pid: int
    version: str
    reasons: tuple[str, ...]
    workers: tuple[WorkerStatus, ...]
    draining: bool
    last_reload: LastReload | None


Request = ReloadRequest | StatusRequest
Outcome = Reloaded | Refused
Answer = Reloaded | Refused | NodeStatus | Failed

_request_decoder = msgspec.json.Decoder(Request)
_answer_decoder = msgspec.json.Decoder(Answer)


def encode(message: Request | Answer) -> bytes:
    """Return a message as a line."""
    return msgspec.json.encode(message) + b"\n"


def decode_request(line: bytes) -> Request:
    """Return a request; raises ``msgspec.MsgspecError``, a ``ValueError``, for any other line."""
    return _request_decoder.decode(line)


def decode_answer(line: bytes) -> Answer:
    """Return an answer; raises ``msgspec.MsgspecError``, a ``ValueError``, for any other line."""
    return _answer_decoder.decode(line)


def bounded(problems: Sequence[object]) -> tuple[str, ...]:
    """Return the texts of problems: each once, and as many and as long as an answer may have."""
    texts = list(dict.fromkeys(str(problem)[:MAX_PROBLEM_CHARACTERS] for problem in problems))
    if len(texts) > MAX_PROBLEMS:
        texts[MAX_PROBLEMS:] = [f"and {len(texts) - MAX_PROBLEMS} more problems"]
    return tuple(texts)


class Operations(Protocol):
    """What a gateway does for its operators."""

    async def reload(self) -> Outcome:
        """Load the settings again, in all processes or in none."""

    def node_status(self) -> NodeStatus:
        """Describe the processes."""
