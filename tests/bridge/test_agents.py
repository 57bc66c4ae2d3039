"""Logins, logouts and states of agents, and the members of queues behind them."""

from __future__ import annotations

import pytest

from callcenter_ws.bridge.activities import Activity
from callcenter_ws.bridge.agent_states import DeviceStatus
from callcenter_ws.bridge.directory import User
from callcenter_ws.bridge.settings import AgentEntry, TenantRule
from callcenter_ws.events.event import make_event
from tests.bridge.agent_world import GLOBEX, AgentWorld


def test_the_first_membership_logs_in_and_the_last_removal_logs_out() -> None:
    world = AgentWorld()
    told = [world.update("support"), world.update("sales"), world.remove("support"), world.remove("sales")]
    assert told == [
        ["acme added 201 support free", "acme login 201 available support"],
        ["acme added 201 sales free"],
        ["acme removed 201 support free"],
        ["acme removed 201 sales free", "acme logout 201"],
    ]


def test_memberships_of_one_moment_make_one_login() -> None:
    world = AgentWorld()
    world.members.update(world.facts("support"), 1000)
    assert world.update("sales")[-1] == "acme login 201 available sales+support"


def test_the_events_are_complete_and_valid() -> None:
    world = AgentWorld()
    world.members.update(world.facts(status="idle", name="Alice", membership="dynamic", penalty=3), 1000.25)
    world.agents.settle()
    world.time = 1001.5
    world.agents.set_activity("201", "call-1", "ringing", 1001.5)
    world.members.change_pause(world.facts(paused=True, reason="Lunch", penalty=3), 1001.5)
    events = world.events()
    assert [(event.type, event.time, event.payload) for event in events] == [
        (
            "queue.member.added",
            1000.25,
            {
                "queue_name": "support",
                "user_id": "201",
                "username": "Alice Adams",
                "interface": "PJSIP/201",
                "paused": False,
                "penalty": 3,
                "membership": "dynamic",
            },
        ),
        (
            "agent.login",
            1000.25,
            {
                "user_id": "201",
                "username": "Alice Adams",
                "extension": "201",
                "state": "available",
                "queues": ["support"],
                "interface": "PJSIP/201",
            },
        ),
        (
            "queue.member.paused",
            1001.5,
            {
                "queue_name": "support",
                "user_id": "201",
                "username": "Alice Adams",
                "interface": "PJSIP/201",
                "paused": True,
                "penalty": 3,
                "reason": "Lunch",
                "membership": "dynamic",
            },
        ),
        (
            "agent.state.changed",
            1001.5,
            {
                "user_id": "201",
                "username": "Alice Adams",
                "extension": "201",
                "state": "ringing",
                "previous_state": "available",
                "since_at": "1970-01-01T00:16:41.500Z",
            },
        ),
    ]
    for event in events:
        make_event(
            tenant_id=event.tenant_id,
            type_=event.type,
            payload=dict(event.payload),
            event_id=event.event_id,
            now=event.time,
            received_at=event.time,
        )


def test_members_without_user_are_no_agents() -> None:
    world = AgentWorld()
    told = [world.update(interface="Local/1@robots/n", name="Robot One"), world.remove(interface="Local/1@robots/n")]
    assert told == [
        ["acme added Local/1@robots/n support free"],
        ["acme removed Local/1@robots/n support free"],
    ]


# States


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("unknown", "available"),
        ("idle", "available"),
        ("in_use", "busy"),
        ("ringing", "ringing"),
        ("unreachable", "offline"),
    ],
)
def test_the_state_without_calls_is_that_of_the_device(status: DeviceStatus, state: str) -> None:
    assert AgentWorld().update(status=status)[1] == f"acme login 201 {state} support"


def test_a_phone_that_is_gone_counts_more_than_its_extension() -> None:
    world = AgentWorld()
    local = "Local/201@agents/n"
    told = [
        world.update("sales", local, status="idle"),
        world.update(status="unreachable"),
        world.update("sales", local, status="in_use"),
        world.remove(),
        world.update("sales", local, status="unreachable"),
    ]
    assert [lines[-1] for lines in told] == [
        "acme login 201 available sales",
        "acme state.changed 201 available>offline",
        "acme state.changed 201 offline>busy",
        "acme removed 201 support free",
        "acme state.changed 201 busy>offline",
    ]


@pytest.mark.parametrize("status", ["unknown", "idle", "in_use", "ringing", "unreachable"])
@pytest.mark.parametrize("activity", ["busy", "ringing", "talking", "hold"])
def test_calls_precede_devices_and_pauses(status: DeviceStatus, activity: Activity) -> None:
    world = AgentWorld()
    world.act(activity)
    # A phone that the exchange calls first, to dial for its user, rings.
    state = "ringing" if (activity, status) == ("busy", "ringing") else activity
    assert world.update(status=status, paused=True)[1] == f"acme login 201 {state} support"


def test_one_change_of_a_device_makes_one_event() -> None:
    world = AgentWorld()
    for queue in ("support", "sales", "vip"):
        world.update(queue)
    told = [world.update(queue, status="ringing") for queue in ("support", "sales", "vip")]
    assert told == [["acme state.changed 201 available>ringing"], [], []]


def test_a_call_from_ringing_to_its_end() -> None:
    world = AgentWorld()
    world.update()
    told = [
        world.act("ringing"),
        world.update(status="ringing"),
        world.act("talking"),
        world.update(status="in_use"),
        world.act("hold"),
        world.act("talking"),
        world.act(""),
        world.update(status="idle"),
    ]
    assert [line for lines in told for line in lines] == [
        "acme state.changed 201 available>ringing",
        "acme state.changed 201 ringing>talking",
        "acme state.changed 201 talking>hold",
        "acme state.changed 201 hold>talking",
        "acme state.changed 201 talking>available",
    ]


def test_a_device_in_use_after_a_call_is_busy_when_the_list_says_so() -> None:
    world = AgentWorld()
    world.update(status="in_use")
    world.act("talking")
    told = [world.act(""), world.synchronize(world.facts(status="in_use"))]
    assert told == [["acme state.changed 201 talking>available"], ["acme state.changed 201 available>busy"]]


def test_the_next_use_of_a_device_after_a_call_is_busy() -> None:
    world = AgentWorld()
    world.update(status="in_use")
    world.act("talking")
    world.act("")
    told = [world.update(status="idle"), world.update(status="in_use")]
    assert told == [[], ["acme state.changed 201 available>busy"]]


def test_talking_in_one_call_counts_more_than_hold_and_ringing_in_others() -> None:
    world = AgentWorld()
    world.update()
    told = [world.act("hold", "a"), world.act("ringing", "b"), world.act("talking", "c"), world.act("", "c")]
    assert told == [
        ["acme state.changed 201 available>hold"],
        [],
        ["acme state.changed 201 hold>talking"],
        ["acme state.changed 201 talking>hold"],
    ]


def test_changes_of_one_moment_make_one_event() -> None:
    world = AgentWorld()
    world.update()
    for call_id, activity in (("a", "hold"), ("b", "talking"), ("a", "")):
        world.agents.set_activity("201", call_id, activity, 1000)  # type: ignore[arg-type]  # they are activities
    assert world.told() == ["acme state.changed 201 available>talking"]


def test_calls_of_users_who_are_in_no_queue_make_no_agent() -> None:
    world = AgentWorld()
    told = [world.act("ringing"), world.act("talking"), world.act("")]
    assert (told, world.records) == ([[], [], []], {})


def test_a_user_who_logs_in_amid_a_call_is_talking() -> None:
    world = AgentWorld()
    world.act("talking")
    told = [world.update(), world.remove(), world.act(""), world.update()]
    assert told == [
        ["acme added 201 support free", "acme login 201 talking support"],
        ["acme removed 201 support free", "acme logout 201"],
        [],
        ["acme added 201 support free", "acme login 201 available support"],
    ]


# Pauses


def test_only_a_pause_in_all_queues_is_a_break() -> None:
    world = AgentWorld()
    world.update("support")
    world.update("sales")
    told = [
        world.update("support", paused=True, reason="Lunch"),
        world.update("sales", paused=True, reason="Lunch"),
        world.update("sales", paused=True, reason="Lunch"),
        world.update("sales", paused=True, reason="Coffee"),
        world.update("support", paused=True, reason="Coffee"),
        world.update("support", reason="back"),
        world.update("support"),
    ]
    assert told == [
        ["acme paused 201 support paused (Lunch)"],
        ["acme paused 201 sales paused (Lunch)", "acme state.changed 201 available>break (Lunch)"],
        [],
        ["acme paused 201 sales paused (Coffee)", "acme state.changed 201 break>break (Coffee)"],
        ["acme paused 201 support paused (Coffee)"],
        ["acme unpaused 201 support free (back)", "acme state.changed 201 break>available"],
        [],
    ]


def test_a_pause_in_a_call_becomes_a_break_after_it() -> None:
    world = AgentWorld()
    world.update()
    world.act("talking")
    told = [world.update(paused=True, reason="Wrap"), world.act("")]
    assert told == [
        ["acme paused 201 support paused (Wrap)"],
        ["acme state.changed 201 talking>break (Wrap)"],
    ]


def test_a_member_added_paused() -> None:
    assert AgentWorld().update(paused=True) == ["acme added 201 support paused", "acme login 201 break support"]


@pytest.mark.parametrize(("paused", "before", "change"), [(True, "free", "paused"), (False, "paused", "unpaused")])
def test_a_pause_of_an_unknown_member_was_a_change(paused: bool, before: str, change: str) -> None:
    world = AgentWorld()
    world.members.change_pause(world.facts(paused=paused), 1000)
    assert world.told()[:2] == [
        f"acme added 201 support {before}",
        f"acme {change} 201 support {'paused' if paused else 'free'}",
    ]


def test_penalties_and_names_are_noted_without_an_event() -> None:
    world = AgentWorld()
    world.update(penalty=1)
    told = [world.update(penalty=2), world.update(penalty=2, paused=True)]
    assert told[0] == []
    assert b'"penalty":2' in world.records["member/support/PJSIP/201"]


def test_work_after_a_call_ends_by_itself() -> None:
    world = AgentWorld()
    world.update()
    world.act("talking")
    told = [world.act(""), world.update(wraps_up_until=1030.0)]
    world.agents.advance(1029.9)
    told.append(world.told())
    world.agents.advance(1045.0)
    events = world.events()
    assert told == [
        ["acme state.changed 201 talking>available"],
        ["acme state.changed 201 available>wrap_up"],
        [],
    ]
    assert [(event.payload["state"], event.time) for event in events] == [("available", 1030.0)]


# Tenants


def test_an_agent_in_queues_of_two_tenants_is_an_agent_of_both() -> None:
    world = AgentWorld((GLOBEX,))
    told = [
        world.update("support"),
        world.update("globex-desk"),
        world.update("globex-desk", paused=True, reason="Globex lunch"),
        world.act("ringing"),
        world.remove("support"),
    ]
    assert told == [
        ["acme added 201 support free", "acme login 201 available support"],
        ["globex added 201 globex-desk free", "globex login 201 available globex-desk"],
        [
            "globex paused 201 globex-desk paused (Globex lunch)",
            "globex state.changed 201 available>break (Globex lunch)",
        ],
        ["acme state.changed 201 available>ringing", "globex state.changed 201 break>ringing"],
        ["acme removed 201 support free", "acme logout 201"],
    ]


def test_a_rule_for_the_device_gives_its_user_one_tenant() -> None:
    world = AgentWorld((TenantRule(tenant="hooli", device="PJSIP/201"), GLOBEX))
    told = [world.update("globex-desk"), world.update("support"), world.remove("globex-desk"), world.remove("support")]
    assert [line for lines in told for line in lines] == [
        "globex added 201 globex-desk free",
        "hooli login 201 available globex-desk",
        "hooli added 201 support free",
        "globex removed 201 globex-desk free",
        "hooli removed 201 support free",
        "hooli logout 201",
    ]


def test_what_has_no_tenant_is_not_told() -> None:
    world = AgentWorld((GLOBEX,), tenant="")
    assert [world.update("support"), world.update("support", paused=True), world.remove("support")] == [[], [], []]


# Reload


def test_a_device_that_gets_another_user_logs_the_old_one_out_and_the_new_one_in() -> None:
    world = AgentWorld()
    world.update("support")
    world.update("sales", paused=True)
    world.directory.reload({"PJSIP/201": AgentEntry(user_id="bob")}, "")
    world.members.remap(1001)
    assert world.told() == [
        "acme removed 201 sales paused",
        "acme added bob sales paused",
        "acme removed 201 support free",
        "acme added bob support free",
        "acme logout 201",
        "acme login bob available sales+support",
    ]


def test_a_device_that_loses_its_user_is_a_member_only() -> None:
    world = AgentWorld()
    world.update()
    world.directory.reload({}, "")
    world.members.remap(1001)
    assert world.told() == [
        "acme removed 201 support free",
        "acme added PJSIP/201 support free",
        "acme logout 201",
    ]


def test_a_new_name_is_told_without_a_login() -> None:
    world = AgentWorld()
    world.update()
    world.directory.reload({"PJSIP/201": AgentEntry(user_id="201", username="Alice Brown")}, "")
    world.members.remap(1001)
    events = world.events()
    assert [(event.type, event.payload["username"]) for event in events] == [("agent.state.changed", "Alice Brown")]


def test_members_of_a_user_that_are_named_differently_make_no_events() -> None:
    world = AgentWorld(agents={})
    world.members.update(world.facts("a", name="PJSIP/201", status="idle"), 1000)
    world.members.update(world.facts("b", name="Alice", status="idle"), 1000)
    names = {event.payload["username"] for event in world.events() if event.type.startswith("agent.")}
    world.members.update(world.facts("c", name="Alice in c", status="idle"), 1000)
    assert (names, world.told()) == ({"Alice"}, ["acme added 201 c free"])


def test_a_rule_that_moves_a_queue_moves_its_members() -> None:
    world = AgentWorld()
    world.update("globex-desk")
    world.rules.replace((GLOBEX,), "acme")
    world.members.remap(1001)
    assert world.told() == [
        "acme removed 201 globex-desk free",
        "globex added 201 globex-desk free",
        "acme logout 201",
        "globex login 201 available globex-desk",
    ]


# Reconciliation and restart


def test_a_list_tells_differences_only() -> None:
    world = AgentWorld()
    world.update("support")
    world.update("sales")
    world.update("sales", "PJSIP/202")
    told = [
        world.synchronize(
            world.facts("support", status="idle"),
            world.facts("sales", status="idle"),
            world.facts("sales", "PJSIP/202", status="idle"),
        ),
        world.synchronize(
            world.facts("support", status="ringing", paused=True, reason="Lunch"),
            world.facts("vip", "PJSIP/203", status="idle"),
        ),
        world.synchronize(),
    ]
    assert told == [
        [],
        [
            "acme paused 201 support paused (Lunch)",
            "acme added 203 vip free",
            "acme removed 201 sales free",
            "acme removed 202 sales free",
            "acme state.changed 201 available>ringing",
            "acme login 203 available vip",
            "acme logout 202",
        ],
        [
            "acme removed 201 support paused",
            "acme removed 203 vip free",
            "acme logout 201",
            "acme logout 203",
        ],
    ]


def test_a_restart_tells_nothing_that_was_told() -> None:
    before = AgentWorld((GLOBEX,))
    before.update("support", paused=True, reason="Lunch", penalty=2, name="Alice")
    before.update("globex-desk", status="in_use")
    before.update("sales", "Local/1@robots/n", device="Custom:lamp")
    before.act("talking")
    after = AgentWorld((GLOBEX,), records=before.records)
    after.agents.set_activity("201", "call-1", "talking", 1000)
    told = [
        after.told(),
        after.synchronize(
            after.facts("support", status="in_use", paused=True, reason="Lunch", penalty=2, name="Alice"),
            after.facts("globex-desk", status="in_use"),
            after.facts("sales", "Local/1@robots/n", device="Custom:lamp", status="idle"),
        ),
    ]
    assert told == [[], []]
    assert after.act("") == [
        "acme state.changed 201 talking>break (Lunch)",
        "globex state.changed 201 talking>available",
    ]


def test_a_restart_tells_what_changed_meanwhile() -> None:
    before = AgentWorld()
    before.update("support")
    before.update("sales", "PJSIP/202", paused=True)
    before.act("talking")
    after = AgentWorld(records=before.records)
    assert after.synchronize(after.facts("sales", "PJSIP/202", status="idle")) == [
        "acme unpaused 202 sales free",
        "acme removed 201 support free",
        "acme logout 201",
        "acme state.changed 202 break>available",
    ]
    assert not [key for key in after.records if "201" in key]


def test_a_restart_with_another_map_tells_its_changes() -> None:
    before = AgentWorld()
    before.update()
    after = AgentWorld(agents={"PJSIP/201": AgentEntry(user_id="alice")}, records=before.records)
    assert after.synchronize(after.facts(status="idle")) == [
        "acme removed 201 support free",
        "acme added alice support free",
        "acme logout 201",
        "acme login alice available support",
    ]


def test_records_that_cannot_be_read_are_deleted() -> None:
    broken = {"agent/acme/201": b"{", "member/support/PJSIP/201": b'{"queue":1}'}
    world = AgentWorld(records=dict(broken))
    assert [world.told(), world.records] == [[], {}]


def test_a_member_that_was_never_known_is_told_as_removed_until_the_members_are_known() -> None:
    world = AgentWorld()
    world.members.forget(world.facts(), 1000)
    told = [world.told()]
    world.synchronize()
    world.members.forget(world.facts(), 1000)
    assert [*told, world.told()] == [["acme removed 201 support free"], []]


def test_another_state_interface_is_another_member() -> None:
    world = AgentWorld()
    world.update(interface="Local/7@x/n", device="PJSIP/201")
    assert world.update(interface="Local/7@x/n", device="PJSIP/202") == [
        "acme removed 201 support free",
        "acme added 202 support free",
        "acme logout 201",
        "acme login 202 available support",
    ]


# Agents who log in by a call


def test_an_agent_of_the_exchange_is_logged_in_while_its_call_lasts() -> None:
    world = AgentWorld()
    pool = world.facts("pool", "Local/1001@pool", device="Agent:1001", needs_login=True, status="unreachable")
    world.members.log_in("Agent:1001", User("201"), 1000)
    world.members.update(pool, 1000)
    told = [world.told()]
    world.members.set_device_status("Agent:1001", "idle", 1000)
    told.append(world.told())
    world.members.set_device_status("Agent:1001", "unreachable", 1000)
    told.append(world.told())
    assert told == [
        ["acme added Local/1001@pool pool free"],
        ["acme login 201 available pool"],
        ["acme logout 201"],
    ]


def test_a_login_by_call_without_queues() -> None:
    world = AgentWorld()
    world.agents.log_in(User("201"), "1001", "acme", 1000)
    told = [world.told(), world.act("busy"), world.act("talking", "b"), world.act("", "b")]
    world.agents.log_out("201", "1001", 1001)
    assert [*told, world.told()] == [
        ["acme login 201 available "],
        [],
        ["acme state.changed 201 available>talking"],
        ["acme state.changed 201 talking>available"],
        ["acme logout 201"],
    ]


# Bounds


def test_tables_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("callcenter_ws.bridge.members._MAX_MEMBERS", 3)
    monkeypatch.setattr("callcenter_ws.bridge.agents._MAX_USERS", 2)
    monkeypatch.setattr("callcenter_ws.bridge.agents._MAX_CALLS", 2)
    world = AgentWorld()
    for number in range(201, 206):
        world.update(interface=f"PJSIP/{number}")
    for number in range(4):
        world.act("ringing", f"call-{number}")
    assert (world.members.dropped, world.agents.dropped) == ({"members": 2}, {"users": 1, "agent_calls": 2})
    world.remove()
    assert world.act("talking", user_id="202") == ["acme state.changed 202 available>talking"]


def test_long_names_make_valid_ids_of_events() -> None:
    world = AgentWorld(pattern="(?P<user_id>x+)", tenant="t" * 255)
    world.outgoing.source, world.outgoing.boot = "s" * 64, "2026-11-29T12:00:00"
    world.members.update(world.facts("q" * 255, "x" * 127, status="idle"), 1_800_000_000.123)
    events = world.events()
    assert [event.type for event in events] == ["queue.member.added", "agent.login"]
    assert all(len(event.event_id) <= 255 for event in events)


def test_names_that_no_event_may_have_are_dropped() -> None:
    world = AgentWorld()
    told = [
        world.update("a\x07b"),
        world.update("q" * 256),
        world.update(interface="x" * 256),
        world.update(device="PJSIP/201\x00"),
    ]
    assert told == [[], [], [], []]
    assert world.members.dropped == {"names": 4}


def test_nothing_is_kept_of_users_who_are_gone() -> None:
    world = AgentWorld()
    for number in range(201, 230):
        world.act("talking", user_id=str(number))
        world.update(interface=f"PJSIP/{number}")
        world.remove(interface=f"PJSIP/{number}")
        world.act("", user_id=str(number))
    assert (world.agents._agents, world.members._members, world.members._devices, world.records) == ({}, {}, {}, {})
