"""The members of queues: who they are, and whether they are paused. Publishes changes only."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace

from callcenter_ws.bridge.agent_states import Device, DeviceStatus, Member
from callcenter_ws.bridge.agents import Agents
from callcenter_ws.bridge.directory import Directory, User
from callcenter_ws.bridge.member_facts import MemberFacts, MemberRecord
from callcenter_ws.bridge.outgoing import Outgoing
from callcenter_ws.bridge.tenants import TenantRules
from callcenter_ws.events.identifiers import identifier_problem
from callcenter_ws.runtime.json import JsonValue, encode_json

RECORD_PREFIX = "member/"

STEP_MEMBERS = 20
"""Members that are compared in one step."""

_MAX_MEMBERS = 50_000
"""Memberships of one exchange. Further ones are ignored, and counted."""


class Members:
    """The members of an exchange's queues.

    Attributes:
        dropped: what was not taken, counted by kind: ``members`` over the limit, ``names`` that no event may have.
    """

    def __init__(self, outgoing: Outgoing, directory: Directory, rules: TenantRules, agents: Agents) -> None:
        self.dropped: dict[str, int] = {}
        self._outgoing = outgoing
        self._directory = directory
        self._rules = rules
        self._agents = agents
        self._members: dict[tuple[str, str], Member] = {}
        self._devices: dict[str, Device] = {}
        self._number = 0
        self._pauses = 0
        self._logged_in: dict[str, User] = {}
        self._is_complete = False
        self._removed: set[tuple[str, str]] = set()
        self._mapped = (0, 0)

    def get(self, queue: str, interface: str) -> Member | None:
        """Return a member; None if it is not known."""
        return self._members.get((queue, interface))

    def user_of(self, queue: str, interface: str) -> User | None:
        """Return the user of a queue member, also of one that is not known; None if it has none."""
        member = self._members.get((queue, interface))
        return self._directory.user_of(interface) if member is None else member.user

    # Restart and reconciliation

    def restore(self, records: Mapping[str, bytes]) -> None:
        """Take over what an earlier process told."""
        for record in self._outgoing.restored(records, RECORD_PREFIX, MemberRecord):
            facts = MemberFacts(record.queue, record.interface, record.device, needs_login=record.needs_login)
            member = self._insert(facts, User(record.user_id) if record.user_id else None, record.tenant_id)
            member.name, member.membership, member.penalty = record.name, record.membership, record.penalty
            self._set_pause(member, record.paused, record.reason)
            self._learn_name(member)
            self._agents.add_member(member, 0)

    def synchronize(
        self, listed: Iterable[MemberFacts], time: float, unchanged: Collection[tuple[str, str]] = ()
    ) -> None:
        """Apply the whole list of the exchange: publish differences only; members that are not in it are gone.

        Args:
            unchanged: the queues and interfaces of members that are listed as they are known.
        """
        for _ in self.synchronizing(listed, time, unchanged):
            pass

    def synchronizing(
        self, listed: Iterable[MemberFacts], time: float, unchanged: Collection[tuple[str, str]] = ()
    ) -> Iterator[None]:
        """Do the same in steps; each takes about a millisecond."""
        self._is_complete = True
        self._removed.clear()
        if self._mapped != (self._directory.version, self._rules.version):
            yield from self._remapping(time)
        remaining = set(self._members).difference(unchanged)
        for number, facts in enumerate(listed):
            if number % STEP_MEMBERS == 0:
                yield
            remaining.discard((facts.queue, facts.interface))
            member = self.update(facts, time)
            if member is not None and facts.status is not None and member.device.is_explained:
                member.device.is_explained = False
                self._agents.change_member(member, time)
        for number, (queue, interface) in enumerate(sorted(remaining)):
            if number % STEP_MEMBERS == 0:
                yield
            member = self._members.get((queue, interface))
            if member is not None:
                self.remove(member, time)

    def remap(self, time: float, device: str | None = None) -> None:
        """Look up users and tenants again, after devices got other users or rules have changed.

        Args:
            device: the only one that did; None: any.
        """
        for _ in self._remapping(time, device):
            pass

    def _remapping(self, time: float, device: str | None = None) -> Iterator[None]:
        """Do the same in steps."""
        members = self._members.values() if device is None else self._of_device(device)
        for number, member in enumerate(sorted(members, key=lambda member: (member.queue, member.interface)), 1):
            if number % STEP_MEMBERS == 0:
                yield
            owner, tenant, agent_tenant = self._owners(member.queue, member.interface, member.device.name)
            user = owner or self._logged_in.get(member.device.name)
            if (owner, user, tenant, agent_tenant) == (member.owner, member.user, member.tenant, member.agent_tenant):
                continue
            is_told_again = _id_of(owner) != _id_of(member.owner) or tenant != member.tenant
            if is_told_again:
                self._publish("removed", member, time)
                self._outgoing.record(_key(member), None)
            self._agents.remove_member(member, time)
            member.owner, member.user, member.tenant, member.agent_tenant = owner, user, tenant, agent_tenant
            self._agents.add_member(member, time)
            if is_told_again:
                self._learn_name(member)
                self._publish("added", member, time)
                self._record(member)
        if device is None:
            self._mapped = (self._directory.version, self._rules.version)

    def remap_phone(self, phone: str, time: float) -> None:
        """Look up the users of the members of one phone again, also of those that have their status from its hint."""
        extension = phone.partition("/")[2]
        for device in [name for name in self._devices if name == phone or (extension and extension in name)]:
            self.remap(time, device)

    def log_in(self, device: str, user: User | None, time: float) -> None:
        """Give the members of an agent of the exchange the user who logged in as it; None: it has logged off.

        Their events name them as before.
        """
        if user is None:
            self._logged_in.pop(device, None)
        else:
            self._logged_in[device] = user
        self.remap(time, device)

    # Facts

    def update(self, facts: MemberFacts, time: float) -> Member | None:
        """Note what a member is; it is added if it is not known. Return it; None if it was not taken."""
        member = self._members.get((facts.queue, facts.interface))
        if member is None:
            return self._add(facts, time)
        if facts.device != member.device.name:
            self.remove(member, time)
            return self._add(facts, time)
        self._change(member, facts, time)
        return member

    def change_pause(self, facts: MemberFacts, time: float) -> None:
        """Note a pause or its end. A member that is not known is added as it was before."""
        member = self._members.get((facts.queue, facts.interface))
        if member is None:
            member = self._add(replace(facts, paused=not facts.paused, reason=""), time)
        if member is not None:
            self._change(member, facts, time)

    def remove(self, member: Member, time: float) -> None:
        """Remove a member."""
        key = (member.queue, member.interface)
        del self._members[key]
        self._note_removed(key)
        member.device.members.discard(member)
        if not member.device.members:
            del self._devices[member.device.name]
        self._publish("removed", member, time)
        self._outgoing.record(_key(member), None)
        self._agents.remove_member(member, time)

    def forget(self, facts: MemberFacts, time: float) -> None:
        """Tell that a member that was not known has been removed, unless all members are known."""
        key = (facts.queue, facts.interface)
        if not self._is_complete and key not in self._removed and self._is_acceptable(facts):
            self._note_removed(key)
            owner, tenant, agent_tenant = self._owners(facts.queue, facts.interface, facts.device)
            member = _new(facts, self._new_device(facts.device), owner, tenant, agent_tenant)
            member.name, member.membership, member.penalty = facts.name, facts.membership, facts.penalty
            self._publish("removed", member, time)

    def set_device_status(self, device: str, status: DeviceStatus, time: float) -> None:
        """Note the status of a device, if it has members."""
        known = self._devices.get(device)
        if known is not None:
            self.set_status(known, status, time)

    def set_status(self, device: Device, status: DeviceStatus, time: float) -> None:
        """Note the status of a device, for all queues of its members."""
        if device.status == status:
            return
        device.status = status
        device.is_explained = False
        for member in device.members:
            self._agents.change_member(member, time)

    # Changes

    def _add(self, facts: MemberFacts, time: float) -> Member | None:
        if not self._is_acceptable(facts):
            return None
        if len(self._members) >= _MAX_MEMBERS:
            self._drop("members")
            return None
        owner, tenant, _ = self._owners(facts.queue, facts.interface, facts.device)
        member = self._insert(facts, owner, tenant)
        member.name, member.membership, member.penalty = facts.name, facts.membership, facts.penalty
        self._set_pause(member, facts.paused, facts.reason)
        member.wraps_up_until = facts.wraps_up_until
        self._learn_name(member)
        self._publish("added", member, time)
        self._record(member)
        self._agents.add_member(member, time)
        self._agents.change_member(member, time)
        if facts.status is not None:
            self.set_status(member.device, facts.status, time)
        return member

    def _change(self, member: Member, facts: MemberFacts, time: float) -> None:
        if facts.paused != member.paused or (facts.paused and facts.reason != member.reason):
            self._set_pause(member, facts.paused, facts.reason)
            member.penalty = facts.penalty
            self._publish("paused" if facts.paused else "unpaused", member, time, facts.reason)
            self._record(member)
            self._agents.change_member(member, time)
        elif facts.penalty != member.penalty or facts.name != member.name:
            member.penalty, member.name = facts.penalty, facts.name
            self._learn_name(member)
            self._record(member)
            self._agents.change_member(member, time)
        if facts.status is not None:
            self.set_status(member.device, facts.status, time)
        if facts.wraps_up_until > member.wraps_up_until:
            member.wraps_up_until = facts.wraps_up_until
            self._agents.change_member(member, time)

    def _insert(self, facts: MemberFacts, owner: User | None, tenant: str) -> Member:
        device = self._devices.get(facts.device)
        if device is None:
            device = self._devices[facts.device] = self._new_device(facts.device)
        agent_tenant = self._agent_tenant(facts.interface, facts.device, tenant)
        member = _new(facts, device, owner, tenant, agent_tenant)
        member.user = owner or self._logged_in.get(facts.device)
        device.members.add(member)
        self._members[facts.queue, facts.interface] = member
        self._removed.discard((facts.queue, facts.interface))
        return member

    def _new_device(self, name: str) -> Device:
        return Device(name, is_of_dialplan=self._directory.names.is_of_dialplan(name))

    def _note_removed(self, key: tuple[str, str]) -> None:
        if not self._is_complete and len(self._removed) < _MAX_MEMBERS:
            self._removed.add(key)

    def _set_pause(self, member: Member, paused: bool, reason: str) -> None:
        self._pauses += 1
        member.paused, member.reason, member.pause_number = paused, reason if paused else "", self._pauses

    def _of_device(self, device: str) -> Iterable[Member]:
        known = self._devices.get(device)
        return () if known is None else known.members

    def _owners(self, queue: str, interface: str, device: str) -> tuple[User | None, str, str]:
        """Return the user of a member's device, its tenant, and the tenant of its user."""
        owner = self._directory.user_of_member(interface, device)
        tenant = self._rules.of_member(queue, device)
        return owner, tenant, self._agent_tenant(interface, device, tenant)

    def _agent_tenant(self, interface: str, device: str, tenant: str) -> str:
        return self._rules.of_device(device) or self._rules.of_device(interface) or tenant

    def _is_acceptable(self, facts: MemberFacts) -> bool:
        if any(identifier_problem(name) for name in (facts.queue, facts.interface, facts.device)):
            self._drop("names")
            return False
        return True

    def _learn_name(self, member: Member) -> None:
        # A member that was given no name is named like its interface.
        if member.owner is not None and member.name not in (member.interface, member.device.name):
            self._directory.learn_name(member.owner.user_id, member.name)

    def _drop(self, kind: str) -> None:
        self.dropped[kind] = self.dropped.get(kind, 0) + 1

    # Events and records

    def _publish(self, change: str, member: Member, time: float, reason: str = "") -> None:
        if not member.tenant:
            return
        user = member.owner
        payload: dict[str, JsonValue] = {
            "queue_name": member.queue,
            "user_id": member.interface if user is None else user.user_id,
            "username": (member.name or member.interface) if user is None else self._directory.name_of(user),
            "interface": member.interface,
            "paused": member.paused,
            "penalty": member.penalty,
        }
        if change != "removed" and (reason or member.reason):
            payload["reason"] = reason or member.reason
        if member.membership:
            payload["membership"] = member.membership
        self._number += 1
        # The time keeps the ids of two processes apart, as the number begins again with each.
        entity = f"{member.queue[:60]}/{member.interface[:60]}@{time:.3f}"
        self._outgoing.publish(f"queue.member.{change}", member.tenant, time, entity, self._number, payload)

    def _record(self, member: Member) -> None:
        record = MemberRecord(
            member.queue,
            member.interface,
            member.device.name,
            member.tenant,
            _id_of(member.owner),
            member.name,
            member.membership,
            member.penalty,
            member.paused,
            member.reason,
            member.needs_login,
        )
        self._outgoing.record(_key(member), encode_json(record))


def _new(facts: MemberFacts, device: Device, owner: User | None, tenant: str, agent_tenant: str) -> Member:
    member = Member(facts.queue, facts.interface, device)
    member.owner, member.tenant, member.agent_tenant = owner, tenant, agent_tenant
    member.needs_login = facts.needs_login
    return member


def _key(member: Member) -> str:
    return f"{RECORD_PREFIX}{member.queue}/{member.interface}"


def _id_of(user: User | None) -> str:
    return "" if user is None else user.user_id
