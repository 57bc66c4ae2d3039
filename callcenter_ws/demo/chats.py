"""ChatDesk: visitors who write, agents who answer, notes that only agents see."""

from __future__ import annotations

from dataclasses import dataclass

from callcenter_ws.demo.agents import Agent, Floor
from callcenter_ws.demo.sample_data import CALLERS, DEMO_SESSION, DIALOGUE, PRIVATE_NOTES
from callcenter_ws.demo.scheduler import Deck, Story

_PASSED_ON = (True, False, False)
_NOTED = (True, False, False)


@dataclass(slots=True, eq=False)
class Chat:
    """One chat session."""

    session_id: str
    visitor: str
    agent: Agent
    turns: int
    to_pass_on: bool
    to_note: bool
    turn: int = 0


class ChatDesk:
    """Keeps two chats going: that of the ready-made visitor token, again and again, and one of many others.

    Args:
        prefix: what makes the ids of this model unlike those of an earlier run.
    """

    def __init__(self, story: Story, floor: Floor, prefix: str) -> None:
        self._story = story
        self._floor = floor
        self._prefix = prefix
        self._sessions = 0
        self._messages = 0
        self._to_pass_on = Deck(story.random, _PASSED_ON)
        self._noted = Deck(story.random, _NOTED)

    def open(self) -> None:
        """Let the first visitors come."""
        self._story.later(14, self._start, DEMO_SESSION)
        self._story.later(24, self._start, None)

    def _start(self, lasting_id: str | None) -> None:
        agent = self._free_agent()
        if agent is None:
            self._story.later(5, self._start, lasting_id)
            return
        agent.chats += 1
        self._sessions += 1
        chat = Chat(
            session_id=lasting_id or f"chat-{self._prefix}-{self._sessions}",
            visitor="Demo Visitor" if lasting_id else self._story.random.choice(CALLERS),
            agent=agent,
            turns=self._story.random.randint(3, len(DIALOGUE)),
            to_pass_on=self._to_pass_on.deal(),
            to_note=self._noted.deal(),
        )
        self._story.tell(
            "chat.session.started",
            {
                "session_id": chat.session_id,
                "visitor_name": chat.visitor,
                "visitor_email": f"{chat.visitor.lower().replace(' ', '.')}@example.com",
                "queue_name": agent.person.queues[0],
                "agent_id": agent.user_id,
                "agent_name": agent.person.name,
                "status": "active",
            },
        )
        self._story.later(self._story.between(1, 3), self._visitor_types, chat)

    def _free_agent(self) -> Agent | None:
        free = [agent for agent in self._floor.available() if not agent.chats]
        return self._story.random.choice(free) if free else None

    def _visitor_types(self, chat: Chat) -> None:
        self._typing(chat, "visitor", is_typing=True)
        self._story.later(self._story.between(2, 5), self._visitor_writes, chat)

    def _visitor_writes(self, chat: Chat) -> None:
        self._typing(chat, "visitor", is_typing=False)
        self._write(chat, "visitor", DIALOGUE[chat.turn][0])
        if chat.to_note and chat.turn == 1:
            self._write(chat, "agent", self._story.random.choice(PRIVATE_NOTES), private=True)
        if chat.to_pass_on and chat.turn >= 1:
            self._pass_on(chat)
        self._story.later(self._story.between(1, 3), self._agent_types, chat)

    def _agent_types(self, chat: Chat) -> None:
        self._typing(chat, "agent", is_typing=True)
        self._story.later(self._story.between(2, 6), self._agent_writes, chat)

    def _agent_writes(self, chat: Chat) -> None:
        self._typing(chat, "agent", is_typing=False)
        self._write(chat, "agent", DIALOGUE[chat.turn][1])
        chat.turn += 1
        if chat.turn < chat.turns:
            self._story.later(self._story.between(2, 6), self._visitor_types, chat)
        else:
            self._story.later(self._story.between(2, 4), self._end, chat)

    def _pass_on(self, chat: Chat) -> None:
        colleagues = [agent for agent in self._floor.at_work() if not agent.chats]
        if not colleagues:
            return
        chat.to_pass_on = False
        colleague = self._story.random.choice(colleagues)
        giver, chat.agent = chat.agent, colleague
        giver.chats -= 1
        colleague.chats += 1
        self._story.tell(
            "chat.transferred",
            {
                "session_id": chat.session_id,
                "from_agent_id": giver.user_id,
                "to_agent_id": colleague.user_id,
                "agent_name": colleague.person.name,
            },
        )

    def _end(self, chat: Chat) -> None:
        chat.agent.chats -= 1
        ended_by = self._story.random.choice(("visitor", "agent"))
        payload = {"session_id": chat.session_id, "reason": "resolved", "ended_by": ended_by}
        self._story.tell("chat.session.ended", payload)
        lasting_id = chat.session_id if chat.session_id == DEMO_SESSION else None
        self._story.later(self._story.between(4, 15), self._start, lasting_id)

    def _sender(self, chat: Chat, sender_type: str) -> dict[str, str]:
        if sender_type == "visitor":
            return {"sender_id": f"visitor-{chat.session_id}", "sender_name": chat.visitor, "sender_type": "visitor"}
        agent = chat.agent
        return {"sender_id": agent.user_id, "sender_name": agent.person.name, "sender_type": "agent"}

    def _typing(self, chat: Chat, sender_type: str, *, is_typing: bool) -> None:
        payload = {"session_id": chat.session_id, **self._sender(chat, sender_type), "is_typing": is_typing}
        self._story.tell("chat.typing", payload)

    def _write(self, chat: Chat, sender_type: str, body: str, *, private: bool = False) -> None:
        self._messages += 1
        self._story.tell(
            "chat.message",
            {
                "session_id": chat.session_id,
                "message_id": f"message-{self._prefix}-{self._messages}",
                **self._sender(chat, sender_type),
                "body": body,
                "private": private,
            },
        )
