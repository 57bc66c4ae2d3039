"""Outbox: the queued frames of one client, their limit, and the position after an overflow."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_events import ACME, event, principal

from callcenter_ws.broker.memory import MemoryBroker
from callcenter_ws.delivery.mailbox_acks import MailboxAcks
from callcenter_ws.delivery.outbox import MAX_ANSWERS, Outbox
from callcenter_ws.events.frames import PLAIN, control_frame
from callcenter_ws.events.publication import Publication
from callcenter_ws.events.redaction import View
from callcenter_ws.interfaces import MailboxItem, Send
from callcenter_ws.testing import FakeClock, RecordingTransport, run

FULL = PLAIN[View.FULL]
LIMIT = 4


class Owner:
    """An OutboxOwner that counts its calls."""

    def __init__(self) -> None:
        self.filled = 0
        self.overflowed = 0
        self.written = 0
        self.abandoned = 0

    def __str__(self) -> str:
        return "acme/7"

    def outbox_filled(self) -> None:
        self.filled += 1

    def outbox_overflowed(self) -> None:
        self.overflowed += 1

    def outbox_written(self, count: int) -> None:
        self.written += count

    def abandon(self) -> None:
        self.abandoned += 1


class SharedFrames:
    """A SharedOutbox with pending frames."""

    key: tuple[object, ...] = ()

    def __init__(self, head: int, pending: list[bytes] | None = None, since: int = 0) -> None:
        self.head = head
        self.pending = pending
        self.since = since
        self.rejoined: list[Outbox] = []

    def detach(self, outbox: Outbox) -> None:
        if self.pending is not None:
            pending, self.pending = self.pending, None
            outbox.adopt_pending(pending, self.since)

    def rejoin(self, outbox: Outbox, send: Send) -> None:
        self.rejoined.append(outbox)


class OptionallyDirectTransport(RecordingTransport):
    """A transport that can send directly while ``is_direct``."""

    is_direct = True

    def direct(self) -> Any:
        return super().direct() if self.is_direct else None


class Harness:
    """An outbox, its transport, and the broker to which its mail is acknowledged."""

    def __init__(self, *, ready: bool = True, accepting: bool = True) -> None:
        self.owner = Owner()
        self.transport = OptionallyDirectTransport()
        clock = FakeClock()
        self.broker = MemoryBroker(clock)
        run(self.broker.start(lambda publications: None))
        self.acks = MailboxAcks(self.broker, principal(), self.transport, clock)
        self.outbox = Outbox(self.owner, self.transport, self.acks, FULL, LIMIT)
        self.outbox.ready = ready
        if accepting:
            self.outbox.accept()
            self.owner.filled = 0

    def offer(self, *seqs: int) -> None:
        self.outbox.offer([frame(seq) for seq in seqs], list(seqs))

    def transmit(self) -> bytes:
        """Write the queued frames; return the written bytes."""
        self.outbox.transmit(b"".join(self.outbox.frames))
        written, self.transport.written = self.transport.written, b""
        return written


def publication(seq: int, type_: str = "alert", **fields: Any) -> Publication:
    return Publication(event(type_, event_id=f"e-{seq}", **fields), seq)


def frame(seq: int) -> bytes:
    return publication(seq).frame(FULL)


ANSWER = control_frame("pong", {})


@pytest.fixture
def harness() -> Harness:
    return Harness()


class TestOffer:
    def test_offered_frames_are_queued_until_they_are_transmitted(self, harness: Harness) -> None:
        harness.offer(1, 2)
        assert harness.owner.filled == 1
        assert harness.transport.written == b""
        assert harness.transmit() == frame(1) + frame(2)
        assert harness.owner.written == 2
        assert harness.outbox.frames == []

    def test_the_owner_is_called_once_until_the_frames_are_written(self, harness: Harness) -> None:
        harness.offer(1)
        harness.offer(2)
        assert harness.owner.filled == 1
        harness.transmit()
        harness.offer(3)
        assert harness.owner.filled == 2

    def test_publications_up_to_the_position_are_skipped(self, harness: Harness) -> None:
        harness.outbox.position = 2
        harness.offer(1, 2, 3)
        assert harness.transmit() == frame(3)

    def test_before_accept_nothing_is_queued(self) -> None:
        harness = Harness(accepting=False)
        harness.offer(1)
        assert harness.outbox.frames == []
        assert harness.owner.filled == 0

    @pytest.mark.parametrize("state", ["ready", "paused"])
    def test_a_blocked_outbox_keeps_its_frames(self, harness: Harness, state: str) -> None:
        harness.outbox.ready, harness.outbox.paused = state != "ready", state == "paused"
        harness.offer(1)
        assert harness.outbox.blocked
        assert harness.transmit() == b""
        harness.outbox.ready, harness.outbox.paused = True, False
        assert harness.transmit() == frame(1)


class TestOverflow:
    def test_after_an_overflow_the_position_is_before_the_first_discarded_publication(self, harness: Harness) -> None:
        harness.offer(5, 6)
        harness.offer(7, 8, 9)
        assert harness.owner.overflowed == 1
        assert not harness.outbox.accepting
        assert harness.outbox.position == 4
        assert harness.outbox.frames == []
        harness.offer(10)
        assert harness.outbox.frames == []

    def test_written_publications_are_not_discarded(self, harness: Harness) -> None:
        harness.offer(1, 2)
        harness.transmit()
        harness.offer(3, 4, 5, 6, 7)
        assert harness.outbox.position == 2

    def test_control_frames_are_kept_in_an_overflow(self, harness: Harness) -> None:
        harness.offer(1)
        harness.outbox.add(ANSWER)
        harness.offer(2, 3)
        harness.offer(4)
        assert harness.owner.overflowed == 1
        assert harness.outbox.frames == [ANSWER]
        assert harness.outbox.position == 0

    def test_publications_from_the_history_are_kept_in_an_overflow(self) -> None:
        harness = Harness(accepting=False)
        harness.outbox.add(frame(1))
        harness.outbox.position = 1
        harness.outbox.accept()
        harness.offer(2, 3, 4)
        harness.offer(5)
        assert harness.outbox.frames == [frame(1)]
        assert harness.outbox.position == 1

    @pytest.mark.parametrize("first_a_message", [True, False])
    def test_a_resized_outbox_holds_as_many_publications(self, harness: Harness, first_a_message: bool) -> None:
        if first_a_message:
            # A message in several frames counts once.
            harness.outbox.add_message((ANSWER, ANSWER, ANSWER))
            harness.outbox.resize(LIMIT + 2)
            harness.offer(*range(1, LIMIT + 2))
        else:
            harness.outbox.resize(LIMIT + 1)
            harness.offer(*range(1, LIMIT + 2))
        assert harness.outbox.accepting
        harness.offer(LIMIT + 2)
        assert not harness.outbox.accepting

    def test_what_is_beyond_a_smaller_size_overflows_with_the_next_publication(self, harness: Harness) -> None:
        harness.offer(1, 2, 3)
        harness.outbox.resize(2)
        assert harness.outbox.accepting
        harness.offer(4)
        assert (harness.outbox.accepting, harness.outbox.position) == (False, 0)

    @given(st.lists(st.tuples(st.integers(1, 6), st.booleans()), max_size=20))
    def test_written_publications_are_consecutive_up_to_the_position(self, steps: list[tuple[int, bool]]) -> None:
        harness, seq, written = Harness(), 0, b""
        for count, transmits in steps:
            harness.offer(*range(seq + 1, seq + count + 1))
            seq += count
            assert len(harness.outbox.frames) <= LIMIT
            if transmits:
                written += harness.transmit()
        written += harness.transmit()
        reached = harness.outbox.position if harness.owner.overflowed else seq
        assert written == b"".join(frame(number) for number in range(1, reached + 1))


class TestHold:
    def test_a_held_outbox_is_at_the_head(self, harness: Harness) -> None:
        harness.offer(1, 2)
        harness.outbox.hold(2)
        harness.offer(3)
        assert harness.outbox.position == 2
        assert harness.transmit() == frame(1) + frame(2)

    def test_a_position_ahead_of_the_head_is_kept(self, harness: Harness) -> None:
        harness.outbox.position = 9
        harness.outbox.hold(2)
        assert harness.outbox.position == 9

    def test_a_second_hold_does_not_change_the_position(self, harness: Harness) -> None:
        harness.outbox.hold(2)
        harness.outbox.hold(7)
        assert harness.outbox.position == 2


class TestGroup:
    def test_pending_frames_of_the_group_precede_an_answer(self, harness: Harness) -> None:
        harness.outbox.group = SharedFrames(2, [frame(1), frame(2)])
        harness.outbox.add(ANSWER)
        assert harness.outbox.frames == [frame(1), frame(2), ANSWER]

    def test_more_pending_frames_than_the_limit_overflow(self, harness: Harness) -> None:
        harness.outbox.group = SharedFrames(6, [frame(seq) for seq in range(2, 7)], since=1)
        harness.outbox.detach()
        assert harness.owner.overflowed == 1
        assert harness.outbox.position == 1

    def test_a_detached_outbox_rejoins_once_it_is_written(self, harness: Harness) -> None:
        harness.outbox.group = group = SharedFrames(1)
        harness.offer(1)
        harness.outbox.rejoin()
        assert not group.rejoined
        harness.transmit()
        assert group.rejoined == [harness.outbox]

    @pytest.mark.parametrize("reason", ["not accepting", "paused", "ahead", "no direct sending"])
    def test_an_outbox_that_cannot_be_synced_does_not_rejoin(self, harness: Harness, reason: str) -> None:
        harness.outbox.group = group = SharedFrames(1)
        if reason == "not accepting":
            harness.outbox.hold(1)
        elif reason == "paused":
            harness.outbox.paused = True
        elif reason == "ahead":
            harness.outbox.position = 2
        else:
            harness.transport.is_direct = False
        harness.transmit()
        assert not group.rejoined

    def test_the_rest_of_a_direct_send_is_written(self, harness: Harness) -> None:
        harness.outbox.write_rest(b"abcdef", 2)
        assert harness.transport.written == b"cdef"
        harness.outbox.write_rest(b"gh", 0)
        assert harness.transport.written == b"cdefgh"


class TestRoom:
    def test_each_message_of_a_batch_counts(self, harness: Harness) -> None:
        assert harness.outbox.room == LIMIT
        harness.outbox.add_batch(frame(1) + frame(2) + frame(3), 3)
        assert harness.outbox.room == 1
        assert harness.transmit() == frame(1) + frame(2) + frame(3)
        assert harness.owner.written == 3
        assert harness.outbox.room == LIMIT

    def test_room_is_never_negative(self, harness: Harness) -> None:
        for _ in range(LIMIT + 2):
            harness.outbox.add(ANSWER)
        assert harness.outbox.room == 0

    def test_answers_are_limited(self, harness: Harness) -> None:
        for _ in range(LIMIT + MAX_ANSWERS):
            assert not harness.outbox.is_full_of_answers
            harness.outbox.add(ANSWER)
        assert harness.outbox.is_full_of_answers


class TestMail:
    def test_mail_is_marked_as_sent_once_it_is_written(self, harness: Harness) -> None:
        mail = publication(1, "notification", user_id="7")
        run(harness.broker.publish([mail.event]))
        harness.outbox.offer_mail(mail)
        assert not sent(harness)
        harness.transmit()
        assert sent(harness) == ["e-1"]

    def test_discarded_mail_is_not_marked_as_sent(self, harness: Harness) -> None:
        mail = publication(1, "notification", user_id="7")
        run(harness.broker.publish([mail.event]))
        harness.outbox.offer_mail(mail)
        harness.offer(2, 3, 4, 5)
        assert harness.owner.overflowed == 1
        harness.outbox.add(ANSWER)
        harness.transmit()
        assert not sent(harness)

    def test_mail_from_the_mailbox_is_marked_as_sent(self, harness: Harness) -> None:
        mail = publication(1, "notification", user_id="7")
        run(harness.broker.publish([mail.event]))
        harness.outbox.add_mail(MailboxItem(mail, False), mail.mail_frame(View.FULL, redelivered=False))
        assert harness.acks.from_mailbox == {1}
        assert b'"offline":true' in harness.transmit()
        assert sent(harness) == ["e-1"]


def sent(harness: Harness) -> list[str]:
    page = run(harness.broker.read_mailbox(ACME, "7", 0, 10))
    return [item.publication.event.event_id for item in page.items if item.sent]


class TestWelcome:
    def test_the_welcome_precedes_queued_frames(self) -> None:
        harness = Harness(ready=False, accepting=False)
        harness.outbox.add(ANSWER)
        assert harness.transmit() == b""
        welcome = control_frame("welcome", {})
        harness.outbox.add_first(welcome)
        assert harness.transmit() == welcome + ANSWER


class TestEnd:
    def test_flush_writes_at_once(self, harness: Harness) -> None:
        harness.offer(1)
        harness.outbox.flush()
        assert harness.transport.written == frame(1)
        harness.outbox.flush()
        assert harness.transport.writes == 1

    def test_a_closed_outbox_accepts_and_writes_nothing(self, harness: Harness) -> None:
        harness.offer(1)
        assert str(harness.outbox) == "acme/7"
        harness.outbox.close()
        harness.offer(2)
        assert harness.transmit() == b""
        harness.outbox.abandon()
        assert harness.owner.abandoned == 0
        assert str(harness.outbox) == "a closed connection"

    def test_abandon_abandons_the_owner(self, harness: Harness) -> None:
        harness.outbox.abandon()
        assert harness.owner.abandoned == 1

    def test_an_outbox_closed_while_it_is_written_counts_nothing(
        self, harness: Harness, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        harness.offer(1)
        monkeypatch.setattr(harness.transport, "write", lambda data: harness.outbox.close())
        harness.outbox.flush()
        assert harness.outbox.frames == []
        assert harness.owner.written == 0
