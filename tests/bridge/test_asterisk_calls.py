"""The rules by which Asterisk's events become calls, where no capture shows them, or only one does."""

from __future__ import annotations

import pytest
from calls_world import CallsWorld, with_settings

from callcenter_ws.bridge.settings import AgentEntry, Directions, TenantRule


@pytest.fixture
def world() -> CallsWorld:
    return CallsWorld()


# Queues


def test_an_abandoned_call(world: CallsWorld) -> None:
    world.caller()
    world.join()
    world.call_member("caller", "phone", "PJSIP/201-00000002")
    world.one("HangupRequest", "caller", after=4)
    world.one("QueueCallerAbandon", "caller", Queue="support", Position="1")
    world.one("QueueCallerLeave", "caller", Queue="support")
    world.hang_up("phone")
    world.hang_up("caller", "0")
    assert world.told()[-3:] == ["queue.left", "call.abandoned", "call.ended"]
    assert world.one_payload("call.abandoned")["wait_seconds"] == pytest.approx(4.05, abs=0.05)
    assert world.one_payload("call.ended")["ended_by"] == "caller"
    assert not world.payloads("call.missed")
    world.check()


@pytest.mark.parametrize(
    ("status", "reason"),
    [("TIMEOUT", "timeout"), ("LEAVEEMPTY", "empty"), ("LEAVEUNAVAIL", "empty"), ("WITHDRAW", "withdrawn")],
)
def test_queuestatus_tells_why_a_caller_left(world: CallsWorld, status: str, reason: str) -> None:
    world.caller()
    world.join()
    world.one("QueueCallerAbandon", "caller", Queue="support")
    world.one("QueueCallerLeave", "caller", Queue="support")
    assert not world.payloads("queue.left")
    world.one("VarSet", "caller", Variable="QUEUESTATUS", Value=status)
    assert world.one_payload("queue.left")["reason"] == reason
    world.hang_up("caller", "0")
    world.check()


def test_without_the_dialplan_the_reason_is_other(world: CallsWorld) -> None:
    world.caller()
    world.join()
    world.one("QueueCallerAbandon", "caller", Queue="support")
    world.one("QueueCallerLeave", "caller", Queue="support")
    world.wait(2)
    assert world.one_payload("queue.left")["reason"] == "other"
    world.hang_up("caller", requested=True)
    world.check()


def test_without_requests_a_hangup_at_once_with_a_cause_of_the_far_end_is_an_abandon(world: CallsWorld) -> None:
    world.caller()
    world.join()
    world.one("QueueCallerAbandon", "caller", Queue="support")
    world.one("QueueCallerLeave", "caller", Queue="support")
    world.hang_up("caller", "0")
    assert world.told()[-3:] == ["queue.left", "call.abandoned", "call.ended"]
    world.check()


def test_a_redirected_caller_was_transferred_if_the_dialplan_is_seen(world: CallsWorld) -> None:
    world.caller()
    world.one("VarSet", "caller", Variable="SIPDOMAIN", Value="127.0.0.1")
    world.join()
    world.one("QueueCallerAbandon", "caller", Queue="support")
    world.one("QueueCallerLeave", "caller", Queue="support")
    world.dial("caller", "phone", "PJSIP/204-00000002")
    assert world.one_payload("queue.left")["reason"] == "transferred"
    assert world.told()[-2:] == ["queue.left", "call.ringing"]


def test_leaving_by_a_key(world: CallsWorld) -> None:
    world.caller()
    world.join()
    world.one("QueueCallerLeave", "caller", Queue="support")
    world.wait(1.5)
    assert world.one_payload("queue.left")["reason"] == "key"


def test_a_connection_that_takes_its_time_is_no_key(world: CallsWorld) -> None:
    world.caller()
    world.join()
    world.call_member("caller", "phone", "PJSIP/201-00000002")
    world.answer("caller", "phone")
    world.one("QueueCallerLeave", "caller", Queue="support")
    world.wait(5)
    world.both("AgentConnect", "caller", "phone", Queue="support", Interface="PJSIP/201")
    assert world.one_payload("queue.left")["reason"] == "answered"
    assert world.agents("call.answered") == ["201"]


def test_a_connection_that_was_not_told(world: CallsWorld) -> None:
    world.caller()
    world.join()
    world.call_member("caller", "phone", "PJSIP/201-00000002")
    world.one("QueueCallerLeave", "caller", Queue="support")
    world.wait(30)
    assert not world.payloads("queue.left")
    world.wait(31)
    assert world.one_payload("queue.left")["reason"] == "other"


def test_overflow_into_a_second_queue(world: CallsWorld) -> None:
    world.caller()
    world.join(queue="vip")
    world.one("QueueCallerAbandon", "caller", Queue="vip", after=4)
    world.one("QueueCallerLeave", "caller", Queue="vip")
    world.one("VarSet", "caller", Variable="QUEUESTATUS", Value="TIMEOUT")
    world.serve()
    assert [payload["reason"] for payload in world.payloads("queue.left")] == ["timeout", "answered"]
    assert [payload["queue_name"] for payload in world.payloads("queue.left")] == ["vip", "support"]
    world.hang_up("phone", requested=True)
    world.hang_up("caller")
    assert world.one_payload("call.ended")["wait_seconds"] == pytest.approx(4.1, abs=0.1)
    world.check()


def test_a_member_that_rejects_and_one_that_hangs_up_before_the_connection(world: CallsWorld) -> None:
    world.caller()
    world.join()
    world.call_member("caller", "one", "PJSIP/201-00000002")
    world.hang_up("one", "17")
    world.both("AgentRingNoAnswer", "caller", "one", Queue="support", Interface="PJSIP/201", RingTime="1000")
    world.call_member("caller", "two", "PJSIP/202-00000003")
    world.answer("caller", "two")
    world.both("AgentDump", "caller", "two", Queue="support", Interface="PJSIP/202")
    assert world.agents("call.missed") == ["201", "202"]
    assert not world.payloads("call.answered")


def test_a_queue_that_a_caller_joins_whose_beginning_was_not_seen(world: CallsWorld) -> None:
    world.caller()
    unknown = world.channel("caller") | {"Uniqueid": "1800000000.77", "Linkedid": "1800000000.77"}
    world.send("QueueCallerJoin", **unknown, Queue="support", Position="2")
    assert [payload["unique_id"] for payload in world.payloads("queue.joined")] == ["1800000000.77"]
    assert world.machine.calls.tracker.strays == {"QueueCallerJoin": 1}


# Local channels


def test_the_phone_behind_a_local_member_rings_and_answers(world: CallsWorld) -> None:
    world.caller()
    world.join()
    world.local("caller", "member", "201@from-queue")
    world.member_called("caller", "member;1", "support", "Local/201@from-queue/n")
    world.dial("member;2", "phone", "PJSIP/201-00000002")
    assert world.agents("call.ringing") == ["201"]
    world.answer("member;2", "phone")
    assert not world.payloads("call.answered")
    world.answer("caller", "member;1")
    world.connect("caller", "member;1", interface="Local/201@from-queue/n")
    assert world.agents("call.answered") == ["201"]
    assert world.one_payload("call.answered")["destination_channel"] == "PJSIP/201-00000002"
    world.hang_up("phone", requested=True)
    for key in ("member;2", "member;1", "caller"):
        world.hang_up(key)
    assert world.one_payload("call.ended")["ended_by"] == "agent"
    world.check()


def test_a_forward_of_a_member_to_another_phone(world: CallsWorld) -> None:
    world.caller()
    world.join()
    world.call_member("caller", "first", "PJSIP/201-00000002")
    world.local("caller", "forward", "204@internal")
    world.hang_up("first", "23")
    world.dial("forward;2", "phone", "PJSIP/204-00000003")
    world.answer("forward;2", "phone")
    world.answer("caller", "forward;1")
    world.connect("caller", "forward;1", interface="PJSIP/201")
    assert world.agents("call.ringing") == ["201", "204"]
    assert world.agents("call.answered") == ["204"]
    assert not world.payloads("call.missed")


def test_a_follow_me_whose_phone_answers_but_does_not_accept(world: CallsWorld) -> None:
    world.caller()
    world.local("caller", "follow", "FMPR-201@from-internal")
    world.dial("follow;2", "phone", "PJSIP/201-00000002")
    world.answer("follow;2", "phone")
    assert not world.payloads("call.answered")
    world.answer("caller", "follow;1")
    assert world.agents("call.answered") == ["201"]


def test_local_channels_within_local_channels(world: CallsWorld) -> None:
    world.caller()
    world.local("caller", "outer", "600@ring-group", 1)
    world.local("outer;2", "inner", "201@from-internal", 2)
    world.dial("inner;2", "phone", "PJSIP/201-00000002")
    world.answer("inner;2", "phone")
    world.answer("outer;2", "inner;1")
    assert not world.payloads("call.answered")
    world.answer("caller", "outer;1")
    assert world.agents("call.answered") == ["201"]


def test_a_robot_as_a_member(world: CallsWorld) -> None:
    world.caller()
    world.join()
    world.local("caller", "robot", "1@robots")
    world.member_called("caller", "robot;1", "support", "Local/1@robots/n")
    world.wait(1.5)
    assert world.agents("call.ringing") == ["Local/1@robots/n"]
    world.answer("caller", "robot;1")
    world.connect("caller", "robot;1", interface="Local/1@robots/n")
    assert world.agents("call.answered") == ["Local/1@robots/n"]
    world.hang_up("robot;1", requested=True)
    world.hang_up("robot;2")
    world.hang_up("caller")
    world.check()


# Calls without a queue


@pytest.mark.parametrize("status", ["CANCEL", "NOANSWER", "BUSY", "CONGESTION"])
def test_a_lone_phone_that_does_not_answer_has_missed_the_call(world: CallsWorld, status: str) -> None:
    world.caller()
    world.dial("caller", "phone", "PJSIP/201-00000002")
    world.both("DialEnd", "caller", "phone", DialStatus=status)
    world.both("DialEnd", "caller", "phone", DialStatus=status)
    world.hang_up("phone")
    world.hang_up("caller")
    assert world.agents("call.missed") == ["201"]
    world.check()


@pytest.mark.parametrize("winner_is_last", [False, True])
def test_only_the_winner_of_a_ring_group_has_not_missed_the_call(world: CallsWorld, winner_is_last: bool) -> None:
    world.caller()
    world.dial("caller", "one", "PJSIP/201-00000002")
    world.dial("caller", "two", "PJSIP/202-00000003")
    world.both("DialEnd", "caller", "one", DialStatus="CANCEL")
    if winner_is_last:
        world.hang_up("one", "26")
        world.answer("caller", "two")
        assert world.agents("call.answered") == ["202"]
        assert not world.payloads("call.missed")
    else:
        world.both("DialEnd", "caller", "two", DialStatus="CANCEL")
        world.hang_up("one")
        world.hang_up("two")
        world.hang_up("caller")
        assert sorted(world.agents("call.missed")) == ["201", "202"]
        world.check()


def test_an_outbound_call(world: CallsWorld) -> None:
    world.new("agent", "PJSIP/201-00000001", Exten="915550188")
    assert world.told() == []
    world.dial("agent", "trunk", "PJSIP/trunk-acme-00000002")
    begun = world.one_payload("call.incoming")
    assert (begun["direction"], begun["caller_id"], begun["destination"]) == ("outbound", "201", "915550188")
    world.answer("agent", "trunk")
    assert world.agents("call.answered") == ["201"]
    assert not world.payloads("call.ringing")
    world.hang_up("trunk", requested=True)
    world.hang_up("agent")
    assert world.one_payload("call.ended")["ended_by"] == "caller"
    world.check()


def test_an_internal_call_to_a_phone_without_a_user(world: CallsWorld) -> None:
    world.new("agent", "PJSIP/201-00000001", Exten="desk")
    world.dial("agent", "desk", "PJSIP/desk-00000002")
    assert world.one_payload("call.incoming")["direction"] == "internal"
    world.answer("agent", "desk")
    assert world.agents("call.answered") == ["PJSIP/desk"]


def test_without_contexts_a_phone_without_a_user_is_outside() -> None:
    world = CallsWorld(with_settings(directions=Directions(), tenants=()))
    world.caller()
    assert world.one_payload("call.incoming")["direction"] == "inbound"
    world.new("agent", "PJSIP/201-00000009", Exten="915550188")
    world.dial("agent", "trunk", "SIP/carrier-0000000a")
    assert [payload["direction"] for payload in world.payloads("call.incoming")] == ["inbound", "outbound"]


def test_a_call_of_an_agent_to_the_exchange_itself_is_internal(world: CallsWorld) -> None:
    world.new("agent", "PJSIP/201-00000001", Exten="*97")
    world.one("Newstate", "agent", ChannelState="6")
    world.wait(1.5)
    assert world.one_payload("call.incoming")["direction"] == "internal"
    world.hang_up("agent", requested=True)
    world.check()


def test_a_caller_whom_the_dialplan_refuses_as_busy_has_not_ended_the_call(world: CallsWorld) -> None:
    world.caller()
    world.one("Newstate", "caller", ChannelState="7")
    world.one("HangupRequest", "caller", ChannelState="7")
    world.hang_up("caller", "17")
    ended = world.one_payload("call.ended")
    assert (ended["ended_by"], ended["hangup_cause"]) == ("exchange", "17")
    world.check()


def test_a_call_that_reaches_nobody(world: CallsWorld) -> None:
    world.caller()
    world.hang_up("caller", requested=True)
    ended = world.one_payload("call.ended")
    assert (ended["talk_seconds"], ended["wait_seconds"], ended["ended_by"]) == (0, 0, "caller")
    world.check()


def test_click_to_call_rings_at_the_agent_first(world: CallsWorld) -> None:
    world.new("agent", "PJSIP/201-00000001", state="0", CallerIDNum="15550189")
    world.send("DialBegin", **world.channel("agent", "Dest"))
    world.send("DialState", DialStatus="RINGING", **world.channel("agent", "Dest"))
    world.send("DialEnd", DialStatus="ANSWER", **world.channel("agent", "Dest"), after=2)
    world.new("trunk", "PJSIP/trunk-acme-00000002", "agent", "0")
    world.send("DialBegin", **(world.channel("agent") | {"Exten": "915550189"}), **world.channel("trunk", "Dest"))
    begun = world.one_payload("call.incoming")
    assert (begun["direction"], begun["caller_id"], begun["destination"]) == ("outbound", "201", "915550189")
    assert world.agents("call.ringing") == ["201"]
    world.answer("agent", "trunk")
    assert world.agents("call.answered") == ["201"]
    world.hang_up("trunk", requested=True)
    world.hang_up("agent")
    assert world.one_payload("call.ended")["wait_seconds"] == 0
    world.check()


@pytest.mark.parametrize("sees_states", [True, False])
def test_click_to_call_that_the_agent_does_not_answer(world: CallsWorld, sees_states: bool) -> None:
    world.new("agent", "PJSIP/201-00000001", state="0")
    world.send("DialBegin", **world.channel("agent", "Dest"))
    world.send("DialState", DialStatus="RINGING", **world.channel("agent", "Dest"))
    if sees_states:
        world.one("Newstate", "agent", ChannelState="5")
    world.send("DialEnd", DialStatus="NOANSWER", **world.channel("agent", "Dest"), after=20)
    world.hang_up("agent")
    assert world.told() == ["call.incoming", "call.ringing", "call.missed", "call.ended"]
    # With a list of wanted events, that no hangup of a participant is seen proves nothing.
    assert world.one_payload("call.ended").get("ended_by") == ("exchange" if sees_states else None)
    world.check()


# Transfers and the like


def test_a_failed_transfer_is_not_told(world: CallsWorld) -> None:
    world.caller()
    world.serve()
    transferer = world.channel("phone", "Transferer")
    for result in ("Fail", "Invalid", "Not Permitted"):
        world.send("BlindTransfer", Result=result, Extension="204", **transferer)
        world.send("AttendedTransfer", Result=result, **world.channel("phone", "OrigTransferer"))
    assert not world.payloads("call.transferred")


def test_a_caller_who_waits_again_after_a_transfer_has_no_agent(world: CallsWorld) -> None:
    world.caller()
    world.serve()
    world.send("BlindTransfer", Result="Success", Extension="802", **world.channel("phone", "Transferer"))
    world.hang_up("phone")
    world.join(queue="front")
    world.one("HangupRequest", "caller", after=5)
    world.one("QueueCallerAbandon", "caller", Queue="front", Position="1")
    world.one("QueueCallerLeave", "caller", Queue="front")
    world.hang_up("caller", "0")
    waited = [event for event in world.events if event.payload.get("queue_name") == "front"]
    assert [event.type for event in waited] == ["queue.joined", "queue.left", "call.abandoned", "call.ended"]
    assert [event.payload.get("agent_id") for event in waited] == [None, None, None, "201"]
    world.check()


def test_a_blind_transfer_whose_target_is_never_seen_is_told_all_the_same(world: CallsWorld) -> None:
    world.caller()
    world.serve()
    world.send("BlindTransfer", Result="Success", Extension="700", **world.channel("phone", "Transferer"))
    assert not world.payloads("call.transferred")
    world.hang_up("phone")
    world.wait(1.5)
    told = world.one_payload("call.transferred")
    assert (told["from_agent_id"], told["destination"], "to_agent_id" in told) == ("201", "700", False)
    world.hang_up("caller", requested=True)
    world.check()


def test_an_attended_transfer_by_a_feature_code(world: CallsWorld) -> None:
    world.caller()
    world.serve()
    world.one("Hold", "phone")
    world.new("target;1", "Local/204@internal-00000005;1", "phone", "0")
    world.new("target;2", "Local/204@internal-00000005;2", "phone", "4")
    world.dial("target;2", "desk", "PJSIP/204-00000007")
    world.answer("target;2", "desk")
    assert world.agents("call.answered") == ["201"]
    world.send(
        "AttendedTransfer",
        Result="Success",
        DestType="Bridge",
        **world.channel("phone", "OrigTransferer"),
        **world.channel("phone", "SecondTransferer"),
        **world.channel("target;1", "TransferTarget"),
    )
    told = world.one_payload("call.transferred")
    assert (told["from_agent_id"], told["to_agent_id"], told["transfer_type"]) == ("201", "204", "attended")
    world.hang_up("phone")
    world.hang_up("caller", requested=True)
    for key in ("target;1", "target;2", "desk"):
        world.hang_up(key)
    world.check()


def test_a_consultation_in_a_queue_where_the_caller_is_left_waiting(world: CallsWorld) -> None:
    world.caller()
    world.serve()
    world.one("Hold", "phone")
    world.new("second", "PJSIP/201-00000008", Exten="801")
    world.join("second", "sales")
    world.send(
        "AttendedTransfer",
        Result="Success",
        DestType="App",
        **world.channel("phone", "OrigTransferer"),
        **world.channel("second", "SecondTransferer"),
    )
    ended = world.one_payload("call.ended")
    assert (ended["ended_by"], ended["direction"]) == ("agent", "internal")
    assert world.told()[-5:] == ["queue.left", "call.ended", "call.unhold", "call.transferred", "queue.joined"]
    world.hang_up("phone")
    world.call_member("second", "third", "PJSIP/202-00000009", "sales")
    world.answer("second", "third")
    world.connect("second", "third", "sales")
    assert world.agents("call.answered") == ["201", "202"]
    for key in ("third", "second", "caller"):
        world.hang_up(key)
    world.check()


def test_a_member_rings_on_for_the_caller_whom_a_consultation_left_in_its_queue(world: CallsWorld) -> None:
    world.caller()
    world.serve()
    world.one("Hold", "phone")
    world.new("second", "PJSIP/201-00000008", Exten="801")
    world.join("second", "sales")
    world.call_member("second", "third", "PJSIP/202-00000009", "sales")
    world.send(
        "AttendedTransfer",
        Result="Success",
        DestType="App",
        **world.channel("phone", "OrigTransferer"),
        **world.channel("second", "SecondTransferer"),
    )
    world.hang_up("phone")
    world.time += 4
    world.both("AgentRingNoAnswer", "second", "third", Queue="sales", Interface="PJSIP/202", RingTime="4000")
    missed = world.one_payload("call.missed")
    caller = world.payloads("call.incoming")[0]
    assert (missed["call_id"], missed["agent_id"]) == (caller["call_id"], "202")
    assert missed["ring_seconds"] == pytest.approx(4, abs=0.2)
    for key in ("third", "second", "caller"):
        world.hang_up(key)
    world.check()


def test_a_call_that_is_picked_up_by_another_phone(world: CallsWorld) -> None:
    world.caller()
    world.join()
    world.call_member("caller", "phone", "PJSIP/201-00000002")
    world.new("picker", "PJSIP/203-00000003", Exten="*8")
    world.send("Pickup", **world.channel("picker"), **world.channel("phone", "Target"))
    world.one("Rename", "picker", Newname="PJSIP/203-00000003<MASQ>")
    world.one("Rename", "phone", Newname="PJSIP/203-00000003")
    world.one("Rename", "picker", Newname="PJSIP/201-00000002<ZOMBIE>")
    world.answer("caller", "phone")
    world.connect("caller", "phone", interface="PJSIP/201")
    assert world.agents("call.ringing") == ["201"]
    assert world.agents("call.answered") == ["203"]
    world.hang_up("picker")
    world.hang_up("caller", requested=True)
    world.hang_up("phone")
    world.check()


def test_a_parked_call_that_another_agent_takes(world: CallsWorld) -> None:
    world.caller()
    world.serve()
    world.send("BlindTransfer", Result="Success", Extension="700", **world.channel("phone", "Transferer"))
    world.hang_up("phone")
    world.new("taker", "PJSIP/202-00000004", Exten="701")
    world.send("UnParkedCall", **world.channel("caller", "Parkee"), **world.channel("taker", "Retriever"))
    assert world.agents("call.answered") == ["201", "202"]
    world.hang_up("taker", requested=True)
    world.hang_up("caller")
    assert [payload["ended_by"] for payload in world.payloads("call.ended")] == ["agent", "agent"]
    world.check()


def test_a_blind_transfer_of_whom_an_agent_has_called(world: CallsWorld) -> None:
    world.new("agent", "PJSIP/201-00000001", Exten="915550188")
    world.dial("agent", "trunk", "PJSIP/trunk-acme-00000002")
    world.answer("agent", "trunk")
    world.send("BlindTransfer", Result="Success", Extension="204", **world.channel("agent", "Transferer"))
    world.hang_up("agent")
    world.dial("trunk", "desk", "PJSIP/204-00000003")
    world.answer("trunk", "desk")
    told = world.one_payload("call.transferred")
    assert (told["from_agent_id"], told["to_agent_id"], told["direction"]) == ("201", "204", "outbound")
    assert world.agents("call.answered") == ["201", "204"]
    world.hang_up("trunk", requested=True)
    world.hang_up("desk")
    assert world.one_payload("call.ended")["ended_by"] == "caller"
    world.check()


def test_an_attended_transfer_of_whom_an_agent_has_called(world: CallsWorld) -> None:
    world.new("agent", "PJSIP/201-00000001", Exten="915550188")
    world.dial("agent", "trunk", "PJSIP/trunk-acme-00000002")
    world.answer("agent", "trunk")
    world.one("Hold", "agent")
    world.new("second", "PJSIP/201-00000003", Exten="204")
    world.dial("second", "desk", "PJSIP/204-00000004")
    world.answer("second", "desk")
    world.one("Unhold", "agent")
    world.one("Unhold", "second")
    world.send(
        "AttendedTransfer",
        Result="Success",
        DestType="Bridge",
        **world.channel("agent", "OrigTransferer"),
        **world.channel("second", "SecondTransferer"),
        **world.channel("desk", "TransferTarget"),
    )
    world.hang_up("agent")
    world.hang_up("second")
    told = world.one_payload("call.transferred")
    assert (told["from_agent_id"], told["to_agent_id"], told["destination"]) == ("201", "204", "204")
    assert len(world.payloads("call.hold")) == len(world.payloads("call.unhold")) == 1
    world.hang_up("desk", requested=True)
    world.hang_up("trunk")
    assert [payload["ended_by"] for payload in world.payloads("call.ended")] == ["agent", "agent"]
    world.check()


def test_a_transfer_by_the_called_colleague(world: CallsWorld) -> None:
    world.new("one", "PJSIP/201-00000001", Exten="202")
    world.dial("one", "two", "PJSIP/202-00000002")
    world.answer("one", "two")
    world.send("BlindTransfer", Result="Success", Extension="204", **world.channel("two", "Transferer"))
    world.hang_up("two")
    world.dial("one", "three", "PJSIP/204-00000003")
    world.answer("one", "three")
    assert world.agents("call.answered") == ["202", "204"]
    assert world.one_payload("call.transferred")["from_agent_id"] == "202"
    world.hang_up("one", requested=True)
    world.hang_up("three")
    assert world.one_payload("call.ended")["ended_by"] == "agent"
    world.check()


def test_a_conversation_of_three(world: CallsWorld) -> None:
    world.caller()
    world.serve()
    world.one("Hold", "phone")
    world.new("second", "PJSIP/201-00000003", Exten="204")
    world.dial("second", "desk", "PJSIP/204-00000004")
    world.answer("second", "desk")
    world.send(
        "AttendedTransfer",
        Result="Success",
        DestType="Threeway",
        **world.channel("phone", "OrigTransferer"),
        **world.channel("second", "SecondTransferer"),
        **world.channel("desk", "TransferTarget"),
    )
    world.one("Hangup", "desk", after=5, Cause="16")
    world.one("Hangup", "second", after=5, Cause="16")
    world.hang_up("phone")
    world.hang_up("caller", requested=True)
    ended = world.payloads("call.ended")[-1]
    assert ended["talk_seconds"] == pytest.approx(10, abs=0.3)


# Hold


def test_an_unhold_without_a_hold_is_not_told(world: CallsWorld) -> None:
    world.caller()
    world.serve()
    world.one("Unhold", "phone")
    assert not world.payloads("call.unhold")
    world.one("Hold", "phone")
    world.one("Hold", "phone")
    world.one("Unhold", "phone", after=2)
    assert world.one_payload("call.hold")["held_by"] == "201"
    assert world.one_payload("call.unhold")["held_by"] == "201"
    world.hang_up("caller", requested=True)
    world.hang_up("phone")
    assert world.one_payload("call.ended")["hold_seconds"] == pytest.approx(2, abs=0.1)
    world.check()


def test_the_first_call_is_held_by_an_agent_who_answers_a_second_one(world: CallsWorld) -> None:
    world.caller("one", "PJSIP/trunk-acme-00000011")
    world.serve("one", "first", "PJSIP/201-00000012")
    world.caller("two", "PJSIP/trunk-acme-00000013")
    world.serve("two", "second", "PJSIP/201-00000014")
    assert world.one_payload("call.hold")["implied"] is True
    world.hang_up("second", requested=True)
    world.hang_up("two")
    assert len(world.payloads("call.unhold")) == 1
    world.hang_up("first", requested=True)
    world.hang_up("one")
    world.check()


# Tenants


def test_a_call_keeps_the_tenant_of_its_birth(world: CallsWorld) -> None:
    world.caller()
    world.one("NewAccountCode", "caller", AccountCode="globex")
    world.serve(name="PJSIP/204-00000002")
    world.hang_up("caller")
    world.hang_up("phone")
    assert {event.tenant_id for event in world.events if event.type.startswith("call.")} == {"acme"}
    world.check()


def test_a_tenant_by_queue_is_known_when_the_caller_joins_it(world: CallsWorld) -> None:
    settings = with_settings(tenants=(TenantRule(tenant="globex", queue="globex-"),), tenant="acme")
    world = CallsWorld(settings)
    world.caller()
    assert world.told() == []
    world.join(queue="globex-desk")
    assert {event.tenant_id for event in world.events} == {"globex"}
    assert world.events[0].time < world.events[1].time


def test_a_tenant_by_a_variable_of_the_caller() -> None:
    settings = with_settings(tenants=(TenantRule(tenant="globex", variable="CUSTOMER=g.*"),), tenant="")
    world = CallsWorld(settings)
    world.caller()
    world.one("VarSet", "caller", Variable="CUSTOMER", Value="globex")
    assert [event.tenant_id for event in world.events] == ["globex"]


@pytest.mark.parametrize("at_once", [True, False])
def test_a_tenant_by_a_variable_that_events_of_the_channel_show(at_once: bool) -> None:
    """As with ``channelvars = OTHER,CUSTOMER`` in manager.conf, of a user without the class dialplan."""
    settings = with_settings(tenants=(TenantRule(tenant="globex", variable="CUSTOMER=g.*"),), tenant="acme")
    world = CallsWorld(settings)
    shown = {"ChanVariable": ["OTHER=1", f"CUSTOMER={'globex' if at_once else ''}"]}
    uniqueid = "1.1"
    headers = {"Channel": "PJSIP/trunk-00000001", "Uniqueid": uniqueid, "Linkedid": uniqueid, "Context": "from-trunk"}
    world.receive("Newchannel", shown, ChannelState="4", CallerIDNum="555", **headers)
    assert [event.tenant_id for event in world.events] == ["globex"] * at_once
    shown = {"ChanVariable": ["OTHER=1", "CUSTOMER=globex"]}
    world.receive("QueueCallerJoin", shown, Queue="support", Position="1", **headers)
    assert [(event.type, event.tenant_id) for event in world.events] == [
        ("call.incoming", "globex"),
        ("queue.joined", "globex"),
    ]


def test_a_tenant_by_an_account_code_that_the_dialplan_sets() -> None:
    settings = with_settings(tenants=(TenantRule(tenant="globex", account_code="globex"),), tenant="acme")
    world = CallsWorld(settings)
    world.caller(AccountCode="")
    assert world.told() == []
    world.one("NewAccountCode", "caller", AccountCode="globex", OldAccountCode="")
    assert [event.tenant_id for event in world.events] == ["globex"]
    # Fixed at the call's birth.
    world.one("NewAccountCode", "caller", AccountCode="acme", OldAccountCode="globex")
    world.join()
    assert {event.tenant_id for event in world.events} == {"globex"}


def test_a_call_without_a_tenant_is_not_told_and_counted() -> None:
    world = CallsWorld(with_settings(tenants=(), tenant=""))
    world.caller()
    world.serve()
    world.hang_up("caller")
    world.hang_up("phone")
    assert not [event for event in world.events if event.type.startswith(("call.", "queue.joined", "queue.left"))]
    assert world.machine.rules.unmatched["call"] == 1
    assert not [key for key in world.records if key.startswith("call/")]


# Ends


def test_who_ended_a_call_that_the_dialplan_continued_after_the_agent(world: CallsWorld) -> None:
    world.caller()
    world.serve()
    world.hang_up("phone", requested=True)
    world.one("Hangup", "caller", after=3, Cause="16")
    ended = world.one_payload("call.ended")
    assert (ended["ended_by"], ended["hangup_cause"]) == ("exchange", "16")
    assert ended["talk_seconds"] < 1
    world.check()


def test_an_ended_call_does_not_begin_again(world: CallsWorld) -> None:
    world.caller()
    world.hang_up("caller")
    world.send("Newchannel", **world.channel("caller"))
    world.send("QueueCallerJoin", **world.channel("caller"), Queue="support")
    assert world.told() == ["call.incoming", "call.ended"]


def test_a_hangup_of_an_unknown_channel_is_counted(world: CallsWorld) -> None:
    world.send("Hangup", Uniqueid="1.1", Channel="PJSIP/201-1", Cause="16")
    assert world.machine.calls.tracker.strays == {"Hangup": 1}


# The clock


@pytest.mark.parametrize("jump", [3_600.0, -3_600.0, 40.0])
def test_a_clock_that_is_set_does_not_change_durations(world: CallsWorld, jump: float) -> None:
    world.caller()
    stamp = world.time
    world.send("QueueCallerJoin", **world.channel("caller"), Queue="support", Position="1", after=1, stamped=stamp + 1)
    world.call_member("caller", "phone", "PJSIP/201-00000002")
    world.answer("caller", "phone")
    world.connect("caller", "phone")
    stamp = world.time + jump
    world.one("HangupRequest", "caller", after=10, Timestamp=f"{stamp + 10:.3f}")
    world.one("Hangup", "phone", after=0.01, Timestamp=f"{stamp + 10.01:.3f}")
    world.one("Hangup", "caller", after=0.01, Timestamp=f"{stamp + 10.02:.3f}", Cause="16")
    ended = world.one_payload("call.ended")
    assert ended["duration"] == pytest.approx(11.2, abs=0.3)
    assert ended["talk_seconds"] == pytest.approx(10, abs=0.3)


# Restart


def test_a_bridge_that_starts_again_continues_behind_its_last_event(world: CallsWorld) -> None:
    world.caller()
    world.serve()
    again = CallsWorld(records=world.records)
    again.time = world.time
    again.send("HangupRequest", **world.channel("caller"), after=5)
    again.send("Hangup", **world.channel("phone"), Cause="16")
    again.send("Hangup", **world.channel("caller"), Cause="16")
    assert again.told() == ["call.ended"]
    ended = again.one_payload("call.ended")
    assert (ended["ended_by"], ended["agent_id"]) == ("caller", "201")
    assert ended["talk_seconds"] == pytest.approx(5, abs=0.1)
    assert not [key for key in again.records if key.startswith("call/")]


def test_a_record_that_cannot_be_read_is_deleted() -> None:
    world = CallsWorld(records={"call/pbx1-1": b"{"})
    world.take()
    assert world.records == {}


def test_a_user_of_the_table() -> None:
    agents = {"SIP/desk": AgentEntry(user_id="7", username="Gus", extension="207")}
    world = CallsWorld(with_settings(agents=agents, agent_pattern=""))
    world.caller()
    world.dial("caller", "phone", "SIP/desk-00000002")
    ringing = world.one_payload("call.ringing")
    assert (ringing["agent_id"], ringing["agent_name"]) == ("7", "Gus")


def test_the_losers_of_a_ring_group_of_local_channels_have_not_missed_the_call(world: CallsWorld) -> None:
    world.caller()
    world.local("caller", "one", "201@from-internal", 1)
    world.local("caller", "two", "202@from-internal", 2)
    world.dial("one;2", "first", "PJSIP/201-00000002")
    world.dial("two;2", "second", "PJSIP/202-00000003")
    world.hang_up("one;1", "26")
    world.both("DialEnd", "one;2", "first", DialStatus="CANCEL")
    world.answer("two;2", "second")
    world.answer("caller", "two;1")
    assert world.agents("call.answered") == ["202"]
    world.wait(2)
    assert not world.payloads("call.missed")


def test_the_phone_behind_a_member_without_a_known_device_has_missed_the_call(world: CallsWorld) -> None:
    world.caller()
    world.join()
    world.local("caller", "member", "203@from-queue")
    world.member_called("caller", "member;1", "support", "Local/203@from-queue/n")
    world.dial("member;2", "phone", "PJSIP/203-00000002")
    world.hang_up("phone", "17")
    world.both("AgentRingNoAnswer", "caller", "member;1", Queue="support", Interface="Local/203@from-queue/n")
    assert world.agents("call.missed") == ["203"]


def test_click_to_call_that_ends_while_it_rings(world: CallsWorld) -> None:
    world.new("agent", "PJSIP/201-00000001", state="0")
    world.send("DialBegin", **world.channel("agent", "Dest"))
    world.send("DialState", DialStatus="RINGING", **world.channel("agent", "Dest"))
    world.hang_up("agent", "19")
    assert world.told() == ["call.incoming", "call.ringing", "call.missed", "call.ended"]
    assert world.one_payload("call.incoming")["destination"] == "unknown"
    world.check()


# Limits


def test_too_many_calls_are_not_told_and_counted(world: CallsWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("callcenter_ws.bridge.call_register.MAX_CALLS", 1)
    world.caller("one", "PJSIP/trunk-acme-00000001")
    world.caller("two", "PJSIP/trunk-acme-00000002")
    world.serve("two")
    world.hang_up("one")
    assert world.machine.dropped["calls"] > 0
    assert world.told() == ["call.incoming", "call.ended"]


def test_too_many_channels_are_not_followed_and_counted(world: CallsWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world.caller()
    monkeypatch.setattr("callcenter_ws.bridge.asterisk.channels.MAX_CHANNELS", 1)
    world.dial("caller", "phone", "PJSIP/201-00000002")
    world.hang_up("caller")
    assert world.machine.dropped["channels"] > 0
    assert world.told() == ["call.incoming", "call.ended"]


def test_a_uniqueid_that_is_too_long_is_none(world: CallsWorld) -> None:
    world.send("Newchannel", Uniqueid="1" * 151, Linkedid="1" * 151, Channel="PJSIP/trunk-1", Context="from-trunk-acme")
    assert not world.machine.calls.book.calls


def test_names_that_are_too_long_are_cut(world: CallsWorld) -> None:
    world.new("caller", "PJSIP/trunk-acme-00000001", CallerIDNum="1" * 300, Linkedid="1" * 300)
    world.join(queue="q" * 300)
    world.hang_up("caller", requested=True)
    assert world.one_payload("queue.joined")["queue_name"] == "q" * 255
    world.check()


def test_ids_of_ended_calls_are_forgotten_in_the_end(world: CallsWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("callcenter_ws.bridge.call_register.MAX_ENDED", 2)
    for key in ("one", "two", "three"):
        world.caller(key, f"PJSIP/trunk-acme-0000000{len(key)}")
        world.hang_up(key)
    world.send("Newchannel", **world.channel("three"))
    assert not world.machine.calls.book.calls
    world.send("Newchannel", **world.channel("one"))
    assert world.machine.calls.book.calls
