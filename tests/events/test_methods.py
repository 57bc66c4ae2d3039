"""EventMethods: each method publishes a complete event of its type."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from sample_events import REQUIRED

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
    "call_disposition": "call.disposition",
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
    "chat_delivered": "chat.delivered",
    "chat_transferred": "chat.transferred",
    "chat_session_ended": "chat.session.ended",
    "send_notification": "notification",
    "send_alert": "alert",
    "source_up": "source.up",
    "source_down": "source.down",
}


class RecordingMethods(EventMethods[dict[str, Any]]):
    """Returns the arguments of ``publish``."""

    def publish(self, tenant_id: str, type: str, payload: dict[str, Any], **more: Any) -> dict[str, Any]:  # noqa: A002
        return {"tenant_id": tenant_id, "type_": type, "payload": payload, **more}


def call(method: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Call a method with the fields as keyword arguments."""
    return getattr(RecordingMethods(), method)("acme", **fields)


def fields_of(method: str) -> dict[str, Any]:
    fields = dict(REQUIRED[EVENT_OF_METHOD[method]])
    return {"user_id": "7", **fields} if method == "send_notification" else fields


def test_each_type_except_the_gateways_own_has_a_method() -> None:
    assert set(EVENT_OF_METHOD.values()) == {name for name, type_ in CATALOGUE.items() if not type_.by_gateway}
    methods = {name for name, _ in inspect.getmembers(EventMethods, inspect.isfunction) if name[0] != "_"}
    assert methods == set(EVENT_OF_METHOD) | {"publish"}


@pytest.mark.parametrize("method", EVENT_OF_METHOD)
def test_publishes_a_valid_event_of_its_type(method: str) -> None:
    published = call(method, fields_of(method))
    assert (published["tenant_id"], published["type_"], published["payload"]) == (
        "acme",
        EVENT_OF_METHOD[method],
        REQUIRED[published["type_"]],
    )
    made = make_event(event_id="e", now=0, received_at=0, **published)
    assert made.type.name == EVENT_OF_METHOD[method]


@pytest.mark.parametrize("method", EVENT_OF_METHOD)
def test_accepts_the_required_fields_as_positional_arguments_in_the_order_of_the_catalogue(method: str) -> None:
    fields = fields_of(method)
    published = getattr(RecordingMethods(), method)("acme", *fields.values())
    assert published["payload"] == REQUIRED[published["type_"]]


@pytest.mark.parametrize("method", EVENT_OF_METHOD)
def test_additional_arguments_become_payload_fields(method: str) -> None:
    assert call(method, {**fields_of(method), "x_extra": [1]})["payload"]["x_extra"] == [1]


@pytest.mark.parametrize("method", EVENT_OF_METHOD)
def test_a_missing_required_field_raises_type_error(method: str) -> None:
    for field in fields_of(method):
        with pytest.raises(TypeError):
            call(method, {name: value for name, value in fields_of(method).items() if name != field})


def test_a_notification_has_a_user_and_is_persistent() -> None:
    published = call("send_notification", fields_of("send_notification"))
    assert (published["user_id"], published["persist"]) == ("7", True)
