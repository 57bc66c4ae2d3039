"""The calls of today over in-memory transports: a real store, a real index, and the HTTP resource in a real site."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from http_world import MINE, HttpWorld, ReceivedResponse

from callcenter_ws.broker.memory import MemoryBroker
from callcenter_ws.call_log.service import CallLog
from callcenter_ws.events.principal import Principal, Role
from callcenter_ws.events.visibility import AgentCalls
from callcenter_ws.http.calls import CallsResource
from callcenter_ws.testing import FakeClock, run

MORNING = datetime(2027, 1, 15, 8, tzinfo=UTC).timestamp()
SUPERVISOR = f"supervisor:{MINE}:boss"


class CallWorld(HttpWorld):
    """A site with ``/ws/calls``; the tenants' zone is ``zone``, and the policy for agents ``agent_calls``."""

    def __init__(self, *, history_events: int = 1_000_000, zone: str = "UTC") -> None:
        super().__init__(clock=FakeClock(MORNING))
        run(self.broker.stop())
        self.broker = MemoryBroker(self.clock, memory_events=history_events)
        self.zone = zone
        self.agent_calls: AgentCalls = "all"
        self.call_log = self.new_log()
        run(self.broker.start(lambda publications: self.call_log.delivered(publications)))
        self.broadcaster._broker = self.broker
        resource = CallsResource(self.tokens, self.call_log, lambda: self.agent_calls)
        self.resource = resource
        self.root.children[b"ws"].putChild(b"calls", resource)

    def new_log(self) -> CallLog:
        """Return the index of another process with the same store."""
        return CallLog(self.broker, self.clock, lambda tenant_id: self.zone, history_seconds=86_400)

    def restart(self) -> None:
        """Use a new index, as after a restart of the process."""
        self.call_log.stop()
        self.call_log = self.resource._call_log = self.new_log()

    def token(self, role: str, user_id: str, *, tenant_id: str = MINE, queues: tuple[str, ...] | None = None) -> str:
        """Return a token with a ``queues`` claim."""
        name = f"{role}-{user_id}-{queues}"
        claim = None if queues is None else frozenset(queues)
        self.tokens.principals[name] = Principal(tenant_id, user_id, Role(role), queues=claim)
        return name

    def publish(self, type_: str, call_id: str, *, tenant_id: str = MINE, **fields: Any) -> None:
        """Publish an event of a call, and let a second pass."""
        payload = {"unique_id": call_id, **fields}
        if type_ == "call.disposition":
            payload["call_id"] = payload.pop("unique_id")
        run(self.broadcaster.publish(tenant_id, type_, payload))
        self.clock.advance(1)

    def answered_call(
        self, call_id: str, caller_id: str = "+4930123456", queue: str = "sales", agent: str = "7"
    ) -> None:
        """Publish a call that is answered after 4 seconds and ends after 2 more."""
        self.publish("call.incoming", call_id, caller_id=caller_id, destination="100", caller_name="Ada Lovelace")
        self.publish("queue.joined", call_id, queue_name=queue, caller_id=caller_id)
        self.publish("call.ringing", call_id, agent_id=agent, queue_name=queue)
        self.publish("queue.left", call_id, queue_name=queue, reason="answered")
        self.publish("call.answered", call_id, agent_id=agent, agent_name=f"Agent {agent}", queue_name=queue)
        self.publish("call.ended", call_id, duration=6)

    def calls(self, token: str = SUPERVISOR, **parameters: object) -> ReceivedResponse:
        """Ask for the calls of today."""
        return self.ask("GET", f"/ws/calls?{urlencode(parameters)}", token)

    def ids(self, token: str = SUPERVISOR, **parameters: object) -> list[str]:
        """Return the ids of the calls in the response."""
        response = self.calls(token, **parameters)
        assert response.status == 200, response.body
        return [call["call_id"] for call in response.json["calls"]]

    def earlier(self, call_id: str, token: str = SUPERVISOR) -> ReceivedResponse:
        """Ask for the earlier calls of a caller."""
        return self.ask("GET", f"/ws/calls/earlier?{urlencode({'call_id': call_id})}", token)
