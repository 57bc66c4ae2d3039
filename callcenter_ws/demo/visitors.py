"""The chats of visitors that are no part of the model, as the gateway opens them for the widget.

A person at a desk answers them. While there is none, an agent of the model does.
"""

from __future__ import annotations

from dataclasses import dataclass

from callcenter_ws.demo.agents import Agent, AgentPool
from callcenter_ws.demo.sample_data import SMALL_TALK
from callcenter_ws.demo.scheduler import ScheduledCall, Scheduler
from callcenter_ws.runtime.json import JsonObject

_MAX_CHATS = 200
"""Further ones replace the oldest."""

_UNATTENDED_SECONDS = 20.0
"""For so long a message waits for a person before the model answers."""


@dataclass(slots=True, eq=False)
class VisitorChat:
    """One chat. ``next_step`` is what the model does next; ``is_answered``: the visitor has not written last."""

    session_id: str
    agent: Agent | None = None
    turn: int = 0
    is_answered: bool = True
    next_step: ScheduledCall | None = None


class VisitorChats:
    """Answers visitors while there is no person at a desk who does.

    Args:
        prefix: is part of the ids of messages, so that they differ from those of earlier runs.
    """

    def __init__(self, scheduler: Scheduler, agents: AgentPool, prefix: str) -> None:
        self._scheduler = scheduler
        self._agents = agents
        self._prefix = prefix
        self._messages = 0
        self._chats: dict[str, VisitorChat] = {}

    # What others have done

    def written(self, payload: JsonObject) -> None:
        """Learn of a message."""
        chat = self._chat(str(payload["session_id"]))
        if payload.get("sender_type") == "visitor":
            chat.is_answered = False
            self._plan(chat)
        elif not payload.get("private"):
            chat.agent = self._agents.find(str(payload["sender_id"])) or chat.agent
            chat.is_answered = True
            self._cancel(chat)

    def assigned(self, session_id: str, agent_id: str) -> None:
        """Learn who answers a chat now; an agent who is not of the model answers itself."""
        chat = self._chat(session_id)
        chat.agent = self._agents.find(agent_id)
        if chat.agent is None:
            self._forget(chat)
        else:
            self._plan(chat)

    def ended(self, session_id: str) -> None:
        """Go on without a chat."""
        chat = self._chats.get(session_id)
        if chat is not None:
            self._forget(chat)

    def change_player(self) -> None:
        """Let other agents answer: a person has come to a desk, or left it."""
        for chat in list(self._chats.values()):
            self._plan(chat)

    def _chat(self, session_id: str) -> VisitorChat:
        chat = self._chats.get(session_id)
        if chat is None:
            if len(self._chats) >= _MAX_CHATS:
                self._forget(next(iter(self._chats.values())))
            chat = self._chats[session_id] = VisitorChat(session_id)
        return chat

    def _forget(self, chat: VisitorChat) -> None:
        self._cancel(chat)
        del self._chats[chat.session_id]

    @staticmethod
    def _cancel(chat: VisitorChat) -> None:
        if chat.next_step is not None:
            chat.next_step.cancel()
            chat.next_step = None

    # The answers

    def _plan(self, chat: VisitorChat) -> None:
        """Schedule the next step of the model, if it is to answer."""
        self._cancel(chat)
        if chat.is_answered:
            return
        if chat.agent is None:
            self._later(chat, _UNATTENDED_SECONDS)
        elif chat.turn == 0 and not chat.agent.is_played:
            # A person had the chat.
            self._later(chat, _UNATTENDED_SECONDS)
        elif not chat.agent.is_played:
            chat.next_step = self._scheduler.call_later(self._scheduler.random_seconds(1, 2), self._type, chat)

    def _later(self, chat: VisitorChat, seconds: float) -> None:
        chat.next_step = self._scheduler.call_later(seconds, self._take, chat)

    def _take(self, chat: VisitorChat) -> None:
        """Have an agent of the model answer, unless a person is at work who may do it."""
        if chat.agent is None and any(agent.is_played and agent.can_take_chats for agent in self._agents.agents):
            self._later(chat, _UNATTENDED_SECONDS)
            return
        if chat.agent is None:
            free = [agent for agent in self._agents.at_work() if not agent.is_played]
            if not free:
                self._later(chat, _UNATTENDED_SECONDS)
                return
            chat.agent = self._scheduler.random.choice(free)
            payload = {"session_id": chat.session_id, "to_agent_id": chat.agent.user_id}
            self._scheduler.emit("chat.transferred", {**payload, "agent_name": chat.agent.person.name})
        self._type(chat)

    def _type(self, chat: VisitorChat) -> None:
        self._typing(chat, is_typing=True)
        chat.next_step = self._scheduler.call_later(self._scheduler.random_seconds(2, 4), self._write, chat)

    def _write(self, chat: VisitorChat) -> None:
        sender = self._typing(chat, is_typing=False)
        self._messages += 1
        body = SMALL_TALK[min(chat.turn, len(SMALL_TALK) - 1)].format(agent=sender["sender_name"])
        ids = {"session_id": chat.session_id, "message_id": f"answer-{self._prefix}-{self._messages}"}
        self._scheduler.emit("chat.message", {**ids, **sender, "body": body, "private": False})
        chat.turn += 1
        chat.is_answered, chat.next_step = True, None

    def _typing(self, chat: VisitorChat, *, is_typing: bool) -> dict[str, str]:
        """Say whether the agent types; return the fields of the sender."""
        agent = chat.agent
        assert agent is not None  # noqa: S101 - narrows the type
        sender = {"sender_id": agent.user_id, "sender_name": agent.person.name, "sender_type": "agent"}
        self._scheduler.emit("chat.typing", {"session_id": chat.session_id, **sender, "is_typing": is_typing})
        return sender
