"""What the exchange of the demo lists at a moment follows the events that it has sent."""

from __future__ import annotations

import pytest

from callcenter_ws.demo.exchange_state import ExchangeState, encode, parse

QUEUES = [
    encode({"Event": "QueueParams", "Queue": "sales", "Calls": "0"}),
    encode(
        {"Event": "QueueMember", "Queue": "sales", "Name": "Ann", "Location": "PJSIP/1", "Status": "1", "Paused": "0"}
    ),
]


def channel(unique_id: str, prefix: str = "", linked_id: str = "1.1", state: str = "6") -> dict[str, str]:
    return {
        f"{prefix}Channel": f"PJSIP/{unique_id}",
        f"{prefix}ChannelState": state,
        f"{prefix}CallerIDNum": f"number of {unique_id}",
        f"{prefix}CallerIDName": "Zoe",
        f"{prefix}Uniqueid": unique_id,
        f"{prefix}Linkedid": linked_id,
    }


@pytest.fixture
def state() -> ExchangeState:
    state = ExchangeState(QUEUES)
    state.apply({"Event": "Newchannel", **channel("1.1", state="4")}, 100.0)
    return state


def test_channels_are_listed_until_they_hang_up(state: ExchangeState) -> None:
    state.apply({"Event": "Newstate", **channel("1.1")}, 101.0)
    (listed,) = map(parse, state.list_channels(3_765.5))
    assert (listed["Event"], listed["Uniqueid"], listed["ChannelState"]) == ("CoreShowChannel", "1.1", "6")
    assert (listed["Duration"], listed["BridgeId"]) == ("01:01:05", "")
    assert state.call_count == 1
    state.apply({"Event": "Hangup", **channel("1.1")}, 102.0)
    assert (state.list_channels(102.0), state.call_count) == ([], 0)


def test_an_event_about_a_channel_that_has_hung_up_does_not_list_it_again(state: ExchangeState) -> None:
    state.apply({"Event": "Newchannel", **channel("1.2")}, 100.0)
    state.apply({"Event": "Hangup", **channel("1.2")}, 101.0)
    state.apply({"Event": "AgentComplete", **channel("1.1"), **channel("1.2", "Dest")}, 101.0)
    assert [parse(item)["Uniqueid"] for item in state.list_channels(101.0)] == ["1.1"]


def test_calls_are_counted_by_their_first_channel(state: ExchangeState) -> None:
    state.apply({"Event": "Newchannel", **channel("1.2")}, 100.0)
    state.apply({"Event": "Newchannel", **channel("1.3", linked_id="1.3")}, 100.0)
    assert state.call_count == 2


def test_bridges_and_the_channels_in_them(state: ExchangeState) -> None:
    bridge = {"BridgeUniqueid": "b", "BridgeType": "basic", "BridgeTechnology": "simple_bridge"}
    state.apply({"Event": "BridgeCreate", **bridge, "BridgeNumChannels": "0"}, 100.0)
    state.apply({"Event": "BridgeEnter", **bridge, "BridgeNumChannels": "1", **channel("1.1")}, 100.0)
    (listed,) = map(parse, state.list_bridges())
    assert (listed["Event"], listed["BridgeUniqueid"], listed["BridgeNumChannels"]) == ("BridgeListItem", "b", "1")
    assert parse(state.list_channels(100.0)[0])["BridgeId"] == "b"
    state.apply({"Event": "BridgeLeave", **bridge, "BridgeNumChannels": "0", **channel("1.1")}, 101.0)
    state.apply({"Event": "BridgeDestroy", **bridge, "BridgeNumChannels": "0"}, 101.0)
    assert state.list_bridges() == []
    assert parse(state.list_channels(101.0)[0])["BridgeId"] == ""


def test_callers_wait_until_they_leave(state: ExchangeState) -> None:
    state.apply({"Event": "QueueCallerJoin", "Queue": "sales", **channel("1.1")}, 101.0)
    params, _, entry = map(parse, state.list_queues(105.0))
    assert params["Calls"] == "1"
    assert (entry["Event"], entry["Position"], entry["Uniqueid"], entry["Wait"]) == ("QueueEntry", "1", "1.1", "4")
    state.apply({"Event": "QueueCallerLeave", "Queue": "sales", **channel("1.1")}, 106.0)
    assert len(state.list_queues(106.0)) == 2


def test_members_have_their_last_state(state: ExchangeState) -> None:
    status = {"Queue": "sales", "Interface": "PJSIP/1", "Status": "2", "Paused": "1", "PausedReason": "Lunch"}
    state.apply({"Event": "QueueMemberStatus", **status}, 100.0)
    member = parse(state.list_queues(100.0)[1])
    assert (member["Location"], member["Name"]) == ("PJSIP/1", "Ann")
    assert (member["Status"], member["Paused"], member["PausedReason"]) == ("2", "1", "Lunch")


def test_members_that_were_not_listed_are_ignored(state: ExchangeState) -> None:
    state.apply({"Event": "QueueMemberStatus", "Queue": "sales", "Interface": "PJSIP/9", "Status": "2"}, 100.0)
    assert len(state.list_queues(100.0)) == 2
