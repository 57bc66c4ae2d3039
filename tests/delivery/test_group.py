"""Clients in step: one outbox for all of them, and what happens when one leaves the step."""

from __future__ import annotations

from typing import Any

import pytest
from core_stage import Socket, Stage

from callcenter_ws.delivery import group, hub
from callcenter_ws.errors import CloseCode
from callcenter_ws.events.principal import Role


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setattr(group, "SLICE", 2)
    monkeypatch.setattr(hub, "SLICE", 2)
    return Stage()


def crowd(stage: Stage, size: int) -> list[Socket]:
    sockets = [stage.live() for _ in range(size)]
    stage.settle()
    for socket in sockets:
        socket.take()
        assert is_in_step(socket)
    return sockets


def is_in_step(socket: Socket) -> bool:
    assert socket.client.group is not None
    return socket.client in socket.client.group.in_step


def test_a_live_client_with_nothing_of_its_own_holds_nothing(stage: Stage) -> None:
    (socket,) = crowd(stage, 1)
    stage.alerts(3)
    assert socket.client.outbox == []
    stage.settle()
    assert socket.seqs() == [1, 2, 3]
    assert is_in_step(socket)


def test_between_slices_others_have_a_turn(stage: Stage) -> None:
    sockets = crowd(stage, 5)
    stage.alerts(1)
    got = []
    for _ in range(4):
        stage.clock.step()
        got.append(sum(bool(socket.written) for socket in sockets))
    assert got == [2, 4, 5, 5]


def test_what_is_published_between_slices_comes_after_them(stage: Stage) -> None:
    sockets = crowd(stage, 5)
    for _ in range(7):
        stage.alerts(1)
        stage.clock.step()
    stage.settle()
    assert [socket.seqs() for socket in sockets] == [list(range(1, 8))] * 5


@pytest.mark.parametrize("served", [0, 1, 2])
@pytest.mark.parametrize("place", range(5))
@pytest.mark.parametrize("how", ["ask", "pause", "pause and drain", "mail"])
def test_who_steps_out_between_slices_misses_nothing_and_gets_nothing_twice(
    stage: Stage, served: int, place: int, how: str
) -> None:
    sockets = crowd(stage, 5)
    before = stage.hub.counters.delivered
    stage.alerts(2)
    for _ in range(served):
        stage.clock.step()
    mover = sockets[place]
    if how == "ask":
        mover.say("ping", id_="p")
    elif how == "mail":
        user = mover.client.principal.user_id
        stage.publish("notification", {"type": "x", "title": "t", "message": "m"}, user_id=user)
    else:
        mover.client.pause()
    assert not is_in_step(mover)
    stage.alerts(1)
    if how == "pause and drain":
        stage.clock.step()
        mover.drain()
    stage.settle()
    if how == "pause":
        mover.drain()
        stage.settle()
    expected = [1, 2, 4] if how == "mail" else [1, 2, 3]
    for socket in sockets:
        messages = socket.take()
        seqs = [message["seq"] for message in messages if "seq" in message]
        assert seqs == ([1, 2, 3, 4] if how == "mail" and socket is mover else expected)
    assert stage.hub.counters.delivered - before == 15 + (how in ("ask", "mail"))
    assert all(map(is_in_step, sockets))


@pytest.mark.parametrize("served", [0, 1, 2])
def test_who_is_closed_between_slices_gets_its_share_first(stage: Stage, served: int) -> None:
    sockets = crowd(stage, 5)
    stage.alerts(2)
    for _ in range(served):
        stage.clock.step()
    for socket in sockets:
        socket.client.close(CloseCode.DRAINING)
    assert [socket.seqs() for socket in sockets] == [[1, 2]] * 5
    stage.settle()


def test_who_is_gone_between_slices_is_sent_nothing(stage: Stage) -> None:
    sockets = crowd(stage, 5)
    stage.alerts(1)
    stage.clock.step()
    sockets[4].client.lost(CloseCode.ABNORMAL)
    stage.settle()
    assert sockets[4].written == b""
    assert stage.hub.connections() == 4


def test_a_large_batch_is_written_in_bursts_even_between_slices(stage: Stage) -> None:
    sockets = crowd(stage, 5)
    stage.alerts(1)
    stage.clock.step()
    stage.alerts(1_000)
    stage.settle()
    assert not any(socket.client.lagging for socket in sockets)
    assert [socket.seqs() for socket in sockets] == [list(range(1, 1_002))] * 5


def test_a_socket_that_takes_a_part_is_written_the_rest_and_steps_out(stage: Stage) -> None:
    sockets = crowd(stage, 3)
    (half,) = (socket for socket in sockets[1:2])
    steps_in_with(stage, half, lambda data: socket_takes(half, data[:10]))
    stage.alerts(1)
    stage.settle()
    assert [socket.seqs() for socket in sockets] == [[1]] * 3


@pytest.mark.parametrize("error", [BlockingIOError, ConnectionResetError])
def test_a_socket_that_takes_nothing_is_written_everything(stage: Stage, error: type[Exception]) -> None:
    sockets = crowd(stage, 3)

    def refuse(data: bytes) -> int:
        raise error

    steps_in_with(stage, sockets[1], refuse)
    stage.alerts(1)
    stage.settle()
    assert [socket.seqs() for socket in sockets] == [[1]] * 3


def socket_takes(socket: Socket, data: bytes) -> int:
    socket.written += data
    return len(data)


def steps_in_with(stage: Stage, socket: Socket, send: Any) -> None:
    """Have the group send to a client in this way, once it has fallen in again."""
    socket.client.step_out()
    socket.direct = lambda: send  # type: ignore[method-assign]
    socket.client.fall_in()
    socket.direct = lambda: None  # type: ignore[method-assign,assignment,return-value]


def test_what_is_too_large_to_copy_is_written_as_one_piece(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group, "DIRECT_BYTES", 10)
    sockets = crowd(stage, 3)
    stage.alerts(2)
    stage.settle()
    assert [socket.seqs() for socket in sockets] == [[1, 2]] * 3
    assert sockets[0].latest is sockets[2].latest


def test_between_groups_others_have_a_turn_too(stage: Stage) -> None:
    sockets = [stage.live(role=Role.AGENT, queues=frozenset(["sales"])) for _ in range(7)]
    stage.settle()
    for socket in sockets:
        socket.take()
    assert len({socket.client.group for socket in sockets}) == 7
    stage.alerts(1)
    got = []
    for _ in range(4):
        stage.clock.step()
        got.append(sum(bool(socket.written) for socket in sockets))
    assert got == [2, 4, 6, 7]


@pytest.mark.logs_errors
def test_a_round_that_breaks_off_ends_its_clients_and_no_others(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    sockets = crowd(stage, 3)
    other = stage.live(role=Role.ADMIN)
    monkeypatch.setattr(group, "_send_to_each", lambda *given: stage.alerts(1) or 1 / 0)
    stage.alerts(1)
    stage.clock.step()
    monkeypatch.undo()
    assert not any(socket.written for socket in sockets), "the second event would have come without the first"
    stage.settle()
    assert {socket.closed_with for socket in sockets} == {CloseCode.INTERNAL_ERROR}
    assert not other.client.closed
    assert [message["type"] for message in other.take() if message.get("type") == "alert"] == ["alert"] * 2


@pytest.mark.logs_errors
def test_where_nobody_knows_how_much_was_taken_nothing_is_sent_again(stage: Stage) -> None:
    sockets = crowd(stage, 3)

    def stumble(data: bytes) -> int:
        sockets[1].written += data
        raise RuntimeError("a bug behind the send")

    steps_in_with(stage, sockets[1], stumble)
    stage.alerts(1)
    stage.settle()
    assert sockets[1].closed_with is CloseCode.INTERNAL_ERROR
    assert [socket.seqs() for socket in sockets] == [[1]] * 3
