"""The runner of commands, without an exchange: deadlines, losses, refusals, hostile values, tenants, capabilities."""

from __future__ import annotations

import pytest
from command_transcripts import COMMANDS, Exchange
from msgspec.structs import replace

from callcenter_ws.bridge.asterisk.commands import runner as module
from callcenter_ws.bridge.asterisk.commands.capabilities import AVAILABLE, commands_of, configured, missing, rights
from callcenter_ws.bridge.asterisk.message import AmiMessage
from callcenter_ws.bridge.asterisk.snapshot import AmiSnapshot
from callcenter_ws.bridge.settings import CommandSettings, TenantRule
from callcenter_ws.events.commands import COMMANDS as CATALOGUE

MEMBER = {"Queue": "support", "Location": "PJSIP/201", "StateInterface": "PJSIP/201", "Status": "1", "Paused": "0"}
PAUSED = {"Queue": "support", "Interface": "PJSIP/201", "StateInterface": "PJSIP/201", "Paused": "1", "Status": "1"}
CALL = {
    "Channel": "PJSIP/trunk-acme-00000001",
    "Uniqueid": "1.1",
    "Linkedid": "1.1",
    "Context": "from-trunk-acme",
    "Exten": "7000",
    "ChannelState": "4",
}
PHONE = {"DestChannel": "PJSIP/201-00000002", "DestUniqueid": "1.2", "DestLinkedid": "1.1"}


@pytest.fixture
def exchange() -> Exchange:
    """An exchange whose user may use all actions, with one member in support."""
    exchange = Exchange()
    exchange.connect(*AVAILABLE, members=(MEMBER,))
    exchange.actions.clear()
    return exchange


def ring(exchange: Exchange) -> None:
    """Begin a call from outside that rings at 201."""
    exchange.event("Newchannel", **CALL)
    exchange.event("DialBegin", **CALL, **PHONE)
    exchange.event("DialState", **CALL, **PHONE, DialStatus="RINGING")


def talk(exchange: Exchange) -> None:
    ring(exchange)
    exchange.event("DialEnd", **CALL, **PHONE, DialStatus="ANSWER")


def test_a_response_is_no_proof(exchange: Exchange) -> None:
    exchange.order("agent.state.set", state="break", reason="lunch")
    assert exchange.actions == [
        ("QueuePause", {"Queue": "support", "Interface": "PJSIP/201", "Paused": "true", "Reason": "lunch"})
    ]
    exchange.respond("Success")
    assert exchange.outcomes == []
    exchange.event("QueueMemberPause", **PAUSED, PausedReason="lunch")
    assert exchange.outcomes == [{"data": {"state": "break"}}]


def test_a_proof_that_comes_before_the_response_is_one(exchange: Exchange) -> None:
    exchange.order("agent.state.set", state="break", reason="lunch")
    exchange.event("QueueMemberPause", **PAUSED, PausedReason="lunch")
    assert exchange.code == "done"
    exchange.respond("Success")
    assert len(exchange.outcomes) == 1


def test_the_reason_of_a_pause_is_proven_as_asterisk_tells_it(exchange: Exchange) -> None:
    exchange.order("agent.state.set", state="break", reason=f"  {'x' * 78} y")
    assert exchange.actions[0][1]["Reason"] == "x" * 78
    exchange.event("QueueMemberPause", **PAUSED, PausedReason="x" * 78)
    assert exchange.code == "done"


def test_what_is_so_already_is_done_at_once(exchange: Exchange) -> None:
    exchange.order("queue.member.unpause", queue_name="support")
    assert (exchange.code, exchange.actions) == ("done", [])


def test_the_state_machine_knows_what_proves_it_before_the_outcome(exchange: Exchange) -> None:
    exchange.order("agent.state.set", state="break")
    exchange.event("QueueMemberPause", **PAUSED, PausedReason="")
    # ``finish`` took them.
    assert [event.type for event in exchange.events_at_outcome][-2:] == ["queue.member.paused", "agent.state.changed"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Interface not found", "not_found"),
        ("Permission denied", "unsupported"),
        ("Something\x1belse", "rejected"),
    ],
)
def test_what_the_exchange_refuses_has_its_words(exchange: Exchange, text: str, code: str) -> None:
    exchange.order("queue.member.pause", queue_name="support")
    exchange.respond("Error", Message=text)
    assert exchange.code == code
    assert exchange.outcomes[-1]["message"] == f"the exchange refuses it: {text}".replace("\x1b", "?")


def test_a_command_that_was_refused_in_a_part_has_failed(exchange: Exchange) -> None:
    exchange.event(
        "QueueMemberAdded", Queue="vip", Interface="PJSIP/201", StateInterface="PJSIP/201", Status="1", Paused="0"
    )
    exchange.order("agent.state.set", state="break")
    assert [action["Queue"] for _, action in exchange.actions] == ["support", "vip"]
    exchange.respond("Success", 0 - len(exchange.actions))
    assert exchange.outcomes == []
    exchange.respond("Error", Message="Interface not found")
    assert exchange.outcomes == [{"code": "failed", "message": "1 of 2 parts were refused: Interface not found"}]


# Time and losses


def test_nothing_is_sent_after_the_deadline(exchange: Exchange) -> None:
    exchange.order("agent.state.set", state="break", seconds=0)
    assert (exchange.code, exchange.actions) == ("timeout", [])
    talk(exchange)
    exchange.order("call.transfer", call_id="pbx1-1.1", destination="204", seconds=5)
    assert [name for name, _ in exchange.actions] == ["ShowDialPlan"]
    exchange.now += 5
    exchange.respond("Success")
    assert (exchange.code, len(exchange.actions)) == ("timeout", 1)


def test_what_is_not_shown_in_time_is_not_known(exchange: Exchange) -> None:
    exchange.order("agent.state.set", state="break")
    exchange.respond("Success")
    exchange.now += 5
    exchange.runner.expire(exchange.last)
    assert exchange.code == "outcome_unknown"
    exchange.event("QueueMemberPause", **PAUSED)
    assert len(exchange.outcomes) == 1


def test_a_question_that_is_not_answered_in_time_has_changed_nothing(exchange: Exchange) -> None:
    talk(exchange)
    exchange.order("call.transfer", call_id="pbx1-1.1", destination="204")
    exchange.runner.expire(exchange.last)
    assert exchange.code == "timeout"


def test_a_loss_of_the_exchange_leaves_open_what_was_begun(exchange: Exchange) -> None:
    talk(exchange)
    exchange.order("call.transfer", call_id="pbx1-1.1", destination="204")
    exchange.order("agent.state.set", state="break")
    exchange.runner.disconnected()
    assert [outcome["code"] for outcome in exchange.outcomes] == ["source_down", "outcome_unknown"]
    exchange.order("agent.state.set", state="available")
    assert exchange.code == "source_down"


def test_commands_are_bounded(exchange: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_RUNNING", 2)
    for _ in range(3):
        exchange.order("agent.state.set", state="break")
    assert [outcome["code"] for outcome in exchange.outcomes] == ["busy"]


def test_a_bug_ends_the_command_and_nothing_else(exchange: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> object:
        raise RuntimeError

    monkeypatch.setattr(exchange.machine.agents, "memberships", broken)
    exchange.order("agent.state.set", state="break")
    assert (exchange.code, exchange.bugs, exchange.runner.running) == ("failed", 1, 0)


def test_commands_for_one_agent_are_carried_out_one_after_the_other(exchange: Exchange) -> None:
    exchange.order("agent.state.set", state="break", reason="lunch")
    # It is available at this moment, and must not be taken for being so at the end.
    exchange.order("agent.state.set", state="available")
    exchange.order("queue.member.pause", queue_name="support", reason="late", seconds=3)
    assert (len(exchange.actions), exchange.outcomes) == (1, [])
    exchange.event("QueueMemberPause", **PAUSED, PausedReason="lunch")
    assert [action["Paused"] for _, action in exchange.actions] == ["true", "false"]
    exchange.now += 3
    exchange.event("QueueMemberPause", **{**PAUSED, "Paused": "0"}, PausedReason="")
    assert [outcome.get("code", "done") for outcome in exchange.outcomes] == ["done", "done", "timeout"]
    assert len(exchange.actions) == 2


def test_waiting_commands_end_with_the_connection(exchange: Exchange) -> None:
    for _ in range(3):
        exchange.order("agent.state.set", state="break")
        exchange.order("agent.state.set", state="available")
    exchange.runner.disconnected()
    codes = [outcome["code"] for outcome in exchange.outcomes]
    assert codes == ["outcome_unknown", *["source_down"] * 5]
    assert exchange.runner.running == 0


def test_as_many_commands_as_are_taken_can_wait_for_one(exchange: Exchange) -> None:
    for _ in range(module.MAX_RUNNING):
        exchange.order("agent.state.set", state="break")
    exchange.event("QueueMemberPause", **PAUSED, PausedReason="")
    assert len(exchange.outcomes) == module.MAX_RUNNING
    assert {outcome.get("code", "done") for outcome in exchange.outcomes} == {"done"}
    assert len(exchange.actions) == 1


def test_a_call_is_moved_and_recorded_once_at_a_time(exchange: Exchange) -> None:
    talk(exchange)
    exchange.order("call.transfer", call_id="pbx1-1.1", destination="204")
    exchange.order("call.record", call_id="pbx1-1.1", action="start")
    assert exchange.outcomes == []
    for name, payload in (
        ("call.transfer", {"destination": "202"}),
        ("call.consult", {"destination": "202"}),
        ("call.record", {"action": "start"}),
    ):
        exchange.order(name, call_id="pbx1-1.1", **payload)
        assert exchange.code == "busy", name
    # A hangup does not wait.
    exchange.order("call.hangup", call_id="pbx1-1.1")
    assert exchange.actions[-1][0] == "Hangup"


# Values


@pytest.mark.parametrize(
    "destination",
    [
        *("204\r\nAction: Originate", "204\n", "204\x00", "${SHELL(id)}", "204&205", "204,1", "204@internal", "2 04"),
        *("", "2" * 65, "204)", "204(x", "Local/204", "²04", "+", "++49"),
    ],
)
def test_a_destination_with_other_characters_is_refused(exchange: Exchange, destination: str) -> None:
    talk(exchange)
    exchange.order("call.transfer", call_id="pbx1-1.1", destination=destination)
    exchange.order("call.originate", destination=destination)
    exchange.order("call.consult", call_id="pbx1-1.1", destination=destination)
    assert [outcome["code"] for outcome in exchange.outcomes] == ["rejected"] * 3
    assert exchange.actions == []


def test_a_configured_pattern_allows_no_characters_of_the_dialplan(exchange: Exchange) -> None:
    exchange.state.use(replace(COMMANDS, destinations=".*", check_destinations=False))
    talk(exchange)
    for destination in ("204,1", "${X}", "a&b", "x/y", "(1)"):
        exchange.order("call.originate", destination=destination)
        assert exchange.code == "rejected"
    exchange.order("call.originate", destination="sales-desk")
    assert exchange.actions[-1][1]["Exten"] == "sales-desk"


@pytest.mark.parametrize(
    "payload",
    [
        {"state": "break", "reason": "a\r\nAction: Hangup"},
        {"state": "break", "reason": "a\x00"},
        {"state": "available", "extension": "204\r\nX: y"},
        {"state": "available", "extension": "204&PJSIP/202"},
        {"state": "available", "user_id": "201\n"},
        {"state": "asleep"},
        {"state": "break", "application": "System"},
    ],
)
def test_other_values_with_line_breaks_or_unknown_fields_are_refused(
    exchange: Exchange, payload: dict[str, object]
) -> None:
    exchange.order("agent.state.set", **payload)
    assert (exchange.code, exchange.actions) == ("rejected", [])


def test_no_action_has_an_application_or_a_variable() -> None:
    exchange = Exchange()
    exchange.connect(*AVAILABLE, members=(MEMBER,))
    talk(exchange)
    exchange.order("call.originate", destination="204")
    exchange.respond("Success")
    exchange.order("call.monitor", role="supervisor", asker="301", call_id="pbx1-1.1", mode="listen")
    exchange.order("call.record", call_id="pbx1-1.1", action="start")
    assert {name for name, _ in exchange.actions} >= {"Originate", "MixMonitor"}
    for _, headers in exchange.actions:
        assert not {"Application", "Data", "Variable", "Command"} & set(headers)


def test_a_channel_whose_name_is_a_pattern_is_not_hung_up(exchange: Exchange) -> None:
    exchange.event("Newchannel", **{**CALL, "Channel": "/^PJSIP.*$/"})
    exchange.event("QueueCallerJoin", **{**CALL, "Channel": "/^PJSIP.*$/"}, Queue="support", Position="1")
    exchange.order("call.hangup", role="supervisor", call_id="pbx1-1.1")
    assert (exchange.code, exchange.actions) == ("rejected", [])


def test_a_recording_can_be_stopped_by_the_next_process(exchange: Exchange) -> None:
    talk(exchange)
    exchange.order("call.record", call_id="pbx1-1.1", action="start")
    exchange.event("MixMonitorStart", **CALL)
    # The response tells the id of the recording.
    assert exchange.outcomes == []
    exchange.respond("Success", MixMonitorID="0x7f")
    file = exchange.outcomes[-1]["data"]["file"]
    assert exchange.actions[-1][1]["File"] == f"/tmp/rec17/{file}"
    exchange.order("call.record", call_id="pbx1-1.1", action="pause")
    exchange.event("MixMonitorMute", **CALL, State="1")
    again = Exchange(records={key: value for key, value in exchange.stored.items() if value is not None})
    again.runner.connected(again.send, "22.10.1")
    again.respond("Success", **dict.fromkeys(AVAILABLE, "(Priv: x)"))
    again.order("call.record", call_id="pbx1-1.1", action="stop")
    assert again.actions[-1] == ("StopMixMonitor", {"Channel": CALL["Channel"], "MixMonitorID": "0x7f"})
    again.event("MixMonitorStop", **CALL)
    assert again.code == "done"
    assert again.stored["recording/1.1"] is None


def test_a_recording_ends_with_its_channel(exchange: Exchange) -> None:
    talk(exchange)
    exchange.order("call.record", call_id="pbx1-1.1", action="start")
    exchange.event("MixMonitorStart", **CALL)
    exchange.respond("Success", MixMonitorID="0x7f")
    exchange.event("Hangup", **CALL)
    assert exchange.stored["recording/1.1"] is None


# Who may do what


def test_calls_and_queues_of_other_tenants_do_not_exist(exchange: Exchange) -> None:
    talk(exchange)
    for name, payload in (
        ("call.hangup", {"call_id": "pbx1-1.1"}),
        ("call.monitor", {"call_id": "pbx1-1.1", "mode": "listen"}),
        ("queue.member.pause", {"queue_name": "support", "user_id": "201"}),
        ("queue.member.add", {"queue_name": "support", "user_id": "201"}),
        ("call.originate", {"destination": "204"}),
    ):
        exchange.order(name, role="supervisor", tenant_id="globex", **payload)
        assert exchange.code == "not_found", name
    exchange.order("agent.state.set", tenant_id="globex", state="break")
    assert exchange.code == "rejected"
    assert exchange.actions == []


def test_an_agent_pauses_in_queues_of_its_tenant_only() -> None:
    exchange = Exchange()
    exchange.machine.rules.replace((TenantRule(tenant="globex", queue="globex-"),), "acme")
    exchange.connect(*AVAILABLE, members=(MEMBER, {**MEMBER, "Queue": "globex-desk"}))
    exchange.order("agent.state.set", state="break")
    assert [action.get("Queue") for _, action in exchange.actions[1:]] == ["support"]


def test_a_user_with_the_same_id_in_another_tenant_has_no_phone_here(exchange: Exchange) -> None:
    exchange.order("agent.state.set", asker="500", state="available", extension="204")
    assert exchange.state.device_of("acme", "500") == "PJSIP/204"
    exchange.order("call.originate", asker="500", tenant_id="globex", destination="201")
    assert exchange.code == "not_found"


def test_an_agent_acts_on_its_own_calls_only(exchange: Exchange) -> None:
    talk(exchange)
    for name, payload in (
        ("call.hangup", {}),
        ("call.transfer", {"destination": "204"}),
        ("call.consult", {"destination": "204"}),
        ("call.record", {"action": "start"}),
    ):
        exchange.order(name, asker="202", call_id="pbx1-1.1", **payload)
        assert exchange.code == "not_allowed", name
    exchange.order("call.consult", asker="301", role="supervisor", call_id="pbx1-1.1", destination="204")
    exchange.respond("Success")
    assert exchange.code == "not_allowed"


def test_an_agent_acts_for_itself_only(exchange: Exchange) -> None:
    for name, payload in (
        ("agent.state.set", {"state": "break"}),
        ("queue.member.pause", {"queue_name": "support"}),
        ("queue.member.add", {"queue_name": "vip"}),
        ("queue.member.remove", {"queue_name": "support"}),
    ):
        exchange.order(name, asker="202", user_id="201", **payload)
        assert exchange.code == "not_allowed", name
    assert exchange.actions == []


def test_a_user_joins_a_queue_as_the_member_that_it_is_in_others(exchange: Exchange) -> None:
    exchange.synchronize(({**MEMBER, "Location": "Local/201@from-queue/n", "StateInterface": "PJSIP/201"},))
    exchange.order("queue.member.add", role="supervisor", user_id="201", queue_name="vip")
    ((_, headers),) = exchange.actions
    assert (headers["Interface"], headers["StateInterface"]) == ("Local/201@from-queue/n", "PJSIP/201")


def test_an_agent_goes_back_from_a_hot_desk_to_its_own_phone(exchange: Exchange) -> None:
    exchange.synchronize(())
    at_desk = {"Queue": "support", "Interface": "PJSIP/204", "StateInterface": "PJSIP/204", "Membership": "dynamic"}
    exchange.order("agent.state.set", state="available", extension="204")
    exchange.event("QueueMemberAdded", **at_desk, Status="1", Paused="0", Penalty="3")
    assert exchange.code == "done"
    # 201 is its phone by the settings, though its token does not say so.
    exchange.order("agent.state.set", state="break", extension="201")
    assert exchange.actions[-1] == ("QueueRemove", {"Queue": "support", "Interface": "PJSIP/204"})
    exchange.event("QueueMemberRemoved", **at_desk)
    name, headers = exchange.actions[-1]
    assert (name, headers["Interface"], headers["Penalty"]) == ("QueueAdd", "PJSIP/201", "3")
    at_own = {**at_desk, "Interface": "PJSIP/201", "StateInterface": "PJSIP/201"}
    exchange.event("QueueMemberAdded", **at_own, Status="1", Paused="0", Penalty="3")
    exchange.event("QueueMemberPause", **at_own, Status="1", Paused="1", PausedReason="")
    assert exchange.outcomes[-1] == {"data": {"state": "break"}}
    assert exchange.machine.desks.get("PJSIP/204") is None
    assert exchange.stored["desk/PJSIP/204"] is None


def test_an_agent_without_queues_signs_in_at_its_phone_only(exchange: Exchange) -> None:
    exchange.state.use(replace(COMMANDS, login_queues=()))
    exchange.order("agent.state.set", asker="500", state="available")
    assert exchange.code == "rejected"
    exchange.order("agent.state.set", asker="500", state="available", extension="204")
    assert exchange.outcomes[-1] == {"data": {"state": "offline"}}
    assert exchange.state.device_of("acme", "500") == "PJSIP/204"


def test_a_phone_of_another_tenant_does_not_exist(exchange: Exchange) -> None:
    exchange.machine.rules.replace((TenantRule(tenant="globex", device="PJSIP/204"),), "acme")
    exchange.order("agent.state.set", asker="500", state="available", extension="204")
    assert (exchange.code, exchange.actions) == ("not_found", [])


def test_members_as_freepbx_names_them() -> None:
    exchange = Exchange(
        replace(COMMANDS, member="Local/{extension}@from-queue/n", state_interface="hint:{extension}@ext-local")
    )
    exchange.connect(*AVAILABLE)
    exchange.order("agent.state.set", asker="500", state="available", extension="204")
    added = {"Queue": "support", "Interface": "Local/204@from-queue/n", "StateInterface": "hint:204@ext-local"}
    assert exchange.actions[-1] == ("QueueAdd", {**added, "MemberName": "500", "Penalty": "0", "Paused": "false"})
    exchange.event("QueueMemberAdded", **added, Status="1", Paused="0", Membership="dynamic")
    assert exchange.outcomes == [{"data": {"state": "available"}}]
    # The phone itself is called.
    exchange.order("call.originate", asker="500", destination="202")
    exchange.respond("Success")
    assert exchange.actions[-1][1]["Channel"] == "PJSIP/204"
    # Another agent takes the phone over.
    exchange.order("agent.state.set", asker="301", role="supervisor", user_id="501", state="break", extension="204")
    assert exchange.actions[-1] == ("QueueRemove", {"Queue": "support", "Interface": "Local/204@from-queue/n"})
    exchange.event("QueueMemberRemoved", **added)
    assert exchange.actions[-1][1]["Interface"] == "Local/204@from-queue/n"
    exchange.event("QueueMemberAdded", **added, Status="1", Paused="1", PausedReason="", Membership="dynamic")
    assert exchange.outcomes[-1] == {"data": {"state": "break"}}


def test_a_member_without_a_user_goes_by_its_interface(exchange: Exchange) -> None:
    exchange.synchronize(({**MEMBER, "Location": "SIP/door", "StateInterface": "SIP/door"},))
    exchange.order("queue.member.pause", role="supervisor", user_id="SIP/door", queue_name="support")
    assert exchange.actions[-1][1]["Interface"] == "SIP/door"


def test_an_agent_to_whom_a_call_rings_rejects_it_and_a_supervisor_ends_it(exchange: Exchange) -> None:
    ring(exchange)
    exchange.order("call.hangup", call_id="pbx1-1.1")
    exchange.order("call.hangup", asker="301", role="supervisor", call_id="pbx1-1.1")
    phone = {"Channel": "PJSIP/201-00000002"}
    assert exchange.actions == [("Hangup", phone), ("Hangup", {"Channel": CALL["Channel"]})]
    assert exchange.outcomes == []
    exchange.event("Hangup", **phone, Uniqueid="1.2", Linkedid="1.1")
    assert (exchange.code, len(exchange.outcomes)) == ("done", 1)
    exchange.event("Hangup", **CALL)
    assert (exchange.code, len(exchange.outcomes)) == ("done", 2)


def test_a_call_that_moves_on_while_its_target_is_looked_up_is_not_transferred(exchange: Exchange) -> None:
    talk(exchange)
    exchange.order("call.transfer", call_id="pbx1-1.1", destination="204")
    exchange.event("Hangup", **CALL)
    exchange.event("Hangup", Channel="PJSIP/201-00000002", Uniqueid="1.2", Linkedid="1.1")
    exchange.respond("Success")
    assert (exchange.code, [name for name, _ in exchange.actions]) == ("not_found", ["ShowDialPlan"])


def test_supervisors_may_give_any_phone_to_an_agent(exchange: Exchange) -> None:
    exchange.order("agent.state.set", asker="500", state="available", extension="299")
    assert exchange.code == "not_allowed"
    exchange.order("agent.state.set", asker="500", state="available", extension="299", extension_claim="299")
    assert exchange.actions[-1] == (
        "QueueAdd",
        {
            "Queue": "support",
            "Interface": "PJSIP/299",
            "MemberName": "500",
            "Penalty": "0",
            "Paused": "false",
        },
    )
    exchange.order("agent.state.set", asker="501", state="available", extension="299", extension_claim="299")
    assert exchange.code == "busy"
    exchange.order("agent.state.set", asker="301", role="supervisor", user_id="501", state="break", extension="299")
    desk = exchange.machine.desks.get("PJSIP/299")
    assert desk is not None and desk.user_id == "501"


# Capabilities


def test_capabilities_are_what_settings_and_rights_allow() -> None:
    assert set(configured(CommandSettings())) == set()
    assert set(configured(COMMANDS)) <= set(CATALOGUE)
    assert commands_of(AVAILABLE, COMMANDS) == set(configured(COMMANDS))
    assert commands_of(AVAILABLE, CommandSettings(enabled=True)) == {
        *("agent.state.set", "queue.member.pause", "queue.member.unpause", "call.hangup")
    }
    assert commands_of({"Hangup"}, COMMANDS) == {"call.hangup"}
    assert missing({"Hangup", "Originate"}, replace(COMMANDS, consult=False))["call.transfer"] == ["Redirect"]


@pytest.mark.parametrize(
    ("version", "is_told"), [("18.2.0", False), ("18.3.0", True), ("certified/18.9-cert5", True), ("22.10.1", True)]
)
def test_recordings_need_a_version_that_tells_of_them(version: str, is_told: bool) -> None:
    assert ("call.record" in commands_of(AVAILABLE, COMMANDS, version)) is is_told
    assert ("call.record" in missing(AVAILABLE, COMMANDS, version)) is not is_told


def test_rights_are_those_that_are_needed() -> None:
    assert rights(CommandSettings()) == []
    assert rights(CommandSettings(enabled=True)) == ["call", "agent"]
    assert rights(replace(COMMANDS, record_folder="")) == ["call", "agent", "originate"]
    assert rights(COMMANDS) == ["system", "call", "agent", "originate"]


def test_a_command_that_is_not_declared_is_refused_here_too(exchange: Exchange) -> None:
    exchange.state.use(CommandSettings(enabled=True))
    exchange.runner.settings_changed()
    assert exchange.changes == 2
    exchange.order("call.originate", destination="204")
    assert exchange.code == "unsupported"
    exchange.order("call.answer", call_id="pbx1-1.1")
    assert exchange.code == "unsupported"


def test_nothing_is_carried_out_before_the_exchange_has_told_what_it_can() -> None:
    exchange = Exchange()
    exchange.synchronize((MEMBER,))
    exchange.runner.connected(exchange.send, "22.10.1")
    exchange.order("agent.state.set", state="break")
    assert exchange.code == "source_down"
    assert exchange.runner.capabilities is None


def test_a_listener_that_is_listed_is_no_call() -> None:
    exchange = Exchange()
    listener = {
        "Channel": "PJSIP/301-00000008",
        "Uniqueid": "ccws-listen-ab12",
        "Linkedid": "ccws-listen-ab12",
        "Context": "listen",
        "Exten": "1.1",
        "ChannelState": "6",
        "Application": "ChanSpy",
        "Duration": "00:00:03",
    }
    snapshot = AmiSnapshot(
        boot="2026-11-30 16:23:35",
        version="22.10.1",
        channels=[AmiMessage(listener, {}, "CoreShowChannel", "")],
        bridges=[],
        queues=[],
        members=[],
        entries=[],
    )
    exchange.machine.synchronize(snapshot, exchange.arrived)
    exchange.event("Hangup", **listener)
    assert exchange.events == []
    assert exchange.machine.calls.book.calls == {}
    assert exchange.machine.calls.tracker.strays == {}
