"""The chats of the model: messages of visitors and agents, private notes of agents, and transfers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from callcenter_ws.demo.agents import Agent, AgentPool
from callcenter_ws.demo.sample_data import CALLERS, DEMO_AGENT, DEMO_SESSION, DIALOGUE, PRIVATE_NOTES
from callcenter_ws.demo.scheduler import ScheduledCall, Scheduler, ShuffleBag

_TRANSFERRED = (True, False, False)
_WITH_NOTE = (True, False, False)
_VISITOR_WAITS = (150, 240)
"""For the answer of a person, in seconds."""


@dataclass(slots=True, eq=False)
class Chat:
    """One chat session.

    Attributes:
        is_agents_turn: whether the visitor has written last.
        next_step: what happens to it next.
    """

    session_id: str
    visitor: str
    agent: Agent
    turns: int
    transfer_pending: bool
    has_note: bool
    turn: int = 0
    is_agents_turn: bool = False
    next_step: ScheduledCall | None = None


class ChatSessions:
    """Keeps two chats active: the session of the ready-made visitor token, repeatedly, and one with changing visitors.

    A person at a desk gets chats of the first kind only, and answers them itself.

    Args:
        prefix: is part of the ids of sessions and messages, so that they differ from those of earlier runs.
    """

    def __init__(self, scheduler: Scheduler, agents: AgentPool, prefix: str) -> None:
        self._scheduler = scheduler
        self._agents = agents
        self._prefix = prefix
        self._sessions = 0
        self._messages = 0
        self._chats: dict[str, Chat] = {}
        self._transferred = ShuffleBag(scheduler.random, _TRANSFERRED)
        self._with_note = ShuffleBag(scheduler.random, _WITH_NOTE)

    def open(self) -> None:
        """Schedule the first sessions."""
        self._scheduler.call_later(14, self._start, DEMO_SESSION)
        self._scheduler.call_later(24, self._start, None)

    # What others do with a chat: the gateway carries out the commands about chats itself.

    def has(self, session_id: str) -> bool:
        """Whether this is a chat of the model."""
        return session_id in self._chats

    def person_wrote(self, session_id: str, message_id: str) -> None:
        """Let the visitor go on after a message of an agent that a person plays."""
        chat = self._chats.get(session_id)
        if chat is not None:
            self._scheduler.emit("chat.delivered", {"session_id": session_id, "message_id": message_id})
        if chat is not None and chat.is_agents_turn and chat.agent.is_played:
            if chat.next_step is not None:
                chat.next_step.cancel()
            self._after_answer(chat)

    def change_player(self, agent: Agent) -> None:
        """Let the chats of an agent go on that is played by a person from now on, or by the model again."""
        for chat in [chat for chat in self._chats.values() if chat.agent is agent]:
            self._await_answer(chat)

    def ended_by_others(self, session_id: str) -> None:
        """Go on without a chat that has ended."""
        chat = self._chats.get(session_id)
        if chat is not None:
            self._forget(chat)

    def transferred_by_others(self, session_id: str, to_agent_id: str) -> None:
        """Have another agent write from now on; an agent who is not of the model writes itself."""
        chat = self._chats.get(session_id)
        if chat is None:
            return
        agent = next((agent for agent in self._agents.agents if agent.user_id == to_agent_id), None)
        if agent is None:
            self._forget(chat)
        elif agent is not chat.agent:
            chat.agent.chats -= 1
            agent.chats += 1
            chat.agent = agent
            self._await_answer(chat)

    def _forget(self, chat: Chat) -> None:
        if chat.next_step is not None:
            chat.next_step.cancel()
        del self._chats[chat.session_id]
        chat.agent.chats -= 1
        reused_id = chat.session_id if chat.session_id == DEMO_SESSION else None
        self._scheduler.call_later(self._scheduler.random_seconds(4, 15), self._start, reused_id)

    def _then(self, chat: Chat, low: float, high: float, step: Callable[[Chat], None]) -> None:
        chat.next_step = self._scheduler.call_later(self._scheduler.random_seconds(low, high), step, chat)

    # A session

    def _start(self, reused_id: str | None) -> None:
        agent = self._free_agent(is_demo_session=reused_id is not None)
        if agent is None:
            self._scheduler.call_later(5, self._start, reused_id)
            return
        agent.chats += 1
        self._sessions += 1
        chat = Chat(
            session_id=reused_id or f"chat-{self._prefix}-{self._sessions}",
            visitor="Demo Visitor" if reused_id else self._scheduler.random.choice(CALLERS),
            agent=agent,
            turns=self._scheduler.random.randint(3, len(DIALOGUE)),
            transfer_pending=self._transferred.draw(),
            has_note=self._with_note.draw(),
        )
        self._chats[chat.session_id] = chat
        self._scheduler.emit(
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
        self._then(chat, 1, 3, self._visitor_types)

    def _free_agent(self, *, is_demo_session: bool) -> Agent | None:
        demo_agent = self._agents.find(DEMO_AGENT.user_id)
        if is_demo_session and demo_agent is not None and self._may_chat(demo_agent):
            # The pages of the visitor and of the agent show the same chat: an agent sees its own only.
            return demo_agent
        free = [agent for agent in self._agents.available() if not (agent.chats or agent.is_played)]
        return self._scheduler.random.choice(free) if free else None

    @staticmethod
    def _may_chat(agent: Agent) -> bool:
        """Return whether the agent is free for a chat; a person may have one beside a call."""
        return not agent.chats and (agent.can_take_chats if agent.is_played else agent.state == "available")

    def _visitor_types(self, chat: Chat) -> None:
        self._typing(chat, "visitor", is_typing=True)
        self._then(chat, 2, 5, self._visitor_writes)

    def _visitor_writes(self, chat: Chat) -> None:
        self._typing(chat, "visitor", is_typing=False)
        self._write(chat, "visitor", DIALOGUE[chat.turn][0])
        if chat.has_note and chat.turn == 1 and not chat.agent.is_played:
            self._write(chat, "agent", self._scheduler.random.choice(PRIVATE_NOTES), private=True)
        if chat.transfer_pending and chat.turn >= 1 and not chat.agent.is_played:
            self._transfer(chat)
        chat.is_agents_turn = True
        self._await_answer(chat)

    def _await_answer(self, chat: Chat) -> None:
        """Let the visitor wait for the answer of a person, or the model answer for its agent."""
        if not chat.is_agents_turn:
            return
        if chat.next_step is not None:
            chat.next_step.cancel()
        if chat.agent.is_played:
            self._then(chat, *_VISITOR_WAITS, self._give_up)
        else:
            self._then(chat, 1, 3, self._agent_types)

    def _give_up(self, chat: Chat) -> None:
        self._end(chat, "visitor", "no_answer")

    def _agent_types(self, chat: Chat) -> None:
        self._typing(chat, "agent", is_typing=True)
        self._then(chat, 2, 6, self._agent_writes)

    def _agent_writes(self, chat: Chat) -> None:
        self._typing(chat, "agent", is_typing=False)
        message_id = self._write(chat, "agent", DIALOGUE[chat.turn][1])
        self._scheduler.emit("chat.delivered", {"session_id": chat.session_id, "message_id": message_id})
        self._after_answer(chat)

    def _after_answer(self, chat: Chat) -> None:
        chat.is_agents_turn = False
        chat.turn += 1
        if chat.turn < chat.turns:
            self._then(chat, 2, 6, self._visitor_types)
        else:
            self._then(chat, 2, 4, self._end)

    def _transfer(self, chat: Chat) -> None:
        colleagues = [agent for agent in self._agents.at_work() if not (agent.chats or agent.is_played)]
        if not colleagues:
            return
        chat.transfer_pending = False
        colleague = self._scheduler.random.choice(colleagues)
        transferring, chat.agent = chat.agent, colleague
        transferring.chats -= 1
        colleague.chats += 1
        self._scheduler.emit(
            "chat.transferred",
            {
                "session_id": chat.session_id,
                "from_agent_id": transferring.user_id,
                "to_agent_id": colleague.user_id,
                "agent_name": colleague.person.name,
            },
        )

    def _end(self, chat: Chat, ended_by: str | None = None, reason: str = "resolved") -> None:
        if ended_by is None:
            ended_by = "visitor" if chat.agent.is_played else self._scheduler.random.choice(("visitor", "agent"))
        payload = {"session_id": chat.session_id, "reason": reason, "ended_by": ended_by}
        self._scheduler.emit("chat.session.ended", payload)
        self._forget(chat)

    def _sender(self, chat: Chat, sender_type: str) -> dict[str, str]:
        if sender_type == "visitor":
            return {"sender_id": f"visitor-{chat.session_id}", "sender_name": chat.visitor, "sender_type": "visitor"}
        agent = chat.agent
        return {"sender_id": agent.user_id, "sender_name": agent.person.name, "sender_type": "agent"}

    def _typing(self, chat: Chat, sender_type: str, *, is_typing: bool) -> None:
        payload = {"session_id": chat.session_id, **self._sender(chat, sender_type), "is_typing": is_typing}
        self._scheduler.emit("chat.typing", payload)

    def _write(self, chat: Chat, sender_type: str, body: str, *, private: bool = False) -> str:
        """Write a message and return its id."""
        self._messages += 1
        message_id = f"message-{self._prefix}-{self._messages}"
        self._scheduler.emit(
            "chat.message",
            {
                "session_id": chat.session_id,
                "message_id": message_id,
                **self._sender(chat, sender_type),
                "body": body,
                "private": private,
            },
        )
        return message_id
