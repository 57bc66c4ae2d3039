"""One Handler for each type of message that a client may send (``docs/protocol.rst``, "Messages from the client")."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

from callcenter_ws.auth.revocation import Revocations
from callcenter_ws.delivery.catch_up_requests import ReplayRequest, SnapshotRequest
from callcenter_ws.delivery.client import Client
from callcenter_ws.delivery.snapshot_cache import RequestId
from callcenter_ws.delivery.subscription import MAX_NAMES, QueueChange, SubscriptionChange
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.frames import control_frame
from callcenter_ws.events.principal import Principal, Role
from callcenter_ws.events.ulid import UlidFactory
from callcenter_ws.interfaces import Authenticator, PublishResult
from callcenter_ws.requests.chat_sessions import ChatSessions
from callcenter_ws.requests.quotas import Quotas
from callcenter_ws.requests.request import Request
from callcenter_ws.requests.sender_rate import SenderRate
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.json import Integer, rfc3339
from callcenter_ws.runtime.suggestions import did_you_mean

Name = Annotated[str, Meta(min_length=1, max_length=255)]
Id = Name | Integer
Names = Annotated[list[Name], Meta(min_length=1, max_length=MAX_NAMES)]

_SENDER_TYPES = {Role.VISITOR: "visitor", Role.AGENT: "agent", Role.SUPERVISOR: "agent", Role.ADMIN: "agent"}


class Handler(ABC):
    """Handles one type of message.

    Attributes:
        name: the ``type`` on the wire.
        payload: the declaration by which the payload is decoded; unknown fields are skipped.
        refuses_misspellings: whether unknown fields are refused whose names are close to those of known ones. All
            fields are optional: a misspelled one would mean that the client is sent more than it asked for.
    """

    name: ClassVar[str]
    payload: ClassVar[type[msgspec.Struct]]
    refuses_misspellings: ClassVar[bool] = False

    def decode(self, request: Request, decoder: msgspec.json.Decoder[Any]) -> Any:  # of the type in ``payload``
        """Return the payload of a request, as ``handle`` is given it.

        Args:
            decoder: decodes what is declared.

        Raises:
            Refusal: ``invalid_message`` with the path of the invalid field.
        """
        payload = request.checked_payload(self.payload, decoder)
        if self.refuses_misspellings:
            request.check_names(self.payload)
        return payload

    @abstractmethod
    async def handle(self, client: Client, payload: Any, request_id: RequestId) -> None:  # of the type in ``payload``
        """Carry out the request of ``client`` and answer it.

        Raises:
            Refusal: sent to the client as an ``error``; the connection stays open.
        """


class Handlers:
    """The handlers by type of message."""

    def __init__(self, *handlers: Handler) -> None:
        self._by_type = {handler.name: (handler, msgspec.json.Decoder(handler.payload)) for handler in handlers}

    async def handle(self, client: Client, request: Request, request_id: RequestId) -> None:
        """Decode a request's payload and pass it to its handler.

        Raises:
            Refusal: ``unknown_type``, ``invalid_message`` with the path of the invalid field, or the handler's own.
        """
        type_ = request.checked_type()
        found = self._by_type.get(type_)
        if found is None:
            meant = did_you_mean(type_, self._by_type)
            raise Refusal(ErrorCode.UNKNOWN_TYPE, f"there is no message type {type_[:64]!r}{meant}")
        handler, decoder = found
        await handler.handle(client, handler.decode(request, decoder), request_id)


class Empty(msgspec.Struct):
    """The payload of a message without fields."""


class Wanted(msgspec.Struct):
    """The payload of ``subscribe``; ``queues`` is null for all queues again."""

    events: Names | msgspec.UnsetType = msgspec.UNSET
    queues: Names | msgspec.UnsetType | None = msgspec.UNSET


class Unwanted(msgspec.Struct):
    """The payload of ``unsubscribe``."""

    events: Names | msgspec.UnsetType = msgspec.UNSET
    queues: Names | msgspec.UnsetType = msgspec.UNSET


class SubscribeHandler(Handler):
    """Adds event types and queues to the client's subscription."""

    name = "subscribe"
    payload = Wanted
    refuses_misspellings = True

    async def handle(self, client: Client, payload: Wanted, request_id: RequestId) -> None:
        """Have ``subscribed`` sent, with the complete lists then in force."""
        client.change_subscription(_change(payload, removes=False), request_id)


class UnsubscribeHandler(Handler):
    """Removes event types and queues from the client's subscription."""

    name = "unsubscribe"
    payload = Unwanted
    refuses_misspellings = True

    async def handle(self, client: Client, payload: Unwanted, request_id: RequestId) -> None:
        """Have ``subscribed`` sent, with the complete lists then in force."""
        client.change_subscription(_change(payload, removes=True), request_id)


def _change(payload: Wanted | Unwanted, *, removes: bool) -> SubscriptionChange:
    events, queues = payload.events, payload.queues
    if isinstance(events, msgspec.UnsetType):
        if isinstance(queues, msgspec.UnsetType):
            raise Refusal(ErrorCode.INVALID_MESSAGE, "payload.events: required, unless queues are given")
        events = []
    if isinstance(queues, msgspec.UnsetType):
        return SubscriptionChange(events, QueueChange.NONE, removes)
    return SubscriptionChange(events, QueueChange.ALL if queues is None else queues, removes)


class SnapshotHandler(Handler):
    """Sends the tenant's state."""

    name = "snapshot"
    payload = Empty

    async def handle(self, client: Client, payload: Empty, request_id: RequestId) -> None:
        """Have the snapshot sent at its position in the stream."""
        client.request(SnapshotRequest(request_id))


class StreamPosition(msgspec.Struct):
    """The payload of ``resume``."""

    epoch: Name
    seq: Annotated[int, Meta(ge=0, le=2**53)]


class ResumeHandler(Handler):
    """Replays what a client missed."""

    name = "resume"
    payload = StreamPosition

    async def handle(self, client: Client, payload: StreamPosition, request_id: RequestId) -> None:
        """Have everything after the position sent."""
        client.request(ReplayRequest(payload.epoch, payload.seq, request_id))


class MessageIds(msgspec.Struct):
    """The payload of ``ack``."""

    ids: Annotated[list[Name], Meta(max_length=1_000)]


class AckHandler(Handler):
    """Accepts acknowledgements of mailbox messages."""

    name = "ack"
    payload = MessageIds

    async def handle(self, client: Client, payload: MessageIds, request_id: RequestId) -> None:
        """Acknowledge the messages; there is no answer."""
        client.mailbox_acks.acknowledged(payload.ids)


class PingHandler(Handler):
    """Answers a client's own keepalive."""

    name = "ping"
    payload = Empty

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def handle(self, client: Client, payload: Empty, request_id: RequestId) -> None:
        """Answer with the server's time."""
        client.send(control_frame("pong", {"server_time": rfc3339(self._clock.time())}, in_reply_to=request_id))


class FreshToken(msgspec.Struct):
    """The payload of ``auth``."""

    token: str


class AuthHandler(Handler):
    """Extends a session in place by a new token of the same user."""

    name = "auth"
    payload = FreshToken

    def __init__(self, authenticator: Authenticator, revocations: Revocations) -> None:
        self._authenticator = authenticator
        self._revocations = revocations

    async def handle(self, client: Client, payload: FreshToken, request_id: RequestId) -> None:
        """Answer with the new end of the session."""
        fresh = self._authenticator.verify(payload.token)
        if fresh.every_tenant:
            fresh = fresh.narrow(client.principal.tenant_id)
        self._revocations.check(fresh)
        if _identity_of(fresh) != _identity_of(client.principal):
            raise Refusal(ErrorCode.FORBIDDEN, "the new token is another user's, tenant's, role's or session's")
        client.renew(fresh)
        expires_at = None if fresh.expires_at is None else rfc3339(fresh.expires_at)
        client.send(control_frame("session.extended", {"expires_at": expires_at}, in_reply_to=request_id))


def _identity_of(principal: Principal) -> tuple[str, str, Role, str | None]:
    return principal.tenant_id, principal.user_id, principal.role, principal.session_id


class ChatText(msgspec.Struct):
    """The payload of ``chat.message``; fields that describe the sender are ignored."""

    session_id: Id
    body: Annotated[str, Meta(min_length=1)]
    client_message_id: Id | None = None


class ChatMessageHandler(Handler):
    """Publishes what a visitor or an agent writes, with the sender of the token."""

    name = "chat.message"
    payload = ChatText

    def __init__(self, chats: ChatSessions, clock: Clock, quotas: Quotas) -> None:
        self._chats = chats
        self._quotas = quotas
        self._new_id = UlidFactory(clock.time)

    async def handle(self, client: Client, payload: ChatText, request_id: RequestId) -> None:
        """Answer ``accepted`` with the message's identifiers; a repetition is answered with the first ones."""
        sender = sender_fields(client.principal, payload.session_id)
        known_id = payload.client_message_id
        message_id = (
            self._new_id() if known_id is None else message_id_of(client.principal, payload.session_id, known_id)
        )
        text = {"session_id": payload.session_id, "message_id": message_id, **sender, "body": payload.body}
        if payload.client_message_id is not None:
            text["client_message_id"] = payload.client_message_id
        self._quotas.use_history(client.principal, len(payload.body.encode()))
        published = await self._chats.publish(client.principal, self.name, text, event_id=message_id)
        answer = accepted_message(payload.session_id, message_id, known_id, published)
        client.send(control_frame("accepted", answer, in_reply_to=request_id))


class TypingState(msgspec.Struct):
    """The payload of ``chat.typing``."""

    session_id: Id
    is_typing: bool


class ChatTypingHandler(Handler):
    """Publishes that a visitor or an agent is typing, at most once a second per session and sender."""

    name = "chat.typing"
    payload = TypingState

    def __init__(self, chats: ChatSessions, clock: Clock, quotas: Quotas) -> None:
        self._chats = chats
        self._quotas = quotas
        self._rate = SenderRate("chat.typing", clock)

    async def handle(self, client: Client, payload: TypingState, request_id: RequestId) -> None:
        """Publish without an answer, or refuse what comes too fast."""
        sender = sender_fields(client.principal, payload.session_id)
        self._rate.check(client.principal, str(payload.session_id))
        self._quotas.use_history(client.principal, 0, typing=True)
        event = {"session_id": payload.session_id, **sender, "is_typing": payload.is_typing}
        await self._chats.publish(client.principal, self.name, event)


def sender_fields(sender: Principal, session_id: str | int) -> dict[str, object]:
    """Return the fields that describe the sender, from the token alone.

    Raises:
        Refusal: ``forbidden`` for a role that does not chat and for a visitor in another's session.
    """
    sender_type = _SENDER_TYPES.get(sender.role)
    if sender_type is None:
        raise Refusal(ErrorCode.FORBIDDEN, f"the role {sender.role} takes no part in chats")
    if sender.role is Role.VISITOR and str(session_id) != sender.session_id:
        raise Refusal(ErrorCode.FORBIDDEN, "session_id: a visitor writes in its own session only")
    fields: dict[str, object] = {"sender_id": sender.user_id, "sender_type": sender_type}
    return fields if sender.name is None else {**fields, "sender_name": sender.name}


def message_id_of(sender: Principal, session_id: str | int, client_message_id: str | int) -> str:
    """Return the same id for the same ``client_message_id``, so that the broker recognizes a repetition."""
    origin = [sender.tenant_id, sender.role, sender.user_id, str(session_id), str(client_message_id)]
    return "chat-" + hashlib.sha256(msgspec.json.encode(origin)).hexdigest()[:40]


def accepted_message(
    session_id: str | int, message_id: str, client_message_id: str | int | None, published: PublishResult
) -> dict[str, object]:
    """Return the payload of the answer to a message of a chat that was published."""
    return {
        "session_id": session_id,
        "message_id": message_id,
        "client_message_id": client_message_id,
        "id": published.event_id,
        "seq": published.seq,
        "duplicate": published.duplicate,
    }


def all_handlers(
    chats: ChatSessions,
    authenticator: Authenticator,
    revocations: Revocations,
    clock: Clock,
    quotas: Quotas,
    *further: Handler,
) -> Handlers:
    """Return the handlers of everything that a client may say.

    Args:
        further: handlers of other modules.
    """
    return Handlers(
        SubscribeHandler(),
        UnsubscribeHandler(),
        SnapshotHandler(),
        ResumeHandler(),
        AckHandler(),
        PingHandler(clock),
        AuthHandler(authenticator, revocations),
        ChatMessageHandler(chats, clock, quotas),
        ChatTypingHandler(chats, clock, quotas),
        *further,
    )
