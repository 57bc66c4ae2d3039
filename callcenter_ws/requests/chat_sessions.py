"""Into which chat sessions a client writes, and the sessions that visitors open by their first message."""

from __future__ import annotations

import hashlib

import msgspec

from callcenter_ws.broker.ingest import EventBroadcaster
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.event import ChatWriter, Origin
from callcenter_ws.events.principal import Principal, Role
from callcenter_ws.events.visibility import AgentChats
from callcenter_ws.interfaces import PublishResult, SourceCapabilities
from callcenter_ws.requests.quotas import Quotas
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.json import JsonObject
from callcenter_ws.runtime.one_at_a_time import OneAtATime

OPENED_STATUS = "waiting"
"""The ``status`` of a session that the gateway opens."""

OFFLINE_STATUS = "offline_message"
"""The same if the visitor leaves a message, and waits for no answer."""


class ChatSessions:
    """Publishes what clients write, if their session is open and they may write into it.

    The store checks that, in the step that appends the event: no node needs to know the sessions, and no transfer or
    end can come in between.

    What clients write is published in the order in which it was received. The store appends in the order of its calls.
    What a visitor writes may need a second call, after the one that opens the session; therefore the events of a
    visitor's session, over all its connections to this node, are published one at a time.

    Args:
        sources: whether daemons open and end the chats of a tenant.
        quotas: a session that the gateway opens counts as a message of its visitor.

    Attributes:
        agent_chats: the policy for agents (``events.visibility``); may be changed.
        open_sessions: whether clients may write into sessions that are not open; may be changed.
    """

    def __init__(
        self,
        broadcaster: EventBroadcaster,
        sources: SourceCapabilities,
        quotas: Quotas,
        clock: Clock,
        *,
        agent_chats: AgentChats = "own",
        open_sessions: bool = False,
    ) -> None:
        self._broadcaster = broadcaster
        self._sources = sources
        self._quotas = quotas
        self.agent_chats = agent_chats
        self.open_sessions = open_sessions
        self._visitors = OneAtATime(clock, "messages of this chat session")

    async def publish(
        self, sender: Principal, type_: str, payload: JsonObject, *, event_id: str | None = None
    ) -> PublishResult:
        """Publish an event of a chat.

        Raises:
            Refusal: ``unknown_session`` for a session that is not open, ``forbidden`` for an agent who may not see it,
                ``overloaded`` when too much waits for the store.
        """
        if not sender.is_visitor or self.open_sessions:
            return await self._publish(sender, type_, payload, event_id, self._writer(sender))
        size = len(payload.get("body", "").encode())
        return await self._visitors.run(
            (sender.tenant_id, str(payload["session_id"])),
            size,
            lambda: self._publish_of_visitor(sender, type_, payload, event_id),
        )

    async def start(
        self, visitor: Principal, opening: JsonObject, message: JsonObject, *, event_id: str
    ) -> PublishResult:
        """Open a visitor's session, unless it is open, and publish a message in it; return the result of the message.

        Args:
            opening: the payload of ``chat.session.started``; fields that are None are left out.
            event_id: of the message.

        Raises:
            Refusal: ``unknown_session``: the session has ended, or a daemon opens the chats of this tenant.
        """

        async def start() -> PublishResult:
            if await self._sources.chats_are_owned(visitor.tenant_id):
                raise Refusal(ErrorCode.UNKNOWN_SESSION, "a daemon opens the chat sessions of this tenant")
            await self._open(visitor, opening)
            return await self._publish(visitor, "chat.message", message, event_id, ChatWriter())

        size = len(str(message["body"]).encode())
        return await self._visitors.run((visitor.tenant_id, str(opening["session_id"])), size, start)

    async def end(self, visitor: Principal, session_id: str) -> PublishResult:
        """End a visitor's session.

        Raises:
            Refusal: ``unknown_session``; ``forbidden`` where a daemon ends the chats of this tenant.
        """
        if await self._sources.chats_are_owned(visitor.tenant_id):
            raise Refusal(ErrorCode.FORBIDDEN, "a daemon ends the chat sessions of this tenant")
        ended = {"session_id": session_id, "ended_by": "visitor"}
        event_id = event_id_of_session("chat-end-", visitor.tenant_id, session_id)
        return await self.publish_in_open_session(visitor, "chat.session.ended", ended, event_id=event_id)

    async def publish_in_open_session(
        self, visitor: Principal, type_: str, payload: JsonObject, *, event_id: str | None = None
    ) -> PublishResult:
        """Publish an event of a visitor after everything that the visitor has sent before.

        Raises:
            Refusal: ``unknown_session``: the session is not open, whatever ``open_sessions`` says.
        """
        return await self._visitors.run(
            (visitor.tenant_id, str(payload["session_id"])),
            0,
            lambda: self._publish(visitor, type_, payload, event_id, ChatWriter()),
        )

    async def _publish_of_visitor(
        self, sender: Principal, type_: str, payload: JsonObject, event_id: str | None
    ) -> PublishResult:
        """Publish an event of a visitor; open its session first if it is not open."""
        writer = self._writer(sender)
        try:
            return await self._publish(sender, type_, payload, event_id, writer)
        except Refusal as refusal:
            if refusal.code is not ErrorCode.UNKNOWN_SESSION or not await self._opens(sender.tenant_id, type_):
                raise
        opening = {"session_id": payload["session_id"], "visitor_name": sender.name, "status": OPENED_STATUS}
        await self._open(sender, opening)
        return await self._publish(sender, type_, payload, event_id, writer)

    async def _publish(
        self, sender: Principal, type_: str, payload: JsonObject, event_id: str | None, writer: ChatWriter
    ) -> PublishResult:
        return await self._broadcaster.publish(
            sender.tenant_id, type_, payload, event_id=event_id, origin=Origin.CLIENT, chat_writer=writer
        )

    def _writer(self, sender: Principal) -> ChatWriter:
        if sender.role is Role.AGENT and self.agent_chats == "own":
            return ChatWriter(agent=sender.user_id, queues=sender.queues, any_session=self.open_sessions)
        return ChatWriter(any_session=self.open_sessions)

    async def _opens(self, tenant_id: str, type_: str) -> bool:
        """Return whether the gateway opens the session itself: by a visitor's message, where no source does it."""
        return type_ == "chat.message" and not await self._sources.chats_are_owned(tenant_id)

    async def _open(self, visitor: Principal, opening: JsonObject) -> None:
        """Publish ``chat.session.started``; nothing happens if another node has done it, or the session has ended."""
        self._quotas.use_history(visitor, 0)
        try:
            await self._broadcaster.publish(
                visitor.tenant_id,
                "chat.session.started",
                {name: value for name, value in opening.items() if value is not None},
                event_id=event_id_of_session("chat-open-", visitor.tenant_id, str(opening["session_id"])),
                origin=Origin.GATEWAY,
                chat_writer=ChatWriter(),
            )
        except Refusal as refusal:
            if refusal.code is not ErrorCode.UNKNOWN_SESSION:
                raise


def event_id_of_session(prefix: str, tenant_id: str, session_id: str) -> str:
    """Return the id of an event that a session has once, the same at every node."""
    return prefix + hashlib.sha256(msgspec.json.encode([tenant_id, session_id])).hexdigest()[:40]
