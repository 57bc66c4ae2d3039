"""The bound on all requests in memory."""

from __future__ import annotations

from dataclasses import dataclass

from callcenter_ws.runtime.incoming_bytes import IncomingBytes


@dataclass(eq=False)
class Body:
    given_up: bool = False

    def give_up(self) -> None:
        self.given_up = True


def test_the_holder_with_most_bytes_pays_by_its_oldest_body() -> None:
    incoming = IncomingBytes(160)
    small, first, second = Body(), Body(), Body()
    incoming.add(small, "small", 20)
    for body in (first, second):
        incoming.add(body, "large", 70)
    assert not first.given_up
    incoming.add(small, "small", 1)
    assert (small.given_up, first.given_up, second.given_up) == (False, True, False)
    assert incoming.total == 91
    assert incoming.refused == 1


def test_the_body_that_exceeds_the_bound_may_pay_itself() -> None:
    incoming = IncomingBytes(160)
    body = Body()
    incoming.add(body, "a", 161)
    assert body.given_up
    assert incoming.total == 0


def test_a_complete_body_counts_and_does_not_pay() -> None:
    incoming = IncomingBytes(160)
    complete, late = Body(), Body()
    incoming.add(complete, "a", 150)
    incoming.complete(complete)
    incoming.add(late, "b", 20)
    assert (complete.given_up, late.given_up) == (False, True)
    assert incoming.remove(complete) == 150
    assert incoming.total == 0


def test_a_body_moves_to_another_holder_with_its_bytes() -> None:
    incoming = IncomingBytes(160)
    body, other = Body(), Body()
    incoming.add(body, "network", 40)
    incoming.add(body, "tenant", 40)
    incoming.add(other, "network", 60)
    incoming.add(other, "network", 30)
    assert (body.given_up, other.given_up) == (False, True)
    assert incoming.total == 80


def test_what_is_not_counted_is_ignored() -> None:
    incoming = IncomingBytes(160)
    incoming.complete(Body())
    assert incoming.remove(Body()) == 0
