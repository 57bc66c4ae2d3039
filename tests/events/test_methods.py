"""One method per thing that happens: each says the event of its name, complete."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from core_world import REQUIRED

from callcenter_ws.events.catalogue import CATALOGUE
from callcenter_ws.events.event import make_event
from callcenter_ws.events.methods import EventMethods

EVENT_OF_METHOD = {
    "agent_login": "agent.login",
    "agent_state_change": "agent.state.changed",
    "agent_logout": "agent.logout",
    "call_incoming": "call.incoming",
    "call_ringing": "call.ringing",
    "call_answered": "call.answered",
    "call_hold": "call.hold",
    "call_unhold": "call.unhold",
    "call_transferred": "call.transferred",
    "call_missed": "call.missed",
    "call_abandoned": "call.abandoned",
    "call_ended": "call.ended",
    "queue_joined": "queue.joined",
    "queue_left": "queue.left",
    "update_queue_stats": "queue.stats",
    "queue_member_added": "queue.member.added",
    "queue_member_removed": "queue.member.removed",
    "queue_member_paused": "queue.member.paused",
    "queue_member_unpaused": "queue.member.unpaused",
    "chat_session_started": "chat.session.started",
    "chat_message_sent": "chat.message",
    "chat_typing_indicator": "chat.typing",
    "chat_transferred": "chat.transferred",
    "chat_session_ended": "chat.session.ended",
    "send_notification": "notification",
    "send_alert": "alert",
}


class Listener(EventMethods[dict[str, Any]]):
    """Answers with what was published."""

    def publish(self, tenant_id: str, type: str, payload: dict[str, Any], **more: Any) -> dict[str, Any]:  # noqa: A002
        return {"tenant_id": tenant_id, "type_": type, "payload": payload, **more}


def call(method: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Call a method with the tenant first and everything else by its name."""
    return getattr(Listener(), method)("acme", **fields)


def fields_of(method: str) -> dict[str, Any]:
    fields = dict(REQUIRED[EVENT_OF_METHOD[method]])
    return {"user_id": "7", **fields} if method == "send_notification" else fields


def test_every_type_but_the_gateways_own_has_its_method() -> None:
    assert set(EVENT_OF_METHOD.values()) == set(CATALOGUE) - {"presence.changed"}
    methods = {name for name, _ in inspect.getmembers(EventMethods, inspect.isfunction) if name[0] != "_"}
    assert methods == set(EVENT_OF_METHOD) | {"publish"}


@pytest.mark.parametrize("method", EVENT_OF_METHOD)
def test_says_a_valid_event_of_its_type(method: str) -> None:
    said = call(method, fields_of(method))
    assert (said["tenant_id"], said["type_"], said["payload"]) == (
        "acme",
        EVENT_OF_METHOD[method],
        REQUIRED[said["type_"]],
    )
    made = make_event(event_id="e", now=0, received_at=0, **said)
    assert made.type.name == EVENT_OF_METHOD[method]


@pytest.mark.parametrize("method", EVENT_OF_METHOD)
def test_takes_the_required_fields_in_the_protocols_order_without_their_names(method: str) -> None:
    fields = fields_of(method)
    said = getattr(Listener(), method)("acme", *fields.values())
    assert said["payload"] == REQUIRED[said["type_"]]


@pytest.mark.parametrize("method", EVENT_OF_METHOD)
def test_passes_on_what_else_it_is_told(method: str) -> None:
    assert call(method, {**fields_of(method), "x_extra": [1]})["payload"]["x_extra"] == [1]


@pytest.mark.parametrize("method", EVENT_OF_METHOD)
def test_misses_no_required_field_in_silence(method: str) -> None:
    for field in fields_of(method):
        with pytest.raises(TypeError):
            call(method, {name: value for name, value in fields_of(method).items() if name != field})


def test_a_notification_is_for_one_user_and_kept() -> None:
    said = call("send_notification", fields_of("send_notification"))
    assert (said["user_id"], said["persist"]) == ("7", True)
