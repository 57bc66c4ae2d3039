"""A session of the manager interface without a socket: login, boot, lists, live events, silence, audits."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from callcenter_ws.bridge.asterisk import held_events
from callcenter_ws.bridge.asterisk import session as module
from callcenter_ws.bridge.asterisk.booting import MAX_BOOT_SECONDS
from callcenter_ws.bridge.asterisk.login import Credentials
from callcenter_ws.bridge.asterisk.message import AmiMessage
from callcenter_ws.bridge.asterisk.session import AmiSession, SessionState
from callcenter_ws.bridge.asterisk.snapshot import AmiSnapshot
from callcenter_ws.bridge.loss import LostReason

BANNER = "Asterisk Call Manager/11.0.0"
BOOTED = ("Event: FullyBooted", "Privilege: system,all", "Status: Fully Booted")
LISTS = ["CoreStatus", "QueueStatus", "CoreShowChannels", "BridgeList"]

Action = dict[str, str]


class Recorder:
    """A machine that records its calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.snapshots: list[AmiSnapshot] = []

    def handle(self, message: AmiMessage, arrived: float) -> None:
        self.calls.append(message.get("Uniqueid") or message.name)

    is_comparing = False

    def compare_next(self) -> None:
        raise AssertionError("nothing is compared")

    def synchronizing(self, snapshot: AmiSnapshot, arrived: float) -> Iterator[None]:
        yield
        self.calls.append("synchronize")
        self.snapshots.append(snapshot)


class World:
    """A session with its machine, and the exchange that a test plays."""

    def __init__(self, *, wanted: frozenset[str] | None = None, plain: bool = False) -> None:
        self.machine = Recorder()
        credentials = Credentials("callcenter", "opensesame", allow_plain_login=plain)
        self.session = AmiSession(
            credentials, self.machine, "ours", wanted=wanted, ping_interval=10, audit_interval=100
        )
        self.now = 0.0
        self.take_over_clock("2026-11-29 12:14:03", 400)
        self.session.tick(0)

    def receive(self, *lines: str, end: str = "\r\n\r\n") -> None:
        self.session.feed(("\r\n".join(lines) + end).encode())
        while self.session.step(self.epoch + self.now):
            pass

    def greet(self) -> None:
        self.receive(BANNER, end="\r\n")

    def sent(self) -> list[Action]:
        """Return the actions that the session has sent since the last call."""
        blocks = self.session.take_output().decode().split("\r\n\r\n")[:-1]
        return [dict(line.split(": ", 1) for line in block.split("\r\n")) for block in blocks]

    def answer(self, action: Action, *lines: str) -> None:
        self.receive("Response: Success", f"ActionID: {action['ActionID']}", *lines)

    def refuse(self, action: Action, text: str) -> None:
        self.receive("Response: Error", f"ActionID: {action['ActionID']}", f"Message: {text}")

    def log_in(self, *, booted: bool = True) -> None:
        self.greet()
        (challenge,) = self.sent()
        self.answer(challenge, "Challenge: 163406986")
        (login,) = self.sent()
        self.answer(login, "Message: Authentication accepted")
        if booted:
            self.receive(*BOOTED)

    def answer_settings(self, version: str = "22.0.0") -> None:
        status, settings = self.sent()[-2:]
        assert (status["Action"], settings["Action"]) == ("CoreStatus", "CoreSettings")
        self.answer_list(status)
        self.answer(settings, f"AsteriskVersion: {version}")

    def items(self, action: Action) -> Iterator[tuple[str, ...]]:
        own = f"ActionID: {action['ActionID']}"
        if action["Action"] == "QueueStatus":
            yield "Event: QueueParams", "Queue: support", own
            yield "Event: QueueMember", "Queue: support", "Location: PJSIP/201", own
            yield "Event: QueueEntry", "Queue: support", "Uniqueid: 1.1", own
            yield "Event: QueueStatusComplete", own
        elif action["Action"] == "CoreShowChannels":
            yield "Event: CoreShowChannel", "Uniqueid: 1.1", own
            yield "Event: CoreShowChannelsComplete", own
        elif action["Action"] == "BridgeList":
            yield "Event: BridgeListItem", "BridgeUniqueid: b", own
            yield "Event: BridgeListComplete", own

    def answer_list(self, action: Action) -> None:
        if action["Action"] == "CoreStatus":
            date, _, clock = self.started.partition(" ")
            self.answer(action, f"CoreStartupDate: {date}", f"CoreStartupTime: {clock}")
        else:
            self.answer(action, "EventList: start")
            for item in self.items(action):
                self.receive(*item)

    def answer_lists(self) -> None:
        for action in self.sent():
            self.answer_list(action)

    def synchronize(self) -> None:
        self.log_in()
        self.answer_settings()
        self.answer_lists()

    def pass_time(self, seconds: float) -> None:
        for _ in range(int(seconds)):
            self.now += 1
            self.session.tick(self.now)

    def take_over_clock(self, started: str, seconds_ago: float) -> None:
        """Have the exchange started some seconds ago, at a time of its own time zone."""
        begin = datetime.strptime(started, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp()
        self.started = started
        self.epoch = begin + seconds_ago - self.now

    def pass_time_alive(self, seconds: float) -> None:
        """Let time pass, while the exchange says something every few seconds."""
        for _ in range(int(seconds / 5)):
            self.pass_time(5)
            self.receive(*event("live"))


def event(uniqueid: str) -> tuple[str, ...]:
    return "Event: Newchannel", f"Uniqueid: {uniqueid}"


@pytest.fixture
def world() -> World:
    return World()


def test_nothing_is_sent_before_the_greeting(world: World) -> None:
    world.pass_time(3)
    assert world.sent() == []


def test_the_secret_is_proven_by_a_challenge(world: World) -> None:
    world.greet()
    (challenge,) = world.sent()
    assert challenge == {"Action": "Challenge", "ActionID": "ours-1", "AuthType": "MD5"}
    world.answer(challenge, "Challenge: 163406986")
    (login,) = world.sent()
    assert login["Key"] == "a9ac4f7cad5c361984d58222c05bbb22"
    assert login["Username"] == "callcenter"
    assert "Secret" not in login
    assert login["Events"] == "system,call,agent,dialplan"


def test_without_a_challenge_the_secret_is_not_sent(world: World) -> None:
    world.greet()
    world.refuse(world.sent()[0], "Invalid/unknown command: Challenge.")
    assert world.sent() == []
    assert world.session.loss is not None
    assert world.session.loss.reason is LostReason.LOGIN_REFUSED
    assert "allow_plain_login" in world.session.loss.text


def test_without_a_challenge_the_secret_is_sent_where_that_is_allowed() -> None:
    world = World(plain=True)
    world.greet()
    world.refuse(world.sent()[0], "Invalid/unknown command: Challenge.")
    (login,) = world.sent()
    assert login["Secret"] == "opensesame"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Authentication failed", "no user 'callcenter' with this secret"),
        ("Login Already In Use", "allowmultiplelogin is off"),
        ("Asterisk is shutting down", "Asterisk is shutting down"),
    ],
)
def test_a_refused_login_is_a_clear_reason(world: World, text: str, expected: str) -> None:
    world.greet()
    world.answer(world.sent()[0], "Challenge: 1")
    world.refuse(world.sent()[0], text)
    assert world.session.state is SessionState.LOST
    assert world.session.loss is not None
    assert world.session.loss.needs_operator
    assert expected in world.session.loss.text
    assert "opensesame" not in world.session.loss.text


def test_nothing_is_believed_before_the_login(world: World) -> None:
    world.greet()
    world.receive(*BOOTED)
    world.receive(*event("1.1"))
    assert [action["Action"] for action in world.sent()] == ["Challenge"]
    assert world.machine.calls == []


def test_the_lists_are_asked_for_in_order_once_the_exchange_is_booted(world: World) -> None:
    world.log_in(booted=False)
    assert world.sent() == []
    world.receive(*BOOTED)
    world.answer_settings()
    assert [action["Action"] for action in world.sent()] == LISTS
    assert world.session.state is SessionState.SYNCHRONIZING


def test_the_lists_become_one_snapshot(world: World) -> None:
    world.synchronize()
    (snapshot,) = world.machine.snapshots
    assert snapshot.boot == "2026-11-29 12:14:03"
    assert snapshot.version == "22.0.0"
    assert [entry.get("Uniqueid") for entry in snapshot.entries] == ["1.1"]
    assert [len(part) for part in (snapshot.channels, snapshot.bridges, snapshot.queues, snapshot.members)] == [1] * 4
    assert world.session.state is SessionState.LIVE
    assert world.session.is_synchronized


def test_live_events_are_kept_back_until_the_lists_are_complete(world: World) -> None:
    world.log_in(booted=False)
    world.receive(*event("before boot"))
    world.receive(*BOOTED)
    world.answer_settings()
    first, *others = world.sent()
    world.answer_list(first)
    world.receive(*event("amid the lists"))
    assert world.machine.calls == []
    for action in others:
        world.answer_list(action)
    world.receive(*event("live"))
    assert world.machine.calls == ["synchronize", "before boot", "amid the lists", "live"]


def test_only_our_own_action_ids_are_answers(world: World) -> None:
    world.log_in()
    world.answer_settings()
    actions = world.sent()
    # Of another client, in an event that names an item of a list, and in a foreign UserEvent.
    world.receive("Event: QueueMember", "Queue: fake", "ActionID: other-1")
    world.receive("Event: UserEvent", "Uniqueid: note", f"ActionID: {actions[1]['ActionID']}", "Event: QueueMember")
    world.receive("Response: Error", "ActionID: other-2", "Message: Permission denied")
    for action in actions:
        world.answer_list(action)
    assert len(world.machine.snapshots[0].members) == 1
    assert world.machine.calls == ["synchronize", "note"]


def test_an_exchange_that_never_says_that_it_is_booted_is_asked_nevertheless(world: World) -> None:
    world.log_in(booted=False)
    world.pass_time(module.BOOT_SECONDS)
    world.answer_settings()
    world.answer_lists()
    assert world.session.is_synchronized


@pytest.mark.parametrize("zone_hours", [0, 5.75, -8])
def test_an_exchange_that_was_just_started_is_waited_for(world: World, zone_hours: float) -> None:
    world.log_in(booted=False)
    world.take_over_clock("2026-11-29 12:14:03", 10)
    world.epoch -= zone_hours * 3_600
    world.pass_time(module.BOOT_SECONDS)
    world.answer_settings()
    assert world.sent() == []
    world.pass_time(module.BOOT_SECONDS)
    world.answer_settings()
    assert world.sent() == []
    world.receive(*BOOTED)
    world.answer_settings()
    world.answer_lists()
    assert world.machine.calls == ["synchronize"]


def test_an_exchange_that_was_just_started_is_not_waited_for_forever(world: World) -> None:
    world.log_in(booted=False)
    world.take_over_clock("2026-11-29 12:14:03", 0)
    for _ in range(int(MAX_BOOT_SECONDS / module.BOOT_SECONDS)):
        world.pass_time(module.BOOT_SECONDS)
        world.answer_settings()
    world.answer_lists()
    assert world.session.is_synchronized


def test_an_exchange_that_is_booted_later_is_asked_again(world: World) -> None:
    world.log_in(booted=False)
    world.pass_time(module.BOOT_SECONDS)
    world.answer_settings()
    stale = world.sent()
    world.receive(*BOOTED)
    world.answer_settings()
    for action in stale:
        world.answer_list(action)
    assert world.machine.calls == []
    world.answer_lists()
    assert world.machine.calls == ["synchronize"]
    # From then on it is nothing special.
    world.receive(*BOOTED)
    assert world.sent() == []


def test_lists_that_fail_are_asked_for_again(world: World) -> None:
    world.log_in()
    world.answer_settings()
    actions = world.sent()
    world.receive(*event("1.1"))
    world.refuse(actions[2], "No manager users configured")
    world.pass_time(module.RETRY_SECONDS)
    world.answer_settings()
    world.answer_lists()
    assert world.machine.calls == ["synchronize", "1.1"]


def test_an_exchange_without_queues_has_empty_lists_of_them_and_is_asked_again_soon(world: World) -> None:
    world.log_in()
    world.answer_settings()
    status, queues, *others = world.sent()
    world.answer_list(status)
    world.refuse(queues, "Invalid/unknown command: QueueStatus. Use Action: ListCommands to show available commands.")
    for action in others:
        world.answer_list(action)
    assert world.session.is_synchronized
    assert world.machine.snapshots[0].queues == []
    world.pass_time_alive(module.PARTIAL_SECONDS)
    assert world.sent()[-1]["Action"] == "CoreSettings"


def test_a_user_without_the_right_to_ask_is_told_which(world: World) -> None:
    world.log_in()
    world.refuse(world.sent()[0], "Permission denied")
    assert world.session.loss is not None
    assert world.session.loss.reason is LostReason.NO_PERMISSION
    assert "write = reporting" in world.session.loss.text
    assert world.session.loss.needs_operator


def test_a_silent_exchange_is_pinged(world: World) -> None:
    world.synchronize()
    world.pass_time(9)
    assert world.sent() == []
    world.pass_time(2)
    (ping,) = world.sent()
    assert ping["Action"] == "Ping"
    world.receive("Response: Success", f"ActionID: {ping['ActionID']}", "Ping: Pong", "Timestamp: 1.0")
    world.pass_time(9)
    assert world.session.state is SessionState.LIVE


def test_an_unanswered_ping_ends_the_session_even_if_half_a_message_came(world: World) -> None:
    world.synchronize()
    world.receive("Event: Newchannel", "Uniqueid: 1", end="\r\n")
    world.pass_time(25)
    assert world.session.loss is not None
    assert world.session.loss.reason is LostReason.TIMEOUT
    assert "Ping" in world.session.loss.text


def test_a_peer_that_does_not_greet_may_be_another_port(world: World) -> None:
    world.pass_time(module.ANSWER_SECONDS + 1)
    assert world.session.loss is not None
    assert world.session.loss.text.endswith("(its greeting); is this the port of its manager interface?")


def test_no_answer_amid_the_lists_ends_the_session_and_names_what_is_missing(world: World) -> None:
    world.log_in()
    world.answer_settings()
    world.answer_list(world.sent()[0])
    world.pass_time(module.ANSWER_SECONDS + 1)
    assert world.session.loss is not None
    assert world.session.loss.text == "the exchange does not answer (QueueStatus, CoreShowChannels, BridgeList)"


def test_a_process_that_did_not_run_does_not_take_the_exchange_for_dead(world: World) -> None:
    world.synchronize()
    world.pass_time(11)
    world.sent()
    world.session.tick(world.now + 3_600)
    assert world.session.state is SessionState.LIVE


def test_audits_ask_for_the_lists_again_in_the_live_session(world: World) -> None:
    world.synchronize()
    world.pass_time_alive(100)
    world.answer_settings()
    world.receive(*event("amid the audit"))
    assert "amid the audit" not in world.machine.calls
    world.answer_lists()
    assert world.machine.calls[-3:] == ["synchronize", "live", "amid the audit"]


def test_an_audit_on_request_is_made_at_once_or_after_the_present_one(world: World) -> None:
    world.synchronize()
    world.session.audit()
    world.session.audit()
    world.answer_settings()
    world.answer_lists()
    world.pass_time(1)
    world.answer_settings()
    world.answer_lists()
    assert world.machine.calls == ["synchronize"] * 3


@pytest.mark.parametrize(
    ("reloaded", "audits"), [("app_queue.so", 1), ("app_queue", 1), ("All", 1), ("res_pjsip.so", 0), ("", 0)]
)
def test_a_reload_of_the_queues_makes_an_audit(world: World, reloaded: str, audits: int) -> None:
    world.synchronize()
    world.receive("Event: Reload", f"Module: {reloaded}", "Status: 0")
    if audits:
        world.answer_settings()
        world.answer_lists()
    assert (world.machine.calls, world.sent()) == (["synchronize"] * (1 + audits), [])


def test_too_many_events_amid_an_audit_end_the_audit_only(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_events, "MAX_HELD", 3)
    world.synchronize()
    world.session.audit()
    for number in range(5):
        world.receive(*event(str(number)))
    assert world.machine.calls == ["synchronize", "0", "1", "2", "3", "4"]
    assert world.session.abandoned_audits == 1
    world.answer_settings()
    assert world.machine.calls[0] == "synchronize"


def test_too_many_events_amid_the_first_lists_end_the_session(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_events, "MAX_HELD", 3)
    world.log_in()
    for number in range(4):
        world.receive(*event(str(number)))
    assert world.session.loss is not None
    assert world.session.loss.reason is LostReason.OVERLOADED


def test_a_shutdown_ends_the_session_after_the_events_before_it(world: World) -> None:
    world.synchronize()
    world.receive(*event("last"))
    world.receive("Event: Shutdown", "Privilege: system,all", "Shutdown: Cleanly", "Restart: True")
    assert world.machine.calls == ["synchronize", "last", "Shutdown"]
    assert world.session.loss is not None
    assert world.session.loss.reason is LostReason.SHUTDOWN


def test_a_peer_that_is_no_manager_interface_ends_the_session(world: World) -> None:
    world.receive("HTTP/1.1 400 Bad Request")
    assert world.session.loss is not None
    assert world.session.loss.reason is LostReason.NOT_AMI


def filters_of(world: World) -> list[str]:
    """Answer the lists, and accept each filter until there is no further one; return the filters."""
    found: list[str] = []
    while sent := world.sent():
        for action in sent:
            if action["Action"] == "Filter":
                found.append(action["MatchCriteria"])
                world.answer(action, "Message: Success")
            else:
                world.answer_list(action)
    return found


@pytest.mark.parametrize("version", ["18.26.4", "22.10.1"])
def test_frequent_events_are_filtered_out_where_the_version_can(version: str) -> None:
    world = World(wanted=frozenset({"Newchannel", "DialState"}))
    world.log_in()
    world.answer_settings(version)
    filters = filters_of(world)
    assert {"action(exclude),name(DeviceStateChange)", "action(exclude),name(Newexten)"} <= set(filters)
    assert "action(exclude),name(DialState)" not in filters
    assert world.session.is_synchronized


def test_an_old_version_is_sent_no_filters() -> None:
    world = World(wanted=frozenset({"Newchannel"}))
    world.log_in()
    world.answer_settings("18.20.0")
    assert filters_of(world) == []


def test_a_refused_filter_is_the_only_one_and_changes_nothing() -> None:
    world = World(wanted=frozenset({"Newchannel"}))
    world.log_in()
    world.answer_settings("22.10.1")
    first, *lists = world.sent()
    assert first["Action"] == "Filter"
    world.refuse(first, "Permission denied")
    for action in lists:
        world.answer_list(action)
    assert world.sent() == []
    assert world.session.is_synchronized


def test_what_the_session_needs_is_parsed_whatever_the_machine_wants() -> None:
    world = World(wanted=frozenset({"Newchannel"}))
    world.synchronize()
    world.receive("Event: Hangup", "Uniqueid: 9")
    world.receive(*event("1.1"))
    assert world.machine.calls == ["synchronize", "1.1"]
    assert world.session.framing.skipped == {"Hangup": 1}


def test_lists_are_compared_in_steps_before_any_event_is_handled(world: World) -> None:
    steps: list[str] = []

    def synchronizing(snapshot: AmiSnapshot, arrived: float) -> Iterator[None]:
        for number in range(3):
            steps.append(f"{number} {world.machine.calls}")
            yield

    world.machine.synchronizing = synchronizing  # type: ignore[method-assign]
    world.log_in()
    world.answer_settings()
    status, *others = world.sent()
    world.answer_list(status)
    world.receive(*event("amid the lists"))
    for action in others:
        world.answer_list(action)
    assert steps == ["0 []", "1 []", "2 []"]
    assert world.machine.calls == ["amid the lists"]
    assert world.session.is_synchronized


def test_an_audit_that_is_due_compares_in_steps_before_the_next_event(world: World) -> None:
    world.synchronize()
    machine = world.machine

    def compare_next() -> None:
        machine.calls.append("compare")
        machine.is_comparing = machine.calls.count("compare") < 3

    machine.compare_next = compare_next  # type: ignore[method-assign]
    machine.is_comparing = True
    world.receive(*event("1.1"))
    assert machine.calls == ["synchronize", "compare", "compare", "compare", "1.1"]
    assert not world.session.is_comparing


def test_an_audit_does_not_go_on_in_another_session(world: World) -> None:
    world.machine.is_comparing = True
    world.log_in()
    assert not world.session.is_comparing
