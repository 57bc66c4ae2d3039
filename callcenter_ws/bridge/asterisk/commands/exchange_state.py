"""What scripts know of an exchange: its calls, channels, members and devices, as the state machine has them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from callcenter_ws.bridge.agent_states import Member
from callcenter_ws.bridge.asterisk.channels import Channel
from callcenter_ws.bridge.asterisk.commands.checked_command import CheckedCommand
from callcenter_ws.bridge.asterisk.machine import AsteriskMachine
from callcenter_ws.bridge.asterisk.message import AmiMessage
from callcenter_ws.bridge.call import Call
from callcenter_ws.bridge.directory import User
from callcenter_ws.bridge.patterns import compile_pattern, matches_whole
from callcenter_ws.bridge.settings import CommandSettings
from callcenter_ws.events.commands import OutcomeCode
from callcenter_ws.remote import CommandFailed

_DESTINATION = re.compile(r"\+?[0-9*#]{1,32}", re.ASCII)
_SAFE = re.compile(r"[A-Za-z0-9_.*#+-]{1,64}", re.ASCII)
"""What a destination may hold, whatever ``destinations`` matches: no character has a meaning in the dialplan."""

_SAFE_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)
"""What may become a part of a device's name."""

_MAX_CONSULTATIONS = 20_000
"""Consultations at one time. Further ones can be begun, but neither completed nor cancelled by commands."""

_SETTLE_SECONDS = 1.0
"""For so long after a consultation Asterisk takes no digits for a feature code."""

_DIALPLAN_DEVICES = ("Local/", "Agent/", "Agent:", "hint:", "Custom:")


class ExchangeState:
    """The exchange, for the scripts of one source.

    Args:
        source: the name of the source.
        now: returns seconds of a monotonic clock, that of deadlines.

    Attributes:
        settings: those in use; a reload replaces them.
        actions: the actions that the user of the exchange may use; None: not known yet.
        consultations: by the channels of the agents, the channels to those whom they consult by a command.
        answered: those of these channels that have answered.
    """

    def __init__(
        self, machine: AsteriskMachine, settings: CommandSettings, source: str, now: Callable[[], float]
    ) -> None:
        self.machine = machine
        self.source = source
        self._now = now
        self.actions: frozenset[str] | None = None
        self.consultations: dict[str, str] = {}
        self.answered: set[str] = set()
        self._consulted: dict[str, float] = {}
        self.use(settings)

    def use(self, settings: CommandSettings) -> None:
        """Use other settings from now on."""
        self.settings = settings
        self._destinations = compile_pattern(settings.destinations) if settings.destinations else None
        self._queues = [compile_pattern(text) for text in settings.queues]

    def may_use(self, action: str) -> bool:
        """Return whether the user of the exchange may use an action."""
        return action in (self.actions or ())

    def begin(self) -> None:
        """Forget what does not exist any more, at the beginning of a session."""
        channels = {channel.uniqueid for channel in self.machine.calls.tracker.table}
        self.machine.recordings.keep(channels)
        for agent in [agent for agent in self.consultations if agent not in channels]:
            self._forget_consultation(agent)

    def observe(self, message: AmiMessage) -> None:
        """Take an event, before the proofs of the commands do."""
        self.machine.recordings.observe(message)
        if not self.consultations and not self._consulted:
            return
        if message.name == "DialEnd" and message.get("DialStatus") == "ANSWER":
            if message.get("DestUniqueid") in self.consultations.values():
                self.answered.add(message.get("DestUniqueid"))
        elif message.name == "Hangup":
            self._forget_consultation(message.get("Uniqueid"))

    def consult(self, agent: str, target: str) -> None:
        """Note that an agent consults, given the ids of its channel and of that to the target."""
        if len(self.consultations) < _MAX_CONSULTATIONS:
            self.consultations[agent] = target

    def has_just_consulted(self, agent: str) -> bool:
        """Return whether a consultation of an agent's channel has ended within the last moment."""
        return self._now() - self._consulted.get(agent, -_SETTLE_SECONDS) < _SETTLE_SECONDS

    def _forget_consultation(self, uniqueid: str) -> None:
        self._consulted.pop(uniqueid, None)
        for agent, target in list(self.consultations.items()):
            if uniqueid in (agent, target):
                del self.consultations[agent]
                self.answered.discard(target)
                if uniqueid == target:
                    self._consulted[agent] = self._now()

    def seconds_left(self, command: CheckedCommand) -> float:
        """Return the seconds until the deadline of a command."""
        return command.deadline - self._now()

    # Calls

    def call(self, command: CheckedCommand, call_id: str) -> Call:
        """Return a call that the asker may act on.

        Raises:
            CommandFailed: ``not_found``: there is no such call in its tenant; ``not_allowed``: an agent is not in it.
        """
        call = self.machine.calls.book.calls.get(call_id)
        if call is None or not call.is_announced or call.tenant_id != command.tenant_id:
            raise CommandFailed(OutcomeCode.NOT_FOUND, "the call is over, or there is none with this id")
        if command.is_of_agent and not self._is_in(call, command.user_id):
            raise CommandFailed(OutcomeCode.NOT_ALLOWED, "the call is with another agent now")
        return call

    def is_over(self, call_id: str) -> bool:
        """Return whether a call has ended."""
        return call_id not in self.machine.calls.book.calls

    def agent_channel(self, call: Call, user_id: str) -> Channel | None:
        """Return the channel of an agent who talks in a call; None if it does not, or its channel is not known."""
        if not call.talks(user_id):
            return None
        for uniqueid, leg in call.legs.items():
            if leg.state == "talking" and leg.party.agent_id == user_id:
                return self._channel(uniqueid)
        return self.first_channel(call)

    def talking_channel(self, call: Call) -> Channel | None:
        """Return the channel of the agent who talks in a call; None if no agent does."""
        if call.agent is not None and (channel := self.agent_channel(call, call.agent.agent_id)) is not None:
            return channel
        for uniqueid, leg in call.legs.items():
            if leg.state == "talking":
                return self._channel(uniqueid)
        return None

    def called_phones(self, call: Call, user_id: str) -> list[Channel]:
        """Return the phones of an agent at which a call rings, or which are consulted; none if it is in the call."""
        if call.talks(user_id) or (call.caller is not None and call.caller.agent_id == user_id):
            return []
        states = ("ringing", "consulted")
        legs = [key for key, leg in call.legs.items() if leg.state in states and leg.party.agent_id == user_id]
        return [channel for key in legs if (channel := self._channel(key)) is not None]

    def has_channel(self, channel: Channel) -> bool:
        """Return whether a channel exists still."""
        return self._channel(channel.uniqueid) is channel

    def first_channel(self, call: Call) -> Channel | None:
        """Return the channel with which a call began; None if it is gone."""
        return self._channel(call.unique_id) if call.unique_id in call.members else None

    def other_channel(self, call: Call, user_id: str) -> Channel | None:
        """Return the channel of the other party of a call, as an agent sees it: the customer's."""
        caller = call.caller
        if caller is None or (caller.agent_id != user_id and call.talks(user_id)):
            found = self.first_channel(call)
            return found if found is not None else self._outside_channel(call)
        for uniqueid in call.remote:
            return self._channel(uniqueid)
        for uniqueid, leg in call.legs.items():
            if leg.party.agent_id != user_id and leg.state == "talking":
                return self._channel(uniqueid)
        return None

    def is_direct(self, channel: Channel) -> bool:
        """Return whether no Local channel is between a phone and the rest of its call."""
        return self.machine.calls.tracker.table.member_leg(channel) is channel

    def call_id_of(self, uniqueid: str) -> str:
        """Return the id of the call that begins with a channel."""
        return f"{self.source}-{uniqueid}"

    def _channel(self, uniqueid: str) -> Channel | None:
        return self.machine.calls.tracker.table.get(uniqueid)

    def _outside_channel(self, call: Call) -> Channel | None:
        """Return a channel of a call that is no agent's, as after a transfer by the agent who had made the call."""
        for uniqueid in call.members:
            channel = self._channel(uniqueid)
            if channel is not None and not channel.is_local and uniqueid not in call.legs:
                return channel
        return None

    def _is_in(self, call: Call, user_id: str) -> bool:
        if call.caller is not None and call.caller.agent_id == user_id:
            return True
        return any(leg.party.agent_id == user_id and leg.state != "silent" for leg in call.legs.values())

    # Destinations

    def destination(self, text: str) -> str:
        """Return a destination that may be dialed.

        Raises:
            CommandFailed: ``rejected``: it is none.
        """
        is_allowed = (
            _DESTINATION.fullmatch(text) is not None
            if self._destinations is None
            else matches_whole(self._destinations, text)
        )
        if not is_allowed or not _SAFE.fullmatch(text):
            raise CommandFailed(OutcomeCode.REJECTED, "this is no number that can be dialed")
        return text

    # Queues

    def memberships(self, user_id: str) -> list[Member]:
        """Return the memberships of a user, in the order of their queues."""
        return sorted(self.machine.agents.memberships(user_id), key=lambda member: (member.queue, member.interface))

    def membership(self, tenant_id: str, queue: str, user_id: str) -> list[Member]:
        """Return the memberships of a user in one queue; of a device without a user, which goes by its interface."""
        found = [member for member in self.memberships(user_id) if member.queue == queue]
        device = self.machine.members.get(queue, user_id)
        if device is not None and device.owner is None:
            found.append(device)
        return [member for member in found if member.tenant == tenant_id]

    def may_change(self, queue: str) -> bool:
        """Return whether members of a queue may be added and removed."""
        return any(matches_whole(pattern, queue) for pattern in self._queues)

    def is_queue_of(self, tenant_id: str, queue: str) -> bool:
        """Return whether a queue belongs to a tenant."""
        return self.machine.rules.of_queue(queue) == tenant_id

    # Devices

    def device_of(self, tenant_id: str, user_id: str) -> str:
        """Return the phone of a user.

        Raises:
            CommandFailed: ``not_found``: none is known.
        """
        for device in self._devices_of(tenant_id, user_id):
            user = self.machine.directory.user_of(device)
            is_own = user is not None and user.user_id == user_id and not device.startswith(_DIALPLAN_DEVICES)
            if is_own and self.is_phone_of(tenant_id, user_id, device):
                return device
        raise CommandFailed(OutcomeCode.NOT_FOUND, "no phone of this person is known")

    def interface_of(self, tenant_id: str, user_id: str) -> tuple[str, str | None]:
        """Return with which interface a user becomes a member of a queue, and its state interface, if that is another.

        Raises:
            CommandFailed: ``not_found``: no phone of the user is known.
        """
        desks = self.machine.desks.of_user(tenant_id, user_id)
        if not desks:
            for member in self.memberships(user_id):
                if member.agent_tenant == tenant_id:
                    other = member.device.name if member.device.name != member.interface else None
                    return member.interface, other
        device = self.device_of(tenant_id, user_id)
        extension = desks[0].extension if desks else self.user(user_id).extension or user_id
        if not _SAFE_NAME.fullmatch(extension):
            return device, None
        templates = (self.settings.member or device, self.settings.state_interface)
        interface, state_interface = (text.replace("{extension}", extension) for text in templates)
        return interface, state_interface or None

    def is_at(self, member: Member, device: str) -> bool:
        """Return whether a phone is behind a membership."""
        names = self.machine.directory.names
        return device in names.variants(member.device.name) or device in names.variants(member.interface)

    def is_phone_of(self, tenant_id: str, user_id: str, device: str) -> bool:
        """Return whether a phone of a user belongs to a tenant: ids of users may be the same in two tenants."""
        desk = self.machine.desks.get(device)
        if desk is not None:
            return desk.tenant_id == tenant_id
        own = self.machine.rules.of_device(device)
        if own:
            return own == tenant_id
        if any(one.agent_tenant == tenant_id and self.is_at(one, device) for one in self.memberships(user_id)):
            return True
        return self.machine.rules.default == tenant_id

    def device_of_extension(self, extension: str) -> str:
        """Return the phone of an extension.

        Raises:
            CommandFailed: ``unsupported``: the settings do not tell it; ``rejected``: this can be no extension.
        """
        if not self.settings.device:
            raise CommandFailed(OutcomeCode.UNSUPPORTED, "the settings of the bridge name no device for an extension")
        if not _SAFE_NAME.fullmatch(extension):
            raise CommandFailed(OutcomeCode.REJECTED, "this is no extension")
        return self.settings.device.replace("{extension}", extension)

    def user(self, user_id: str) -> User:
        """Return a user by its id."""
        return self.machine.directory.user(user_id)

    def _devices_of(self, tenant_id: str, user_id: str) -> Iterator[str]:
        """Yield what may be phones of a user, the most certain first: where it signed in, settings, queues."""
        directory = self.machine.directory
        yield from (desk.device for desk in self.machine.desks.of_user(tenant_id, user_id))
        yield from directory.devices_of(user_id)
        for member in self.memberships(user_id):
            yield member.device.name
        known = directory.user(user_id)
        for name in (known.extension, user_id):
            if self.settings.device and name and _SAFE_NAME.fullmatch(name):
                yield self.settings.device.replace("{extension}", name)
