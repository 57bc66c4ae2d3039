"""One call as a bridge knows it, for every kind of exchange. It is also what is kept of the call on disk."""

from __future__ import annotations

from typing import Literal

import msgspec

Direction = Literal["", "inbound", "outbound", "internal"]
LegState = Literal["ringing", "silent", "consulted", "talking"]
Holding = Literal["", "told", "implied"]

RECORD_PREFIX = "call/"
"""The records of calls are ``call/<call_id>``."""


class Party(msgspec.Struct, frozen=True, omit_defaults=True):
    """A person or a robot behind a device.

    Attributes:
        agent_id: the user of the device; the name of the device if it has none.
        is_user: whether ``agent_id`` is a user, who has a state as an agent.
    """

    agent_id: str
    agent_name: str = ""
    is_user: bool = False


class Leg(msgspec.Struct, omit_defaults=True):
    """One device that rings or talks in a call.

    Attributes:
        since: when it began to ring or to talk, in Unix seconds.
        state: ``silent``: it rang, and it may still be told that it missed the call; ``consulted``: it talks with a
            participant, while the others wait.
        holding: whether this device holds the call: as the exchange told, or implied, because its agent answered
            another call. ``""``: it does not.
    """

    party: Party
    channel: str
    since: float
    state: LegState = "ringing"
    queue: str = ""
    holding: Holding = ""


class Stay(msgspec.Struct, omit_defaults=True):
    """The time that a call waits in one queue."""

    queue: str
    since: float
    position: int = 1


class Transfer(msgspec.Struct, omit_defaults=True):
    """A transfer that is published as soon as its target is known."""

    kind: Literal["blind", "attended"]
    sender: Party | None
    destination: str
    time: float


class Call(msgspec.Struct, omit_defaults=True):
    """One call. Its times are Unix seconds of the exchange's clock; its sums are in seconds.

    Attributes:
        tenant_id: fixed when the call is announced; empty: nothing of it is published.
        unique_id: the exchange's identification of the caller's leg.
        caller: the agent who calls; None if the call comes from outside.
        is_announced: whether ``call.incoming`` was published.
        is_abandoned: whether ``call.abandoned`` was published; all that can follow is its end.
        is_incomplete: whether an answer, or an end of a conversation, was not seen, so that the sums are not told.
        agent: who answered last.
        legs: the devices of agents that ring or talk, by the exchange's identification of their legs.
        remote: legs outside that a calling agent reached, and their channels.
        first_ring: when a device rang first; None: none has.
        held_by: who holds the call, as in ``call.hold``; empty: ``call.unhold`` was published, or it was never held.
        talked_until, mode: the sums are complete up to this time, since when the call is in this mode.
        numbers: how many events of each type were published, for their ids.
        members: the legs on the exchange; the call ends with the last.
    """

    call_id: str
    unique_id: str
    started: float
    tenant_id: str = ""
    direction: Direction = ""
    caller_id: str = ""
    caller_name: str = ""
    destination: str = ""
    channel: str = ""
    caller: Party | None = None
    caller_holding: Holding = ""
    is_announced: bool = False
    is_abandoned: bool = False
    is_incomplete: bool = False
    queue: str = ""
    stay: Stay | None = None
    agent: Party | None = None
    destination_channel: str = ""
    answered: float | None = None
    legs: dict[str, Leg] = {}
    remote: dict[str, str] = {}
    transfer: Transfer | None = None
    held_by: str = ""
    first_ring: float | None = None
    wait_seconds: float = 0
    talk_seconds: float = 0
    hold_seconds: float = 0
    mode: Literal["", "talk", "hold"] = ""
    talked_until: float = 0
    last_sign: float = 0
    numbers: dict[str, int] = {}
    members: dict[str, str] = {}

    def is_talking(self) -> bool:
        """Return whether the call is in an answered conversation, on hold or not."""
        return bool(self.remote) or any(leg.state == "talking" for leg in self.legs.values())

    def holds(self) -> bool:
        """Return whether a participant holds the call."""
        return bool(self.caller_holding) or any(leg.holding for leg in self.legs.values())

    def talks(self, agent_id: str) -> bool:
        """Return whether an agent is in the conversation, on hold or not, as its caller or otherwise."""
        if self.caller is not None and self.caller.agent_id == agent_id and self.is_talking():
            return True
        return any(leg.state == "talking" and leg.party.agent_id == agent_id for leg in self.legs.values())


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Call)


def encode(call: Call) -> bytes:
    """Return the record of a call."""
    return _encoder.encode(call)


def decode(record: bytes) -> Call:
    """Return the call of a record.

    Raises:
        msgspec.ValidationError: it is no record of a call.
    """
    return _decoder.decode(record)
