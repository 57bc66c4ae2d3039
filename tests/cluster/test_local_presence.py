"""LocalPresence: who is here, since when, and who is told."""

from __future__ import annotations

from typing import Any

import pytest
from core_stage import TENANT, SlowBroker, Stage

from callcenter_ws.cluster import local_presence as presence_module
from callcenter_ws.cluster.local_presence import RETRY
from callcenter_ws.errors import CloseCode, ErrorCode, Refusal
from callcenter_ws.events.principal import Role
from callcenter_ws.interfaces import PresenceRecord, UserPresence

GRACE = 10.0


@pytest.fixture
def stage() -> Stage:
    return Stage()


def said(stage: Stage) -> list[tuple[str, bool, int, str]]:
    """What was announced since the last call."""
    announced, stage.announced[:] = list(stage.announced), []
    assert all(tenant_id == TENANT for tenant_id, _ in announced)
    return [
        (payload["user_id"], payload["online"], payload["connections"], payload["reason"]) for _, payload in announced
    ]


ARRIVED = ("7", True, 1, "connected")
GONE = ("7", False, 0, "disconnected")


def test_the_first_connection_is_announced(stage: Stage) -> None:
    stage.connect(Role.AGENT, user_id="7")
    assert said(stage) == [ARRIVED]


def test_a_second_device_is_not(stage: Stage) -> None:
    first = stage.connect(Role.AGENT, user_id="7")
    second = stage.connect(Role.AGENT, user_id="7")
    assert said(stage) == [ARRIVED]
    first.client.lost(CloseCode.NORMAL)
    stage.clock.advance(2 * GRACE)
    assert said(stage) == []
    second.client.lost(CloseCode.NORMAL)
    stage.clock.advance(2 * GRACE)
    assert said(stage) == [GONE]


def test_the_last_one_gone_is_announced_after_the_grace(stage: Stage) -> None:
    socket = stage.connect(Role.AGENT, user_id="7")
    said(stage)
    socket.client.lost(CloseCode.NORMAL)
    stage.clock.advance(GRACE - 0.1)
    assert said(stage) == []
    stage.clock.advance(0.2)
    assert said(stage) == [GONE]
    stage.connect(Role.AGENT, user_id="7")
    assert said(stage) == [ARRIVED]


def test_a_reload_is_not_announced(stage: Stage) -> None:
    said_before = None
    for _ in range(5):
        socket = stage.connect(Role.AGENT, user_id="7")
        said_before = said_before or said(stage)
        socket.client.lost(CloseCode.NORMAL)
        stage.clock.advance(GRACE - 1)
    assert said_before == [ARRIVED]
    assert said(stage) == []
    stage.clock.advance(2)
    assert said(stage) == [GONE]


@pytest.mark.parametrize("role", [Role.SUPERVISOR, Role.ADMIN, Role.WALLBOARD])
def test_people_are_announced(stage: Stage, role: Role) -> None:
    stage.connect(role, user_id="7")
    assert said(stage) == [ARRIVED]


@pytest.mark.parametrize("role", [Role.VISITOR, Role.SERVICE])
def test_visitors_and_services_are_not(stage: Stage, role: Role) -> None:
    socket = stage.connect(role, user_id="7")
    socket.client.lost(CloseCode.NORMAL)
    stage.clock.advance(2 * GRACE)
    assert said(stage) == []


def test_users_of_different_tenants_are_different_users(stage: Stage) -> None:
    stage.connect(Role.AGENT, user_id="7", tenant_id="globex").client.lost(CloseCode.NORMAL)
    assert stage.announced.pop()[0] == "globex"
    stage.connect(Role.AGENT, user_id="7")
    assert said(stage) == [ARRIVED]
    stage.clock.advance(2 * GRACE)
    ((tenant_id, payload),) = stage.announced
    assert tenant_id == "globex"
    assert payload == {"user_id": "7", "online": False, "connections": 0, "reason": "disconnected"}
    assert stage.presence.of(TENANT, "7").online
    assert not stage.presence.of("globex", "7").online


def test_what_is_known_of_a_user(stage: Stage) -> None:
    start = stage.clock.time()
    unknown = stage.presence.of(TENANT, "7")
    assert (unknown.online, unknown.connections, unknown.since, unknown.last_seen) == (False, 0, None, None)
    first = stage.connect(Role.AGENT, user_id="7")
    stage.clock.advance(5)
    second = stage.connect(Role.AGENT, user_id="7")
    here = stage.presence.of(TENANT, "7")
    assert (here.online, here.connections, here.since, here.last_seen) == (True, 2, start, start + 5)
    first.client.lost(CloseCode.NORMAL)
    assert stage.presence.of(TENANT, "7").connections == 1
    second.client.lost(CloseCode.NORMAL)
    stage.clock.advance(3)
    away = stage.presence.of(TENANT, "7")
    assert (away.online, away.connections, away.since, away.last_seen) == (False, 0, None, start + 5)
    stage.clock.advance(2 * GRACE)
    assert stage.presence.of(TENANT, "7") == away


def test_a_reload_does_not_begin_a_new_stay(stage: Stage) -> None:
    start = stage.clock.time()
    stage.connect(Role.AGENT, user_id="7").client.lost(CloseCode.NORMAL)
    stage.clock.advance(GRACE - 1)
    stage.connect(Role.AGENT, user_id="7")
    assert stage.presence.of(TENANT, "7").since == start


def test_who_left_longest_ago_is_forgotten_first(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence_module, "MAX_REMEMBERED", 2)
    for user_id in ("1", "2", "1", "3"):
        stage.connect(Role.AGENT, user_id=user_id).client.lost(CloseCode.NORMAL)
        stage.clock.advance(2 * GRACE)
    seen = {user_id: stage.presence.of(TENANT, user_id).last_seen is not None for user_id in ("1", "2", "3")}
    assert seen == {"1": True, "2": False, "3": True}


class PresenceStore:
    """A PresenceStore that keeps what it is told."""

    def __init__(self, *known: PresenceRecord) -> None:
        self.known = list(known)
        self.notes: list[PresenceRecord] = []

    def load_presence(self) -> list[PresenceRecord]:
        return self.known

    def note(self, attendance: PresenceRecord) -> None:
        self.notes.append(attendance)


class TestRestart:
    """What the register knows is taken up; who was here has a while to come back."""

    PATIENCE = 30.0

    def start(self, *known: PresenceRecord) -> tuple[Stage, PresenceStore]:
        stage, register = Stage(), PresenceStore(*known)
        stage.presence._register = register
        stage.presence.resume(self.PATIENCE)
        return stage, register

    def test_who_comes_back_is_not_announced(self) -> None:
        stage, _ = self.start(PresenceRecord(TENANT, "7", False, 1_000.0, 2_000.0, told=True))
        assert stage.presence.of(TENANT, "7") == UserPresence(False, 0, None, 2_000.0)
        stage.clock.advance(GRACE + self.PATIENCE - 1)
        stage.connect(Role.AGENT, user_id="7")
        stage.clock.advance(5 * GRACE)
        assert said(stage) == []
        assert stage.presence.of(TENANT, "7").since == 1_000.0

    def test_who_does_not_is_announced_gone_once(self) -> None:
        stage, register = self.start(PresenceRecord(TENANT, "7", False, 1_000.0, 2_000.0, told=True))
        stage.clock.advance(GRACE + self.PATIENCE - 1)
        assert said(stage) == []
        stage.clock.advance(2)
        assert said(stage) == [GONE]
        assert register.notes == [PresenceRecord(TENANT, "7", False, None, 2_000.0)]
        stage.clock.advance(100)
        assert said(stage) == []
        assert stage.presence.of(TENANT, "7") == UserPresence(False, 0, None, 2_000.0)

    def test_who_had_left_is_only_remembered(self) -> None:
        stage, _ = self.start(PresenceRecord(TENANT, "7", False, None, 2_000.0))
        stage.clock.advance(100)
        assert said(stage) == []
        assert stage.presence.of(TENANT, "7").last_seen == 2_000.0

    def test_who_had_come_just_then_is_announced_when_back(self) -> None:
        stage, _ = self.start(PresenceRecord(TENANT, "7", False, 1_000.0, 2_000.0, told=False))
        stage.connect(Role.AGENT, user_id="7")
        assert said(stage) == [ARRIVED]

    def test_who_had_come_just_then_and_stays_away_was_never_here(self) -> None:
        stage, register = self.start(PresenceRecord(TENANT, "7", False, 1_000.0, 2_000.0, told=False))
        stage.clock.advance(GRACE + self.PATIENCE + 1)
        assert said(stage) == []
        assert register.notes == [PresenceRecord(TENANT, "7", False, None, 2_000.0)]

    def test_who_had_gone_just_then_is_announced_gone(self) -> None:
        stage, _ = self.start(PresenceRecord(TENANT, "7", False, None, 2_000.0, told=True))
        assert said(stage) == [GONE]

    def test_what_is_noted(self) -> None:
        stage, register = self.start()
        start = stage.clock.time()
        socket = stage.connect(Role.AGENT, user_id="7")
        visitor = stage.connect(Role.VISITOR, user_id="v", session_id="s")
        stage.clock.advance(5)
        for one in (socket, visitor):
            one.client.lost(CloseCode.NORMAL)
        stage.clock.advance(2 * GRACE)
        assert register.notes == [
            PresenceRecord(TENANT, "7", False, start, start),
            PresenceRecord(TENANT, "7", False, start, start + 5),
            PresenceRecord(TENANT, "v", True, None, start + 5),
            PresenceRecord(TENANT, "7", False, None, start + 5),
        ]


class TestRefused:
    """The store does not take an announcement: it is made again, as long as it is true."""

    def stage(self) -> tuple[Stage, list[bool]]:
        stage, refuses = Stage(), [True]
        real = stage._announce

        async def announce(tenant_id: str, payload: dict[str, Any]) -> None:
            if refuses[0]:
                raise Refusal(ErrorCode.UNAVAILABLE)
            await real(tenant_id, payload)

        stage.presence._announce = announce
        return stage, refuses

    def test_it_is_made_again(self) -> None:
        stage, refuses = self.stage()
        stage.connect(Role.AGENT, user_id="7")
        stage.clock.advance(3 * RETRY)
        assert said(stage) == []
        refuses[0] = False
        stage.clock.advance(RETRY)
        assert said(stage) == [ARRIVED]
        stage.clock.advance(3 * RETRY)
        assert said(stage) == []

    def test_what_is_no_longer_true_is_not_said(self) -> None:
        stage, refuses = self.stage()
        stage.connect(Role.AGENT, user_id="7").client.lost(CloseCode.NORMAL)
        stage.clock.advance(2 * GRACE)
        refuses[0] = False
        stage.clock.advance(3 * RETRY)
        assert said(stage) == []

    def test_the_end_is_said_in_the_end(self) -> None:
        stage, refuses = self.stage()
        refuses[0] = False
        socket = stage.connect(Role.AGENT, user_id="7")
        refuses[0] = True
        socket.client.lost(CloseCode.NORMAL)
        stage.clock.advance(GRACE + RETRY)
        refuses[0] = False
        stage.clock.advance(2 * RETRY)
        assert said(stage) == [ARRIVED, GONE]


class TestPublished:
    """With the real broadcaster behind it."""

    def events(self, messages: list[dict[str, Any]]) -> list[tuple[str, bool]]:
        return [
            (message["payload"]["user_id"], message["payload"]["online"])
            for message in messages
            if message["type"] == "presence.changed"
        ]

    def test_supervisors_are_told_and_agents_are_not(self) -> None:
        stage = Stage(announces=True)
        supervisor, agent = stage.live(user_id="boss"), stage.live(role=Role.AGENT, user_id="7")
        socket = stage.live(role=Role.AGENT, user_id="8")
        socket.client.lost(CloseCode.NORMAL)
        stage.clock.advance(2 * GRACE)
        assert self.events(supervisor.read()) == [("7", True), ("8", True), ("8", False)]
        assert self.events(agent.read()) == []

    def test_a_store_that_takes_nothing_is_no_bug(self) -> None:
        stage = Stage(announces=True)
        stage.spawn(stage.broker.stop())
        socket = stage.connect(Role.AGENT, user_id="7")
        socket.client.lost(CloseCode.NORMAL)
        stage.clock.advance(2 * GRACE)
        stage.settle()

    def test_a_storm_of_reconnects_says_nothing(self) -> None:
        stage = Stage(announces=True, slow=True)
        assert isinstance(stage.broker, SlowBroker)
        sockets = [stage.live(role=Role.AGENT, user_id=f"a{number}") for number in range(50)]
        stage.settle()
        head = stage.hub._tenants[TENANT].head
        for socket in sockets:
            socket.client.lost(CloseCode.ABNORMAL)
        stage.clock.advance(GRACE / 2)
        sockets = [stage.connect(Role.AGENT, user_id=f"a{number}") for number in range(50)]
        stage.clock.advance(3 * GRACE)
        assert [socket.read()[0]["payload"]["seq"] for socket in sockets] == [head] * 50
