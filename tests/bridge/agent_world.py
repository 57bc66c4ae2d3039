"""Members and agents of one exchange without its protocol, for tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from callcenter_ws.bridge.activities import Activity
from callcenter_ws.bridge.agent_states import DeviceStatus
from callcenter_ws.bridge.agents import Agents
from callcenter_ws.bridge.asterisk.devices import AsteriskDevices
from callcenter_ws.bridge.directory import Directory
from callcenter_ws.bridge.member_facts import MemberFacts
from callcenter_ws.bridge.members import Members
from callcenter_ws.bridge.outgoing import BridgeEvent, Outgoing
from callcenter_ws.bridge.settings import AgentEntry, TenantRule
from callcenter_ws.bridge.tenants import TenantRules

PATTERN = "PJSIP/(?P<user_id>[0-9]+)"
ALICE = {"PJSIP/201": AgentEntry(user_id="201", username="Alice Adams", extension="201")}
GLOBEX = TenantRule(tenant="globex", queue="globex-")


class AgentWorld:
    """Collects the events of members and agents, and applies their records as a spool does.

    Args:
        records: those of an earlier world.
    """

    def __init__(
        self,
        rules: tuple[TenantRule, ...] = (),
        agents: Mapping[str, AgentEntry] = ALICE,
        pattern: str = PATTERN,
        records: dict[str, bytes] | None = None,
        tenant: str = "acme",
    ) -> None:
        self.time = 1000.0
        self.records: dict[str, bytes] = {} if records is None else records
        self.outgoing = Outgoing("pbx1")
        self.directory = Directory(agents, pattern, AsteriskDevices())
        self.rules = TenantRules(rules, tenant)
        self.agents = Agents(self.outgoing, self.directory)
        self.members = Members(self.outgoing, self.directory, self.rules, self.agents)
        self.agents.restore(self.records)
        self.members.restore(self.records)
        self.ids: set[str] = set()

    def update(
        self, queue: str = "support", interface: str = "PJSIP/201", status: DeviceStatus | None = "idle", **facts: Any
    ) -> list[str]:  # Any, as the fields of facts have several types
        """Update or add a member; return the events."""
        self.members.update(self.facts(queue, interface, status=status, **facts), self.time)
        return self.told()

    def facts(self, queue: str = "support", interface: str = "PJSIP/201", **facts: Any) -> MemberFacts:  # Any: as above
        """Return what an exchange says of a member."""
        return MemberFacts(queue, interface, facts.pop("device", interface), **facts)

    def remove(self, queue: str = "support", interface: str = "PJSIP/201") -> list[str]:
        """Remove a member; return the events."""
        member = self.members.get(queue, interface)
        assert member is not None
        self.members.remove(member, self.time)
        return self.told()

    def act(self, activity: Activity, call_id: str = "call-1", user_id: str = "201") -> list[str]:
        """Do something in a call; return the events."""
        self.agents.set_activity(user_id, call_id, activity, self.time)
        return self.told()

    def synchronize(self, *listed: MemberFacts) -> list[str]:
        """Apply a whole list; return the events."""
        self.agents.wait()
        self.members.synchronize(listed, self.time)
        self.agents.resume(self.time)
        return self.told()

    def events(self) -> list[BridgeEvent]:
        """Return the events since the last call."""
        self.agents.settle()
        unit = self.outgoing.take()
        for key, value in unit.records.items():
            if value is None:
                self.records.pop(key, None)
            else:
                self.records[key] = value
        for event in unit.events:
            assert event.event_id not in self.ids
            self.ids.add(event.event_id)
        return list(unit.events)

    def told(self) -> list[str]:
        """Return the events since the last call, one short line each."""
        return [line(event) for event in self.events()]


def line(event: BridgeEvent) -> str:
    """Return the tenant, the kind, the user and what changed."""
    payload = event.payload
    kind = event.type.removeprefix("queue.member.").removeprefix("agent.")
    words = [event.tenant_id, kind, str(payload["user_id"])]
    if event.type == "agent.login":
        words += [str(payload["state"]), "+".join(payload["queues"])]
    elif event.type == "agent.state.changed":
        words += [f"{payload['previous_state']}>{payload['state']}"]
    elif event.type.startswith("queue.member."):
        words += [payload["queue_name"], "paused" if payload["paused"] else "free"]
    if payload.get("reason"):
        words.append(f"({payload['reason']})")
    return " ".join(words)
