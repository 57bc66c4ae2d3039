"""Queue and agent of each chat session, remembered because most events of a session name neither.

Which agents may see an event of a session, and write into it, depends on the queue and the agent of the session at that
time (``[policy] agent_chats``). Ended sessions are remembered too, so that a late message does not open them again.
"""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.event import UNASSIGNED, ChatWriter, Event

CHAT_LIFETIME = 86_400.0
"""Seconds after its last event for which a chat session is remembered, whether open or ended."""

MAX_CHATS = 50_000
"""Sessions remembered per tenant; the one longest without an event is removed first."""

STARTED = "chat.session.started"
_ASSIGNING_TYPES = frozenset({STARTED, "chat.transferred"})
_ENDED = "chat.session.ended"


class ChatRecord(msgspec.Struct, gc=False):
    """One chat session; not scanned by the garbage collector, since it refers to texts and numbers only.

    Attributes:
        agent: the agent that it is assigned to; None: unassigned.
        touched_at: when its last event was received, in seconds of the monotonic clock.
    """

    queue_name: str | None = None
    agent: str | None = None
    is_open: bool = True
    touched_at: float = 0.0


class ChatTable:
    """The chat sessions of one tenant. Events for one user (``user_id``) change nothing here."""

    def __init__(self) -> None:
        # Ordered by last event, the oldest first.
        self._chats: OrderedDict[str, ChatRecord] = OrderedDict()

    def __len__(self) -> int:
        return len(self._chats)

    def refusal_of(self, event: Event) -> Refusal | None:
        """Return why the condition ``event.chat_writer`` is not met; None when it is, or there is none."""
        writer = event.chat_writer
        if writer is None:
            return None
        self.forget_before(event.received_at - CHAT_LIFETIME)
        chat = self._chats.get(event.chat_id or "")
        if event.type.name == STARTED:
            return None if chat is None else not_open()
        if not (writer.any_session or (chat is not None and chat.is_open)):
            return not_open()
        return None if chat is None or _may_write(writer, chat) else not_assigned()

    def complete(self, event: Event) -> None:
        """Add the queue and the agents of its session to a chat event, and remember those that it names.

        The agents of an event are the session's agent; of one that assigns the session, the agent before and the agent
        after it, in this order, so that both learn of it. ``UNASSIGNED`` stands for no agent. Changes
        ``event.queue_name`` and ``event.agents``, which determine who may see it; never the payload.
        """
        self.forget_before(event.received_at - CHAT_LIFETIME)
        chat_id = event.chat_id
        if chat_id is None or event.user_id is not None:
            return
        chat = self._chats.pop(chat_id, None)
        if event.type.name in _ASSIGNING_TYPES:
            chat = _assign(chat, event)
        else:
            if chat is None:
                if event.type.name != _ENDED:
                    return
                chat = ChatRecord(event.queue_name)
            event.queue_name = event.queue_name or chat.queue_name
            event.agents = () if chat.agent is None else (chat.agent,)
            chat.is_open = chat.is_open and event.type.name != _ENDED
        chat.touched_at = event.received_at
        self._chats[chat_id] = chat
        if len(self._chats) > MAX_CHATS:
            self._chats.popitem(last=False)

    def restore(self, session_id: str, chat: ChatRecord) -> None:
        """Add a session read from the store; sessions must be added in the order of ``touched_at``."""
        self._chats.pop(session_id, None)
        self._chats[session_id] = chat

    def get(self, session_id: str) -> ChatRecord | None:
        """Return a session; None when it is not remembered."""
        return self._chats.get(session_id)

    def forget_before(self, received_at: float) -> None:
        """Remove sessions whose last event was received before this time of the monotonic clock."""
        while self._chats and next(iter(self._chats.values())).touched_at < received_at:
            self._chats.popitem(last=False)


def not_open() -> Refusal:
    """Return the refusal of an event of a session that is not open."""
    return Refusal(ErrorCode.UNKNOWN_SESSION, "session_id: there is no open chat session with this id")


def not_assigned() -> Refusal:
    """Return the refusal of an event that an agent writes into a session that it may not see."""
    return Refusal(ErrorCode.FORBIDDEN, "session_id: the chat is assigned to another agent or waits in another queue")


def _may_write(writer: ChatWriter, chat: ChatRecord) -> bool:
    """Return whether the writer may see the session; the rule is that of ``events.visibility``."""
    if writer.agent is None or writer.agent == chat.agent:
        return True
    if chat.agent is not None:
        return False
    return writer.queues is None or chat.queue_name is None or chat.queue_name in writer.queues


def _assign(chat: ChatRecord | None, event: Event) -> ChatRecord:
    """Return the record of a session after ``event``, which assigns it; set the queue and the agents of the event."""
    named = event.agents
    agent = named[-1] if named else None
    before: tuple[str, ...] = ()
    if chat is not None and chat.is_open:
        before = (chat.agent or UNASSIGNED,)
    elif event.type.name != STARTED:
        # Not known here: clients that saw it saw it as unassigned.
        before = (UNASSIGNED,)
    if event.type.name != STARTED and chat is not None:
        event.queue_name = event.queue_name or chat.queue_name
    concerned = (*before, *named, agent or UNASSIGNED)
    agents = tuple(dict.fromkeys(reversed(concerned)))[::-1]
    event.agents = () if agents == (UNASSIGNED,) else agents
    return ChatRecord(event.queue_name, agent)
