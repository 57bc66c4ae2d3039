"""What visitors alone say of their chat: that it begins, what their page has received, and that it ends."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Protocol

import msgspec
from msgspec import Meta

from callcenter_ws.delivery.client import Client
from callcenter_ws.delivery.snapshot_cache import RequestId
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.frames import control_frame
from callcenter_ws.events.identifiers import has_control_character
from callcenter_ws.events.principal import Principal
from callcenter_ws.requests.chat_sessions import OFFLINE_STATUS, OPENED_STATUS, ChatSessions
from callcenter_ws.requests.handlers import Handler, Id, accepted_message, message_id_of, sender_fields
from callcenter_ws.requests.quotas import Quotas
from callcenter_ws.requests.sender_rate import SenderRate
from callcenter_ws.runtime.clock import Clock

MAX_NAME_CHARACTERS = 100
MAX_EMAIL_CHARACTERS = 254
"""Of what a visitor says of itself."""

_PART = r"[^\s@\x00-\x20\x7f-\x9f<>()\[\]\\,;:\"\u061c\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]+"
_EMAIL = rf"^({_PART}@{_PART})?\Z"
"""One address, or none: without names, comments, further addresses, line ends, and characters that change how it is
read."""

MAX_REMEMBERED = 10_000
"""Sessions of which the last message is remembered that was reported as received."""


class WidgetQueues(Protocol):
    """The queues of the chat widgets."""

    def open_queues(self, tenant_id: str) -> Collection[str]:
        """Return the queues that every visitor of a tenant may name."""

    def queue_of(self, tenant_id: str) -> str | None:
        """Return the queue of chats of which the visitor names none."""


class NewChat(msgspec.Struct):
    """The payload of ``chat.start``. What the token says of the visitor takes precedence."""

    body: Annotated[str, Meta(min_length=1)]
    client_message_id: Id
    visitor_name: Annotated[str, Meta(max_length=MAX_NAME_CHARACTERS)] | None = None
    visitor_email: Annotated[str, Meta(max_length=MAX_EMAIL_CHARACTERS, pattern=_EMAIL)] | None = None
    queue_name: Id | None = None
    is_offline: bool = False


class ChatStartHandler(Handler):
    """Opens the session of a visitor, with what is known of the visitor, and publishes the first message."""

    name = "chat.start"
    payload = NewChat

    def __init__(self, chats: ChatSessions, queues: WidgetQueues, quotas: Quotas) -> None:
        self._chats = chats
        self._queues = queues
        self._quotas = quotas

    async def handle(self, client: Client, payload: NewChat, request_id: RequestId) -> None:
        """Answer ``accepted`` with the message's identifiers; a repetition is answered with the first ones."""
        visitor = client.principal
        session_id = _own_session(visitor)
        opening = {
            "session_id": session_id,
            "visitor_name": visitor.name or _name(payload.visitor_name),
            "visitor_email": payload.visitor_email or None,
            "queue_name": self._queue(visitor, payload.queue_name),
            "status": OFFLINE_STATUS if payload.is_offline else OPENED_STATUS,
        }
        message_id = message_id_of(visitor, session_id, payload.client_message_id)
        message = {
            "session_id": session_id,
            "message_id": message_id,
            **sender_fields(visitor, session_id),
            "body": payload.body,
            "client_message_id": payload.client_message_id,
        }
        self._quotas.use_history(visitor, len(payload.body.encode()))
        published = await self._chats.start(visitor, opening, message, event_id=message_id)
        answer = accepted_message(session_id, message_id, payload.client_message_id, published)
        client.send(control_frame("accepted", answer, in_reply_to=request_id))

    def _queue(self, visitor: Principal, named: str | int | None) -> str | None:
        """Return the queue of the chat.

        Raises:
            Refusal: ``forbidden``: the visitor names one that is not open to it.
        """
        if named is None:
            return self._queues.queue_of(visitor.tenant_id)
        name = str(named)
        if name not in self._queues.open_queues(visitor.tenant_id) and name not in (visitor.queues or ()):
            text = "queue_name: not among the queues that tenants.NAME.widget opens to visitors"
            raise Refusal(ErrorCode.FORBIDDEN, text)
        return name


class ReceivedMessage(msgspec.Struct):
    """The payload of ``chat.delivered``."""

    session_id: Id
    message_id: Id


class ChatDeliveredHandler(Handler):
    """Publishes that the page of a visitor has received a message, and all before it."""

    name = "chat.delivered"
    payload = ReceivedMessage

    def __init__(self, chats: ChatSessions, clock: Clock, quotas: Quotas) -> None:
        self._chats = chats
        self._quotas = quotas
        self._rate = SenderRate(self.name, clock)
        # By tenant and session, the message that was reported last.
        self._last: dict[tuple[str, str], str] = {}

    async def handle(self, client: Client, payload: ReceivedMessage, request_id: RequestId) -> None:
        """Publish without an answer, or refuse what comes too fast. What was said last is not published again."""
        visitor = client.principal
        session_id = _own_session(visitor, payload.session_id)
        key, message_id = (visitor.tenant_id, session_id), str(payload.message_id)
        if self._last.get(key) == message_id:
            return
        self._rate.check(visitor, session_id)
        self._quotas.use_history(visitor, 0, typing=True)
        event = {"session_id": session_id, "message_id": message_id}
        await self._chats.publish_in_open_session(visitor, self.name, event)
        self._last.pop(key, None)
        self._last[key] = message_id
        if len(self._last) > MAX_REMEMBERED:
            del self._last[next(iter(self._last))]


class EndedChat(msgspec.Struct):
    """The payload of ``chat.end``."""

    session_id: Id


class ChatEndHandler(Handler):
    """Ends the session of a visitor."""

    name = "chat.end"
    payload = EndedChat

    def __init__(self, chats: ChatSessions, quotas: Quotas) -> None:
        self._chats = chats
        self._quotas = quotas

    async def handle(self, client: Client, payload: EndedChat, request_id: RequestId) -> None:
        """Answer ``accepted``; a repetition is answered with the first result."""
        visitor = client.principal
        session_id = _own_session(visitor, payload.session_id)
        self._quotas.use_history(visitor, 0)
        published = await self._chats.end(visitor, session_id)
        answer = {
            "session_id": session_id,
            "id": published.event_id,
            "seq": published.seq,
            "duplicate": published.duplicate,
        }
        client.send(control_frame("accepted", answer, in_reply_to=request_id))


def _own_session(sender: Principal, named: str | int | None = None) -> str:
    """Return the session of a visitor.

    Raises:
        Refusal: ``forbidden`` for another role, for a visitor without a session, and for another's session.
    """
    if not sender.is_visitor:
        raise Refusal(ErrorCode.FORBIDDEN, f"only visitors may do this, not the role {sender.role}")
    if sender.session_id is None or (named is not None and str(named) != sender.session_id):
        raise Refusal(ErrorCode.FORBIDDEN, "session_id: a visitor writes in its own session only")
    return sender.session_id


def _name(text: str | None) -> str | None:
    """Return the name that a visitor gives; None if it is empty.

    Raises:
        Refusal: ``invalid_message``.
    """
    if text is None or not text.strip():
        return None
    if has_control_character(text):
        raise Refusal(ErrorCode.INVALID_MESSAGE, "payload.visitor_name: control characters are not allowed")
    return text.strip()


def visitor_chat_handlers(
    chats: ChatSessions, queues: WidgetQueues, clock: Clock, quotas: Quotas
) -> tuple[Handler, ...]:
    """Return the handlers of this module."""
    return (
        ChatStartHandler(chats, queues, quotas),
        ChatDeliveredHandler(chats, clock, quotas),
        ChatEndHandler(chats, quotas),
    )
