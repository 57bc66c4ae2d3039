"""A publishing daemon of low cost: it writes boxes that are encoded in advance, and checks every answer."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Sequence
from pathlib import Path

from bench.amp_box import Box, decode_boxes
from bench.failure import InvalidRun
from bench.gateway import DEADLINE
from bench.request import Request, seqs_of

_READ_BYTES = 262_144


class Sender:
    """One AMP connection over a unix socket.

    Attributes:
        sent, answers: the requests and answers since the last call of ``positions`` or ``clear``; answers in the order
            of arrival.
        epoch: the epoch of the positions, known after the first call of ``positions``.
    """

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._socket.setblocking(False)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self._received = b""
        self.epoch = ""
        self.sent: list[Request] = []
        self.answers: list[Box] = []

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    @property
    def in_flight(self) -> int:
        """The number of unanswered requests."""
        return len(self.sent) - len(self.answers)

    def send(self, requests: Sequence[Request]) -> None:
        """Write requests without waiting for their answers; while the socket is full, read answers.

        Raises:
            InvalidRun: if the gateway stops reading, or refuses a request.
        """
        self.sent += requests
        data = memoryview(b"".join([request.data for request in requests]))
        while data:
            try:
                data = data[self._socket.send(data) :]
            except BlockingIOError:
                self._poll.modify(self._socket, select.POLLIN | select.POLLOUT)
                self.read_answers(DEADLINE)
                self._poll.modify(self._socket, select.POLLIN)

    def read_answers(self, timeout: float = 0.0) -> None:
        """Read the answers that have arrived or arrive within ``timeout`` seconds.

        Raises:
            InvalidRun: if ``timeout`` is not 0 and no answer arrives, or if an answer is a refusal.
        """
        ready = self._poll.poll(1_000 * timeout)
        if timeout and not ready:
            raise InvalidRun(f"no answer for {timeout:g} s, {self.in_flight} requests are unanswered")
        if not ready or not ready[0][1] & (select.POLLIN | select.POLLHUP):
            return
        received = self._socket.recv(_READ_BYTES)
        if not received:
            raise InvalidRun("the gateway has closed the connection")
        boxes, self._received = decode_boxes(self._received + received)
        for box in boxes:
            if b"_answer" not in box:
                raise InvalidRun(f"refused: {box!r}")
        self.answers += boxes

    def await_answers(self) -> None:
        """Wait for all answers."""
        while self.in_flight:
            self.read_answers(DEADLINE)

    def run(self, requests: Sequence[Request], window: int, seconds: float) -> int:
        """Send requests with up to ``window`` in flight for at most ``seconds``, and wait for the answers.

        Returns:
            The number of requests that were sent.
        """
        end = time.monotonic() + seconds
        sent = 0
        while sent < len(requests) and time.monotonic() < end:
            room = window - self.in_flight
            if room:
                self.send(requests[sent : sent + room])
                sent = min(len(requests), sent + room)
            self.read_answers(DEADLINE)
        self.await_answers()
        return sent

    def contiguous_positions(self) -> list[int]:
        """Wait for all answers, and return the positions of the events, at least one and all of one tenant.

        Raises:
            InvalidRun: if an answer is missing or wrong, or the positions are not consecutive.
        """
        seqs = self.positions()
        if seqs != list(range(seqs[0], seqs[0] + len(seqs))):
            raise InvalidRun(f"the positions of {len(seqs)} events are not consecutive: {seqs[:5]}…")
        return seqs

    def positions(self) -> list[int]:
        """Wait for all answers, and return the positions of the events, each in the stream of its tenant.

        Raises:
            InvalidRun: if an answer is missing or wrong.
        """
        self.await_answers()
        answers = {answer[b"_answer"]: answer for answer in self.answers}
        if len(answers) != len(self.sent):
            raise InvalidRun(f"{len(self.sent)} requests got {len(answers)} answers")
        seqs = [seq for request in self.sent for seq in seqs_of(request, answers.get(request.tag, {}))]
        self.epoch = self.answers[-1][b"epoch"].decode()
        self.clear()
        return seqs

    def clear(self) -> None:
        """Discard requests and answers."""
        self.sent, self.answers = [], []
