"""The actions that change queues of an exchange that is played: as a real Asterisk answers and tells them."""

from __future__ import annotations

from collections.abc import Mapping

from command_transcripts import transcript

from callcenter_ws.bridge.asterisk.message import AmiMessage
from callcenter_ws.bridge.asterisk.played_actions import changed_by
from callcenter_ws.bridge.asterisk.played_state import PlayedState

_OTHERS = ("Timestamp", "LoginTime", "LastPause", "LastCall", "CallsTaken", "ActionID", "Ringinuse")
"""What depends on the moment, on what happened before, or on options of the queue."""


def comparable(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name not in _OTHERS}


def test_queues_change_as_those_of_an_asterisk_do() -> None:
    lines = transcript("states")
    state = PlayedState()
    for queue in ("support", "sales", "vip"):
        state.take(AmiMessage({"Queue": queue}, {}, "QueueParams", ""), 0)
    for member in lines[0]["members"]:
        state.take(AmiMessage(member, {}, "QueueMember", ""), 0)
    told: list[dict[str, str]] = []
    responses: dict[str, tuple[str, str]] = {}
    for line in lines:
        if "action" in line and line["action"].startswith("Queue"):
            headers = {"Action": line["action"], **dict(line["headers"])}
            response, text, events = changed_by(AmiMessage(headers, {}, "", ""), state, 1_796_000_000)
            responses[line["id"]] = response, text
            for event in events:
                state.take(AmiMessage(event, {}, event["Event"], ""), 0)
                told.append(comparable(event))
    recorded = [
        comparable(line["headers"])
        for line in lines
        if line.get("event") in ("QueueMemberAdded", "QueueMemberPause", "QueueMemberRemoved")
    ]
    assert told == recorded
    answered = {
        line["headers"]["ActionID"]: (line["response"], line["headers"].get("Message", ""))
        for line in lines
        if "response" in line
    }
    assert responses == {action_id: answered[action_id] for action_id in responses}


def test_what_an_asterisk_refuses_is_refused() -> None:
    state = PlayedState()
    state.take(AmiMessage({"Queue": "support"}, {}, "QueueParams", ""), 0)
    static = {"Queue": "support", "Interface": "PJSIP/201", "Membership": "static", "MemberName": "Alice"}
    state.take(AmiMessage(static, {}, "QueueMemberAdded", ""), 0)

    def refusal(**headers: str) -> str:
        response, text, events = changed_by(AmiMessage(headers, {}, "", ""), state, 0)
        assert (response, events) == ("Error", ())
        return text

    assert "Already there" in refusal(Action="QueueAdd", Queue="support", Interface="PJSIP/201")
    assert "No such queue" in refusal(Action="QueueAdd", Queue="nope", Interface="PJSIP/201")
    assert "not dynamic" in refusal(Action="QueueRemove", Queue="support", Interface="PJSIP/201")
    assert "Not there" in refusal(Action="QueueRemove", Queue="support", Interface="PJSIP/202")
    assert "No such queue" in refusal(Action="QueueRemove", Queue="nope", Interface="PJSIP/201")
    assert "not found" in refusal(Action="QueuePause", Queue="support", Interface="PJSIP/202", Paused="true")
