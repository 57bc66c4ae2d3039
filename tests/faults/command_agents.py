"""Agents and supervisors who issue commands over WebSockets that are lost and made again, at any of several nodes."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from checker import Ledger, Message, Offer, Reader, Viewer, Violation
from command_evidence import DONE, FAILED, Answer, CommandEvidence, Key, Request, StreamEvent, View
from processes import DEADLINE
from restartable import RestartableGateway
from roaming import RoamingClient
from websockets.exceptions import ConnectionClosed

TRANSIENT = frozenset({"unavailable", "overloaded", "rate_limited", "draining"})
"""Refusals after which the same request is sent again."""

ANSWER_SECONDS = 15.0
"""A client that has waited so long for an answer asks again."""

MAX_PAUSE_SECONDS = 0.3
TIMEOUT_SECONDS = 3.0
SERVICE = "service"


class Call:
    """A call, as clients see it."""

    def __init__(self, call_id: str, agent: str) -> None:
        self.call_id = call_id
        self.agent = agent
        self.has_ended = False


class CommandLedger(Ledger):
    """Accepts events as they arrive, and checks that each is the same for everyone.

    Attributes:
        calls: the answered calls, by tenant and id.
        done: the number of commands that were done.
        services: the users who are no persons, so that outcomes do not wait for them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: dict[tuple[str, str], Call] = {}
        self.done = 0
        self.services: set[str] = set()

    def observe(self, viewer: Viewer, message: Message) -> Offer:
        event = StreamEvent(message["tenant_id"], message["seq"], message["id"], message["type"], message["payload"])
        offer = self.place(event, f"received by {viewer}")
        if not viewer.may_see(offer):
            raise Violation(f"{viewer} must not see {message}")
        return offer

    def place(self, event: StreamEvent, what: str) -> Offer:
        """Check that an event, and no other, is at this position only."""
        asker = event.key.user if event.type in (DONE, FAILED) else None
        persist = asker is not None and asker not in self.services
        offer = Offer(event.tenant, event.type, event.payload, event.event_id, user_id=asker, persist=persist)
        self._place(event.tenant, event.seq, event.event_id, what)
        self.done += event.type == DONE and event.event_id not in self.offers
        known = self.offers.setdefault(event.event_id, offer)
        if known != offer:
            raise Violation(f"{event.event_id} is {offer} and {known}")
        self._note_call(event)
        return offer

    def _note_call(self, event: StreamEvent) -> None:
        call_id = event.payload.get("call_id")
        if event.type == "call.answered":
            self.calls.setdefault((event.tenant, call_id), Call(call_id, event.payload["agent_id"]))
        elif event.type == "call.ended" and (call := self.calls.get((event.tenant, call_id))) is not None:
            call.has_ended = True


class CommandReader(Reader):
    """The protocol of a client that issues commands; it records all that arrives."""

    ledger: CommandLedger

    def __init__(self, ledger: CommandLedger, evidence: CommandEvidence, viewer: Viewer, **options: bool) -> None:
        super().__init__(ledger, viewer, **options)
        self._evidence = evidence
        self.view = self._new_view()
        self.answers: dict[str, Answer] = {}
        self._asked: dict[str, tuple[Key, Request]] = {}

    def _new_view(self) -> View:
        viewer, views = self.viewer, self._evidence.views
        person = None if viewer.user_id in self.ledger.services else viewer.user_id
        views[f"{viewer.tenant} {viewer.user_id} {len(views)}"] = view = View(viewer.tenant, person)
        return view

    def begin(self) -> str:
        if self.forgets_position:
            # It reads from where the node is, which may be behind another one.
            self.view = self._new_view()
        return super().begin()

    def expect(self, id_: str, key: Key, request: Request) -> None:
        """Note that a request is sent."""
        self._asked[id_] = (key, request)

    def receive(self, message: Message) -> str | None:
        event_id = super().receive(message)
        if "seq" in message:
            event = StreamEvent(
                message["tenant_id"], message["seq"], message["id"], message["type"], message["payload"]
            )
            (self.view.mail if message.get("offline") else self.view.arrived).append(event)
        return event_id

    def _on_accepted(self, message: Message) -> None:
        payload = message["payload"]
        key, request = self._asked[message["in_reply_to"]]
        if payload["command_id"] != key.command_id:
            raise Violation(f"{self} asked for {key} and received {message}")
        deadline = datetime.fromisoformat(payload["deadline"]).timestamp()
        answer = Answer(request, payload["state"], payload.get("code"), payload.get("source"), deadline)
        self._answered(message["in_reply_to"], answer)

    def _on_error(self, message: Message) -> None:
        if "in_reply_to" not in message:
            # The replay that the URL asks for is not possible now.
            super()._on_error(message)
            return
        _, request = self._asked[message["in_reply_to"]]
        self._answered(message["in_reply_to"], Answer(request, None, message["payload"]["code"]))

    def _answered(self, id_: str, answer: Answer) -> None:
        if id_ in self.answers:
            raise Violation(f"{self} was answered {self.answers[id_]} and {answer}")
        self.answers[id_] = answer
        self.view.arrived.append((self._asked[id_][0], answer))


class CommandClient(RoamingClient):
    """A client that issues commands, each answered over the connection over which it was sent, or never."""

    reader: CommandReader
    _numbers = itertools.count(1)

    def cut(self) -> None:
        """Lose the connection, if there is one, and connect again."""
        if self._socket is not None:
            self._socket.transport.abort()

    async def command(self, key: Key, request: Request) -> Answer | None:
        """Issue a command; return the answer, None if the connection ended before."""
        await self.until(lambda: self._socket is not None and self.reader.position is not None, 2 * DEADLINE)
        socket, id_ = self._socket, str(next(self._numbers))
        assert socket is not None
        self.reader.expect(id_, key, request)
        payload = {"name": request.name, "command_id": key.command_id, **json.loads(request.fields)}
        try:
            await socket.send(json.dumps({"type": "command", "id": id_, "payload": payload}))
        except ConnectionClosed:
            return None
        await self.until(lambda: id_ in self.reader.answers or self._socket is not socket, ANSWER_SECONDS)
        return self.reader.answers.get(id_)


class Asker:
    """A person or a service, with a client or several, who issues commands one after the other.

    Args:
        clients: each at a node of its own choice.
        others: the agents for whom commands are issued, too; for those of an agent itself, empty.
    """

    def __init__(
        self, evidence: CommandEvidence, clients: Sequence[CommandClient], rng: random.Random, others: Sequence[str]
    ) -> None:
        self.clients = clients
        self.viewer = clients[0].reader.viewer
        self._evidence = evidence
        self._rng = rng
        self._others = others
        self._numbers = itertools.count(1)
        self._issued: list[tuple[Key, Request]] = []
        self._is_stopped = False

    def stop(self) -> None:
        """Issue no further commands."""
        self._is_stopped = True

    async def run(self) -> None:
        """Issue commands until it is stopped."""
        while not self._is_stopped:
            await asyncio.sleep(self._rng.uniform(0, MAX_PAUSE_SECONDS))
            chance = self._rng.random()
            if chance < 0.15 and self._issued:
                key, request = self._rng.choice(self._issued[-20:])
            elif chance < 0.2 and self._issued:
                # The same id for something else.
                key = self._rng.choice(self._issued[-20:])[0]
                request = self._request(key)
            else:
                key = Key(self.viewer.tenant, f"{self.viewer.user_id}:{next(self._numbers)}")
                request = self._request(key)
                self._issued.append((key, request))
            several = len(self.clients) if self._rng.random() < 0.2 else 1
            await self.issue(key, request, self._rng.sample(self.clients, several))

    async def issue(self, key: Key, request: Request, clients: Sequence[CommandClient]) -> None:
        """Issue a command with several clients at the same time; most are issued again if no answer comes."""
        for _ in range(3):
            self._evidence.asked[key] += [request] * len(clients)
            answers = await asyncio.gather(*[client.command(key, request) for client in clients])
            if any(answer is not None and answer.code not in TRANSIENT for answer in answers):
                return
            if self._is_stopped or self._rng.random() < 0.3:
                return
            await asyncio.sleep(self._rng.uniform(0, MAX_PAUSE_SECONDS))

    def _request(self, key: Key) -> Request:
        viewer, rng = self.viewer, self._rng
        name = rng.choice(["state", "pause", "hangup", "hangup", "hold", "hold", "disposition"])
        if name == "state":
            return self._for_user("agent.state.set", state=rng.choice(["available", "break", "away"]))
        if name == "pause":
            return self._for_user(f"queue.member.{rng.choice(['pause', 'unpause'])}", queue_name="sales")
        calls = [call for (tenant, _), call in self.clients[0].reader.ledger.calls.items() if tenant == viewer.tenant]
        call = self._call_of(calls[-100:])
        if name == "hold":
            name = rng.choice(["hold", "unhold"])
        more = {"code": "resolved", "note": key.command_id} if name == "disposition" else {}
        request = request_of(f"call.{name}", call_id="no such call" if call is None else call.call_id, **more)
        if call is None or not self._may_control(call):
            self._evidence.forbidden.add((key, request))
        return request

    def _may_control(self, call: Call) -> bool:
        return self.viewer.role != "agent" or self.viewer.user_id == call.agent

    def _call_of(self, calls: Sequence[Call]) -> Call | None:
        """Return mostly a call that the user may control, else one that has ended, of another agent, or none."""
        chance = self._rng.random()
        mine = [call for call in calls if self._may_control(call) and not call.has_ended]
        if chance < 0.85 and mine:
            return self._rng.choice(mine)
        return self._rng.choice(calls) if chance < 0.95 and calls else None

    def _for_user(self, name: str, **fields: Any) -> Request:
        if not self._others:
            return request_of(name, **fields)
        return request_of(name, **fields, user_id=self._rng.choice(self._others))

    # The end

    async def settle(self, deadline: float) -> None:
        """Ask once more for each command until each is closed or refused; the last answers are final."""
        client = self.clients[0]
        for key in [key for key in self._evidence.asked if self._is_mine(key)]:
            end = time.monotonic() + deadline
            while (answer := await self._final_answer(client, key)) is None:
                assert time.monotonic() < end, f"{key} has no outcome after {deadline:g} s"
                await asyncio.sleep(0.2)
            self._evidence.final[key] = answer

    def _is_mine(self, key: Key) -> bool:
        return (key.tenant, key.user) == (self.viewer.tenant, self.viewer.user_id)

    async def _final_answer(self, client: CommandClient, key: Key) -> Answer | None:
        """Return an answer that does not change any more; None if there is none now."""
        for request in dict.fromkeys(self._evidence.asked[key]):
            self._evidence.asked[key].append(request)
            answer = await client.command(key, request)
            if answer is None or answer.code in TRANSIENT or answer.state in ("accepted", "dispatched"):
                return None
            if answer.code != "conflict":
                return answer
        return None


def request_of(name: str, **fields: Any) -> Request:
    return Request(name, json.dumps(fields, sort_keys=True))


def client_of(
    nodes: Sequence[RestartableGateway],
    ledger: CommandLedger,
    evidence: CommandEvidence,
    viewer: Viewer,
    rng: random.Random,
    *,
    max_messages: int = 0,
    **options: bool,
) -> CommandClient:
    """Return a client of a user, which changes nodes, and whose view is recorded."""
    if viewer.role == SERVICE:
        ledger.services.add(viewer.user_id)
    acknowledges = options.pop("acknowledges", False)
    reader = CommandReader(ledger, evidence, viewer, changes_nodes=True, **options)
    return CommandClient(
        nodes, reader, rng, max_messages=max_messages, acknowledges=acknowledges, timeout=TIMEOUT_SECONDS
    )
