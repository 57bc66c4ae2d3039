"""Asterisk's events and lists of queue members and agents."""

from __future__ import annotations

import pytest

from callcenter_ws.bridge.asterisk.members import QueueMembers
from callcenter_ws.bridge.asterisk.message import AmiMessage
from callcenter_ws.bridge.settings import TenantRule
from tests.bridge.agent_world import AgentWorld

POOL = {"Queue": "pool", "Interface": "Local/1001@agent-pool", "StateInterface": "Agent:1001", "MemberName": "Pool"}


class AsteriskWorld(AgentWorld):
    """Adds the events of Asterisk."""

    def __init__(self, rules: tuple[TenantRule, ...] = (), records: dict[str, bytes] | None = None) -> None:
        super().__init__(rules)
        self.records = {} if records is None else records
        self.queue_members = QueueMembers(self.outgoing, self.directory, self.rules, self.agents, self.members)
        self.queue_members.restore(self.records)

    def send(self, name: str, **headers: str) -> list[str]:
        """Handle an event; return ours."""
        self.queue_members.handlers[name](message(name, headers), self.time)
        return self.told()

    def member(self, name: str, **headers: str) -> list[str]:
        """Handle an event about a member of ``support``; return ours."""
        return self.send(name, **(_MEMBER | headers))

    def list(self, *listed: dict[str, str], channels: tuple[str, ...] = ()) -> list[str]:
        """Apply the whole list of members; return our events."""
        self.agents.wait()
        messages = [message("QueueMember", item) for item in listed]
        self.queue_members.synchronize(messages, channels, self.time)
        self.agents.resume(self.time)
        return self.told()


_MEMBER = {
    "Queue": "support",
    "MemberName": "Alice Adams",
    "Interface": "PJSIP/201",
    "StateInterface": "PJSIP/201",
    "Membership": "dynamic",
    "Penalty": "0",
    "LastCall": "0",
    "InCall": "0",
    "Status": "1",
    "Paused": "0",
    "PausedReason": "",
    "Ringinuse": "0",
    "Wrapuptime": "0",
}

_LISTED = {
    "Queue": "support",
    "Name": "Alice Adams",
    "Location": "PJSIP/201",
    "StateInterface": "PJSIP/201",
    "Membership": "dynamic",
    "Penalty": "0",
    "Status": "1",
    "Paused": "0",
    "PausedReason": "",
}


def message(name: str, headers: dict[str, str]) -> AmiMessage:
    return AmiMessage({"Event": name, **headers}, {}, name, "")


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("0", "available"),
        ("1", "available"),
        ("2", "busy"),
        ("3", "busy"),
        ("4", "offline"),
        ("5", "offline"),
        ("6", "ringing"),
        ("7", "busy"),
        ("8", "busy"),
        ("9", "available"),
        ("", "available"),
    ],
)
def test_each_status_of_a_member(status: str, state: str) -> None:
    told = AsteriskWorld().member("QueueMemberAdded", Status=status)
    assert told == ["acme added 201 support free", f"acme login 201 {state} support"]


def test_a_member_that_first_shows_by_its_status_is_added() -> None:
    # A reload of queues.conf and a realtime queue add members without an event.
    assert AsteriskWorld().member("QueueMemberStatus", Status="2")[-1] == "acme login 201 busy support"


def test_the_same_status_again_changes_nothing() -> None:
    world = AsteriskWorld()
    world.member("QueueMemberAdded")
    told = [
        world.member("QueueMemberStatus"),
        world.member("QueueMemberStatus", CallsTaken="7", LastCall="999", InCall="1"),
        world.member("QueueMemberStatus", Status="6"),
        world.member("QueueMemberStatus", Status="6"),
    ]
    assert told == [[], [], ["acme state.changed 201 available>ringing"], []]


def test_a_status_tells_a_pause_whose_event_was_filtered() -> None:
    world = AsteriskWorld()
    world.member("QueueMemberAdded")
    told = [
        world.member("QueueMemberStatus", Status="2", Paused="1", PausedReason="Lunch"),
        world.member("QueueMemberStatus", Status="2", Paused="1", PausedReason="Coffee"),
        world.member("QueueMemberStatus", Status="2"),
    ]
    assert [lines[0] for lines in told] == [
        "acme paused 201 support paused (Lunch)",
        "acme paused 201 support paused (Coffee)",
        "acme unpaused 201 support free",
    ]


def test_pauses_and_what_follows_them() -> None:
    world = AsteriskWorld()
    world.member("QueueMemberAdded")
    told = [
        world.member("QueueMemberPause", Paused="1", PausedReason="a: b"),
        world.member("QueueMemberPause", Paused="1", PausedReason="a: b"),
        world.member("QueueMemberPause", Paused="0", PausedReason="back"),
        world.member("QueueMemberPause", Paused="0"),
    ]
    assert told == [
        ["acme paused 201 support paused (a: b)", "acme state.changed 201 available>break (a: b)"],
        [],
        ["acme unpaused 201 support free (back)", "acme state.changed 201 break>available"],
        [],
    ]


def test_a_pause_does_not_bring_an_old_status_back() -> None:
    world = AsteriskWorld()
    world.member("QueueMemberAdded")
    world.send("QueueMemberAdded", **(_MEMBER | {"Queue": "sales"}))
    world.member("QueueMemberStatus", Status="2")
    told = world.send("QueueMemberPause", **(_MEMBER | {"Queue": "sales", "Status": "1", "Paused": "1"}))
    assert told == ["acme paused 201 sales paused"]


def test_a_penalty_is_shown_with_the_next_event() -> None:
    world = AsteriskWorld()
    world.member("QueueMemberAdded", Penalty="3")
    assert world.member("QueueMemberPenalty", Penalty="5", Status="2") == []
    assert world.member("QueueMemberRinginuse", Penalty="5", Ringinuse="1") == []
    world.queue_members.handlers["QueueMemberRemoved"](message("QueueMemberRemoved", _MEMBER), 1000)
    assert world.events()[0].payload["penalty"] == 5


def test_a_removed_member_logs_out_once() -> None:
    world = AsteriskWorld()
    world.member("QueueMemberAdded")
    told = [world.member("QueueMemberRemoved"), world.member("QueueMemberRemoved")]
    assert told == [["acme removed 201 support free", "acme logout 201"], []]


def test_the_end_of_a_member_that_no_list_and_no_event_told_before_is_told_once() -> None:
    world = AsteriskWorld()
    told = [world.member("QueueMemberRemoved"), world.member("QueueMemberRemoved"), world.member("QueueMemberAdded")]
    assert told == [
        ["acme removed 201 support free"],
        [],
        ["acme added 201 support free", "acme login 201 available support"],
    ]


@pytest.mark.parametrize(
    "name",
    ["QueueMemberStatus", "QueueMemberAdded", "QueueMemberRemoved", "QueueMemberPause", "QueueMemberPenalty"],
)
@pytest.mark.parametrize("missing", ["Queue", "Interface", "both"])
def test_an_event_without_its_names_changes_nothing(name: str, missing: str) -> None:
    headers = {key: value for key, value in _MEMBER.items() if key != missing and missing != "both"}
    assert AsteriskWorld().send(name, **headers) == []


@pytest.mark.parametrize(("name", "value"), [("Penalty", "x"), ("Penalty", "-1"), ("LastCall", "9" * 400)])
def test_numbers_that_are_none_count_as_zero(name: str, value: str) -> None:
    world = AsteriskWorld()
    assert world.member("QueueMemberAdded", Wrapuptime="5", **{name: value}) != []
    assert b"penalty" not in world.records["member/support/PJSIP/201"]


def test_members_without_state_interface_go_by_their_interface() -> None:
    assert AsteriskWorld().member("QueueMemberAdded", StateInterface="")[0] == "acme added 201 support free"


def test_local_members_go_by_their_state_interface() -> None:
    told = AsteriskWorld().member("QueueMemberAdded", Interface="Local/201@agents/n")
    assert told == ["acme added 201 support free", "acme login 201 available support"]


def test_work_after_a_call_of_a_member_with_a_time_of_its_own() -> None:
    world = AsteriskWorld()
    world.member("QueueMemberAdded", Wrapuptime="30")
    world.act("talking")
    world.member("QueueMemberStatus", Status="2", Wrapuptime="30")
    told = [world.act(""), world.member("QueueMemberStatus", Wrapuptime="30", LastCall="1000")]
    world.agents.advance(1031)
    assert [*told, world.told()] == [
        ["acme state.changed 201 talking>available"],
        ["acme state.changed 201 available>wrap_up"],
        ["acme state.changed 201 wrap_up>available"],
    ]


# The list


def test_the_list_names_some_headers_differently() -> None:
    world = AsteriskWorld()
    told = [world.list(_LISTED), world.member("QueueMemberStatus"), world.list(_LISTED)]
    assert told == [["acme added 201 support free", "acme login 201 available support"], [], []]


def test_a_static_member_that_a_reload_removed_is_found_by_the_list() -> None:
    world = AsteriskWorld()
    world.list(_LISTED, _LISTED | {"Queue": "sales", "Membership": "static"})
    assert world.list(_LISTED) == ["acme removed 201 sales free"]


def test_the_list_tells_a_new_penalty_and_an_old_use_of_the_device() -> None:
    world = AsteriskWorld()
    world.list(_LISTED | {"Status": "2"})
    world.act("talking")
    told = [world.act(""), world.list(_LISTED | {"Penalty": "4", "Status": "2"})]
    assert told == [["acme state.changed 201 talking>available"], ["acme state.changed 201 available>busy"]]
    world.list(_LISTED | {"Penalty": "5", "Status": "2"})
    assert b'"penalty":5' in world.records["member/support/PJSIP/201"]


def test_a_list_after_a_reload_of_the_map_uses_the_new_one() -> None:
    world = AsteriskWorld()
    world.list(_LISTED)
    world.directory.reload({}, "")
    assert world.list(_LISTED) == [
        "acme removed 201 support free",
        "acme added PJSIP/201 support free",
        "acme logout 201",
    ]


def test_a_realtime_member_is_not_changed_by_the_list() -> None:
    # The list calls it static.
    world = AsteriskWorld()
    world.member("QueueMemberAdded", Membership="realtime")
    assert world.list(_LISTED | {"Membership": "static"}) == []


def test_the_end_of_a_member_that_the_list_does_not_have_is_not_told_twice() -> None:
    world = AsteriskWorld()
    world.list(_LISTED)
    told = [world.list(), world.member("QueueMemberRemoved")]
    assert told == [["acme removed 201 support free", "acme logout 201"], []]


# Agents of app_agent_pool


def test_an_agent_of_the_pool_is_the_user_of_its_phone() -> None:
    world = AsteriskWorld()
    world.member("QueueMemberStatus", Status="2")
    told = [
        world.send("AgentLogin", Agent="1001", Channel="PJSIP/201-00000000"),
        world.send("QueueMemberStatus", **POOL, Status="1"),
        world.act("talking"),
        world.act(""),
        world.send("QueueMemberStatus", **POOL, Status="5"),
        world.send("AgentLogoff", Agent="1001", Channel="PJSIP/201-00000000"),
        world.send("AgentLogoff", Agent="1001"),
    ]
    assert told == [
        ["acme state.changed 201 busy>available"],
        ["acme added Local/1001@agent-pool pool free"],
        ["acme state.changed 201 available>talking"],
        ["acme state.changed 201 talking>available"],
        [],
        [],
        [],
    ]


def test_an_agent_of_the_pool_who_is_only_there_logs_in_and_out() -> None:
    world = AsteriskWorld()
    world.send("QueueMemberAdded", **POOL, Status="5")
    told = [
        world.send("AgentLogin", Agent="1001", Channel="PJSIP/201-00000000"),
        world.send("AgentLogoff", Agent="1001", Channel="PJSIP/201-00000000"),
    ]
    assert told == [
        ["acme login 201 available pool"],
        ["acme logout 201"],
    ]


def test_the_login_at_another_phone_ends_the_first() -> None:
    world = AsteriskWorld()
    world.send("AgentLogin", Agent="1001", Channel="PJSIP/201-00000000")
    told = world.send("AgentLogin", Agent="1001", Channel="PJSIP/202-00000001")
    assert told == ["acme logout 201", "acme login 202 available "]


def test_a_login_at_a_phone_without_user_makes_no_agent() -> None:
    assert AsteriskWorld().send("AgentLogin", Agent="1001", Channel="PJSIP/trunk-00000000") == []


def test_a_login_lives_on_after_a_restart_until_its_channel_is_gone() -> None:
    before = AsteriskWorld()
    before.send("AgentLogin", Agent="1001", Channel="PJSIP/201-00000000")
    before.send("QueueMemberStatus", **POOL, Status="1")
    pool = {"Queue": "pool", "Location": POOL["Interface"], "StateInterface": "Agent:1001", "Status": "1"}
    after = AsteriskWorld(records=before.records)
    told = [
        after.list(pool, channels=("PJSIP/201-00000000",)),
        after.list(pool | {"Status": "5"}),
    ]
    assert told == [
        [],
        ["acme logout 201"],
    ]
    assert not [key for key in after.records if key.startswith("login/")]


def test_a_login_of_another_run_of_the_exchange_is_over() -> None:
    world = AsteriskWorld()
    world.send("AgentLogin", Agent="1001", Channel="PJSIP/201-00000000")
    world.outgoing.boot = "2026-11-29T12:00:00"
    assert world.list(channels=("PJSIP/201-00000000",)) == ["acme logout 201"]


def test_logins_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("callcenter_ws.bridge.asterisk.members._MAX_LOGINS", 1)
    world = AsteriskWorld()
    told = [world.send("AgentLogin", Agent=f"100{n}", Channel=f"PJSIP/20{n}-00000000") for n in (1, 2, 1)]
    assert told == [["acme login 201 available "], [], []]
    assert world.queue_members.dropped == 1
