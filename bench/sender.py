"""A daemon that costs next to nothing: it writes boxes that are ready, and checks every answer."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Sequence
from pathlib import Path

from bench.box import Box, decode_boxes
from bench.failure import Broken
from bench.gateway import DEADLINE
from bench.question import Question, seqs_of

_READ = 262_144


class Sender:
    """One AMP connection over a unix socket.

    Attributes:
        asked, answers: since they were settled or forgotten; answers in the order in which they came.
        epoch: of the positions, known once something was settled.
    """

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._socket.setblocking(False)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self._received = b""
        self.epoch = ""
        self.asked: list[Question] = []
        self.answers: list[Box] = []

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    @property
    def in_flight(self) -> int:
        """Questions that wait for their answer."""
        return len(self.asked) - len(self.answers)

    def post(self, questions: Sequence[Question]) -> None:
        """Ask, without waiting for the answers; those that come are taken while the gateway takes nothing.

        Raises:
            Broken: the gateway takes nothing any more, or refuses something.
        """
        self.asked += questions
        data = memoryview(b"".join([question.data for question in questions]))
        while data:
            try:
                data = data[self._socket.send(data) :]
            except BlockingIOError:
                self._poll.modify(self._socket, select.POLLIN | select.POLLOUT)
                self.take(DEADLINE)
                self._poll.modify(self._socket, select.POLLIN)

    def take(self, patience: float = 0.0) -> None:
        """Take the answers that are there, or come within ``patience`` seconds.

        Raises:
            Broken: nothing came in that time, if there was any, or an answer is a refusal.
        """
        ready = self._poll.poll(1_000 * patience)
        if patience and not ready:
            raise Broken(f"no answer for {patience:g} s, {self.in_flight} questions wait")
        if not ready or not ready[0][1] & (select.POLLIN | select.POLLHUP):
            return
        received = self._socket.recv(_READ)
        if not received:
            raise Broken("the gateway has hung up")
        boxes, self._received = decode_boxes(self._received + received)
        for box in boxes:
            if b"_answer" not in box:
                raise Broken(f"refused: {box!r}")
        self.answers += boxes

    def finish(self) -> None:
        """Wait for all answers."""
        while self.in_flight:
            self.take(DEADLINE)

    def run(self, questions: Sequence[Question], window: int, seconds: float) -> int:
        """Ask with up to ``window`` questions in flight, until all are asked or the time is over; wait for the answers.

        Returns:
            How many were asked.
        """
        end = time.monotonic() + seconds
        at = 0
        while at < len(questions) and time.monotonic() < end:
            room = window - self.in_flight
            if room:
                self.post(questions[at : at + room])
                at = min(len(questions), at + room)
            self.take(DEADLINE)
        self.finish()
        return at

    def settle(self) -> list[int]:
        """Wait for all answers, check them, and return the positions of the events; there must be some, of one tenant.

        Raises:
            Broken: an answer is missing or wrong, or the positions do not follow each other without a hole.
        """
        seqs = self.positions()
        if seqs != list(range(seqs[0], seqs[0] + len(seqs))):
            raise Broken(f"the positions of {len(seqs)} events have holes or are out of order: {seqs[:5]}…")
        return seqs

    def positions(self) -> list[int]:
        """Wait for all answers, and return the positions of the events, each in the stream of its tenant.

        Raises:
            Broken: an answer is missing or wrong.
        """
        self.finish()
        answers = {answer[b"_answer"]: answer for answer in self.answers}
        if len(answers) != len(self.asked):
            raise Broken(f"{len(self.asked)} questions got {len(answers)} answers")
        seqs = [seq for question in self.asked for seq in seqs_of(question, answers.get(question.tag, {}))]
        self.epoch = self.answers[-1][b"epoch"].decode()
        self.forget()
        return seqs

    def forget(self) -> None:
        """Let go of questions and answers."""
        self.asked, self.answers = [], []
