"""Translates the events of ``app_queue`` about members, and those of ``app_agent_pool`` about agents who log in."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

import msgspec

from callcenter_ws.bridge.agent_states import DeviceStatus, Member
from callcenter_ws.bridge.agents import Agents
from callcenter_ws.bridge.asterisk.devices import device_of_channel
from callcenter_ws.bridge.asterisk.message import AmiMessage
from callcenter_ws.bridge.directory import Directory, User
from callcenter_ws.bridge.member_facts import MemberFacts
from callcenter_ws.bridge.members import Members
from callcenter_ws.bridge.outgoing import Outgoing
from callcenter_ws.bridge.tenants import TenantRules
from callcenter_ws.runtime.json import encode_json

_STATUS: dict[str, DeviceStatus] = {
    "0": "unknown",
    "1": "idle",
    "2": "in_use",
    "3": "in_use",  # busy
    "4": "unreachable",  # invalid
    "5": "unreachable",  # unavailable
    "6": "ringing",
    "7": "in_use",  # ringing in use
    "8": "in_use",  # on hold
}
"""The values of ``enum ast_device_state``."""

_STEP_MESSAGES = 50
"""Messages that are read in one step of a comparison."""

_LOGIN_PREFIX = "login/"
_MAX_LOGINS = 20_000
"""Agents logged in by a call. Further ones are ignored, and counted."""

Handler = Callable[[AmiMessage, float], None]


class LoginRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """An agent of ``agents.conf`` who is logged in by a call.

    Attributes:
        channel: that of the call, which lasts as long as the login.
        boot: the run of the exchange, in which alone the name of the channel means this call.
        tenant_id: the tenant of the user while it is in no queue.
    """

    agent: str
    channel: str
    boot: str
    user_id: str
    username: str = ""
    extension: str = ""
    tenant_id: str = ""

    @property
    def key(self) -> str:
        """The key of the record."""
        return _LOGIN_PREFIX + self.agent

    @property
    def device(self) -> str:
        """The device that stands for the agent in queues."""
        return f"Agent:{self.agent}"


class QueueMembers:
    """Translates what Asterisk tells of queue members and agents.

    Attributes:
        handlers: by the name of the event.
        dropped: logins that were over the limit.
    """

    def __init__(
        self, outgoing: Outgoing, directory: Directory, rules: TenantRules, agents: Agents, members: Members
    ) -> None:
        self._outgoing = outgoing
        self._directory = directory
        self._rules = rules
        self._agents = agents
        self._members = members
        self._logins: dict[str, LoginRecord] = {}
        self.dropped = 0
        self.handlers: Mapping[str, Handler] = {
            "QueueMemberStatus": self._status,
            "QueueMemberAdded": self._added,
            "QueueMemberRemoved": self._removed,
            "QueueMemberPause": self._pause,
            "QueueMemberPenalty": self._changed,
            "QueueMemberRinginuse": self._changed,
            "AgentLogin": self._login,
            "AgentLogoff": self._logoff,
        }

    def restore(self, records: Mapping[str, bytes]) -> None:
        """Take over what an earlier process published. Nothing is published before ``synchronize``."""
        self._agents.restore(records)
        for login in self._outgoing.restored(records, _LOGIN_PREFIX, LoginRecord):
            self._enter(login, 0)
        self._members.restore(records)

    def synchronize(self, listed: Iterable[AmiMessage], channels: Collection[str], time: float) -> None:
        """Apply the complete list of members: differences only. Members that are not in it are gone.

        Args:
            listed: the messages ``QueueMember``.
            channels: the names of all channels of the exchange.
        """
        for _ in self.synchronizing(listed, channels, time):
            pass

    def synchronizing(self, listed: Iterable[AmiMessage], channels: Collection[str], time: float) -> Iterator[None]:
        """Do the same in steps; each takes about a millisecond."""
        for number, login in enumerate(list(self._logins.values()), 1):
            if number % _STEP_MESSAGES == 0:
                yield
            if login.channel not in channels or login.boot != self._outgoing.boot:
                self._leave(login, time)
        changed, unchanged = [], set()
        for number, message in enumerate(listed):
            if number % _STEP_MESSAGES == 0:
                yield
            member = self._members.get(message.get("Queue"), message.get("Location"))
            if member is not None and not member.device.is_explained and _is_as_known(message.headers, member):
                unchanged.add((member.queue, member.interface))
            else:
                changed.append(_facts(message, time))
        yield from self._members.synchronizing(changed, time, unchanged)

    # Members

    def _status(self, message: AmiMessage, time: float) -> None:
        """Handle the most frequent event: one for each queue of a member whenever its device changes."""
        member = self._members.get(*_key(message))
        if member is not None and _is_as_known(message.headers, member):
            return
        facts = _facts(message, time)
        if _is_usable(facts):
            self._members.update(facts, time)

    def _added(self, message: AmiMessage, time: float) -> None:
        facts = _facts(message, time)
        if _is_usable(facts):
            self._members.update(facts, time)

    def _changed(self, message: AmiMessage, time: float) -> None:
        # Its status may be older than that of the device: only QueueMemberStatus follows the device at once.
        facts = _facts(message, time, with_status=False)
        if _is_usable(facts):
            self._members.update(facts, time)

    def _pause(self, message: AmiMessage, time: float) -> None:
        facts = _facts(message, time, with_status=self._members.get(*_key(message)) is None)
        if _is_usable(facts):
            self._members.change_pause(facts, time)

    def _removed(self, message: AmiMessage, time: float) -> None:
        member = self._members.get(*_key(message))
        if member is not None:
            self._members.remove(member, time)
            return
        facts = _facts(message, time)
        if _is_usable(facts):
            self._members.forget(facts, time)

    # Agents who log in by a call

    def _login(self, message: AmiMessage, time: float) -> None:
        agent, channel = message.get("Agent"), message.get("Channel")
        earlier = self._logins.get(agent)
        if earlier is not None:
            self._leave(earlier, time)
        phone = device_of_channel(channel)
        user = self._directory.user_of(f"Agent:{agent}") or self._directory.user_of(phone)
        if not agent or user is None:
            return
        if len(self._logins) >= _MAX_LOGINS:
            self.dropped += 1
            return
        tenant_id = self._rules.of_device(f"Agent:{agent}") or self._rules.of_agent(phone)
        login = LoginRecord(agent, channel, self._outgoing.boot, user.user_id, user.username, user.extension, tenant_id)
        self._enter(login, time)
        self._outgoing.record(login.key, encode_json(login))
        self._members.set_device_status(login.device, "idle", time)

    def _logoff(self, message: AmiMessage, time: float) -> None:
        login = self._logins.get(message.get("Agent"))
        if login is not None:
            self._members.set_device_status(login.device, "unreachable", time)
            self._leave(login, time)

    def _enter(self, login: LoginRecord, time: float) -> None:
        user = User(login.user_id, login.username, login.extension)
        self._logins[login.agent] = login
        self._agents.log_in(user, login.agent, login.tenant_id, time)
        self._members.log_in(login.device, user, time)

    def _leave(self, login: LoginRecord, time: float) -> None:
        del self._logins[login.agent]
        self._outgoing.record(login.key, None)
        self._agents.log_out(login.user_id, login.agent, time)
        self._members.log_in(login.device, None, time)


def _key(message: AmiMessage) -> tuple[str, str]:
    return message.get("Queue"), message.get("Interface")


def _is_as_known(headers: Mapping[str, str], member: Member) -> bool:
    return (
        _STATUS.get(headers.get("Status", "")) == member.device.status
        and (headers.get("Paused") == "1") == member.paused
        and (not member.paused or headers.get("PausedReason", "") == member.reason)
        and (headers.get("StateInterface") or member.interface) == member.device.name
        and headers.get("Penalty", "0") == str(member.penalty)
        and headers.get("Wrapuptime", "0") == "0"
    )


def _is_usable(facts: MemberFacts) -> bool:
    return bool(facts.queue and facts.interface)


def _facts(message: AmiMessage, time: float, *, with_status: bool = True) -> MemberFacts:
    """Read a member from an event or from a list, which name some headers differently."""
    headers = message.headers
    interface = headers.get("Interface") or headers.get("Location", "")
    device = headers.get("StateInterface") or interface
    status = _STATUS.get(headers.get("Status", "")) if with_status else None
    is_paused = headers.get("Paused") == "1"
    return MemberFacts(
        queue=headers.get("Queue", ""),
        interface=interface,
        device=device,
        name=headers.get("MemberName") or headers.get("Name", ""),
        membership=headers.get("Membership", ""),
        penalty=max(0, _number(headers.get("Penalty"))),
        paused=is_paused,
        reason=headers.get("PausedReason", ""),
        status=status,
        needs_login=device.startswith(("Agent:", "Agent/")),
        wraps_up_until=_wraps_up_until(headers, status, time),
    )


def _wraps_up_until(headers: Mapping[str, str], status: DeviceStatus | None, time: float) -> float:
    """Return when the member's own time for work after a call ends; 0 if it is not in it.

    Asterisk tells neither that of the queue nor its end. The clocks of both machines may differ; the end of the call is
    told at once.
    """
    seconds, last_call = _number(headers.get("Wrapuptime")), _number(headers.get("LastCall"))
    if seconds <= 0 or last_call <= 0 or status != "idle":
        return 0.0
    return last_call + seconds if last_call + seconds > time else 0.0


def _number(text: str | None) -> int:
    """Return a number that the exchange sent; 0 if it is none."""
    try:
        return int(text or 0) if len(text or "") < 16 else 0
    except ValueError:
        return 0
