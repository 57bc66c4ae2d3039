"""GatewayCommands: the commands that the gateway carries out itself, by publishing what they mean."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from twisted.logger import Logger

from callcenter_ws.commands.closing import Closing, CommandCloser, event_id_of, failed
from callcenter_ws.commands.decoding import stored_request, text_of
from callcenter_ws.commands.policy import CommandChoices, CommandPolicy
from callcenter_ws.commands.subjects import Subject
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.commands import CommandOutcome, CommandPayload, CommandRecord, CommandState, OutcomeCode
from callcenter_ws.events.event import ChatWriter, Event, Origin, make_event
from callcenter_ws.events.principal import Principal, Role
from callcenter_ws.interfaces import CommandStore
from callcenter_ws.runtime.background import Spawn
from callcenter_ws.runtime.clock import Clock, unix_ms
from callcenter_ws.runtime.json import JsonObject

DISPOSITION: Final = "call.disposition"
"""The command, and the event that it publishes."""

_TRANSFERRED: Final = "chat.transferred"

_CODES = {
    ErrorCode.NOT_ALLOWED: OutcomeCode.NOT_ALLOWED,
    ErrorCode.NOT_FOUND: OutcomeCode.NOT_FOUND,
    ErrorCode.FORBIDDEN: OutcomeCode.NOT_ALLOWED,
    ErrorCode.UNKNOWN_SESSION: OutcomeCode.NOT_FOUND,
    ErrorCode.OVERLOADED: OutcomeCode.BUSY,
}

_LATE = "the gateway could not do this in time; nothing was done"
_DONE = CommandOutcome(state=CommandState.DONE)

_log = Logger("callcenter_ws.commands")

CheckAgain = Callable[[CommandRecord], Awaitable[Subject]]


class GatewayCommands:
    """Carries out commands of which the source is the gateway.

    What a command publishes and its outcome are appended in one step of the store: there is never one without the
    other.

    Args:
        check_again: raises Refusal if the asker may not have a command carried out any more; else returns what the
            command is about.
        policy: returns what the settings say.
    """

    def __init__(
        self,
        store: CommandStore,
        closer: CommandCloser,
        clock: Clock,
        spawn: Spawn,
        check_again: CheckAgain,
        policy: Callable[[], CommandPolicy],
    ) -> None:
        self._store = store
        self._closer = closer
        self._clock = clock
        self._spawn = spawn
        self._check_again = check_again
        self._policy = policy

    def execute(self, record: CommandRecord) -> None:
        """Carry out a command that was accepted now."""
        self._spawn(self._execute(record))

    async def _execute(self, record: CommandRecord) -> None:
        try:
            try:
                await self._carry_out(record)
            except Refusal as refusal:
                outcome = failed(_CODES.get(refusal.code, OutcomeCode.FAILED), refusal.message)
                await self._closer.close(Closing(record=record, outcome=outcome))
        except Refusal as refusal:
            # The store cannot be reached: the deadline closes it.
            _log.warn("the outcome of the command {name} is not stored: {code}", name=record.name, code=refusal.code)

    async def _carry_out(self, record: CommandRecord) -> None:
        subject = await self._check_again(record)
        dispatched = await self._store.dispatch(record.key, unix_ms(self._clock))
        if dispatched is None:
            return
        if unix_ms(self._clock) >= dispatched.deadline_ms:
            # The store took long to answer, or this process stood still.
            await self._closer.close(Closing(record=dispatched, outcome=failed(OutcomeCode.TIMEOUT, _LATE)))
            return
        await self._closer.close(Closing(record=dispatched, outcome=_DONE, effect=self._effect(dispatched, subject)))

    def _effect(self, record: CommandRecord, subject: Subject) -> Event | None:
        asker, type_, fields = stored_request(record)
        choices = self._policy().choices_of(asker.tenant_id)
        if type_.name == DISPOSITION:
            return self._event(record, DISPOSITION, _disposition(asker, fields, subject, choices))
        session_id = text_of(fields, "session_id")
        agent = next(iter(subject.agents), None)
        if type_.name == "chat.close":
            ended = {"session_id": session_id, "reason": text_of(fields, "reason"), "ended_by": asker.user_id}
            return self._event(record, "chat.session.ended", ended, self._writer(asker))
        to_agent = text_of(fields, "to_agent_id") or asker.user_id
        if agent == to_agent:
            # It is so already.
            return None
        moved = {"session_id": session_id, "to_agent_id": to_agent, "from_agent_id": agent}
        if type_.name == "chat.accept":
            # Of two who accept a chat at once, the second one finds it assigned.
            writer = ChatWriter(agent=asker.user_id, queues=asker.queues)
            return self._event(record, _TRANSFERRED, moved, writer)
        return self._event(record, _TRANSFERRED, moved, self._writer(asker))

    def _writer(self, asker: Principal) -> ChatWriter:
        if asker.role is Role.AGENT and self._policy().agent_chats == "own":
            return ChatWriter(agent=asker.user_id, queues=asker.queues)
        return ChatWriter()

    def _event(
        self, record: CommandRecord, type_: str, fields: JsonObject, chat_writer: ChatWriter | None = None
    ) -> Event:
        event = make_event(
            tenant_id=record.key.tenant_id,
            type_=type_,
            payload={name: value for name, value in fields.items() if value is not None},
            event_id=event_id_of("cmde", record),
            now=self._clock.time(),
            received_at=self._clock.monotonic(),
            origin=Origin.GATEWAY,
        )
        event.chat_writer = chat_writer
        return event


def _disposition(asker: Principal, fields: CommandPayload, subject: Subject, choices: CommandChoices) -> JsonObject:
    call_id, code = text_of(fields, "call_id"), text_of(fields, "code")
    label = next((one.label for one in choices.dispositions if one.code == code), None)
    return {
        "call_id": call_id,
        "queue_name": subject.queue_name,
        "agent_id": asker.user_id,
        "code": code,
        "label": label,
        "note": text_of(fields, "note"),
    }
