"""Corrects what is known of calls by an exchange's own lists, for every kind of exchange.

What was seen of a call is kept; what the lists show and nothing told is told now, marked as reconciled. Nothing is
invented: where the lists do not say why or when something happened, the reason is ``unknown``, and the sums of the call
are left out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from callcenter_ws.bridge.call import Call, Party, Stay
from callcenter_ws.bridge.calls import CallBook

_SAME_STAY_SECONDS = 5.0
"""Lists tell how long a caller waits in whole seconds. A stay that began later than this is another one."""


@dataclass(frozen=True, slots=True)
class ListedLeg:
    """A device in a call.

    Attributes:
        is_remote: whether it is outside, reached by a calling agent.
    """

    party: Party
    channel: str
    is_remote: bool = False


@dataclass(slots=True)
class ListedCall:
    """What the lists of an exchange show of a call.

    Attributes:
        present: the legs that exist.
        talking: those in a conversation, the caller's excepted.
        ringing: those that ring.
        stay: its place in a queue, and since when it waits there; None: it waits in none.
        is_stay_known: False: the lists cannot say; it stays as it is known.
    """

    present: Collection[str] = ()
    talking: Mapping[str, ListedLeg] = field(default_factory=dict)
    ringing: Mapping[str, ListedLeg] = field(default_factory=dict)
    stay: Stay | None = None
    is_stay_known: bool = True


class CallReconciler:
    """Compares calls with the lists, and tells the differences."""

    def __init__(self, book: CallBook) -> None:
        self._book = book

    def release_gone(self, call: Call, present: Collection[str], time: float) -> None:
        """Release who talked and is not there any more; call it for all calls before ``correct``."""
        for leg_id in [*call.legs, *call.remote]:
            leg = call.legs.get(leg_id)
            if leg_id not in present and (leg is None or leg.state == "talking"):
                call.is_incomplete = True
                self._book.release(call, leg_id, time)

    def correct(self, call: Call, listed: ListedCall, time: float) -> None:
        """Correct a call that goes on. Whether it is held is in no list, and stays as it is known."""
        if listed.is_stay_known:
            self._correct_stay(call, listed.stay, time)
        for leg_id, leg in listed.talking.items():
            self._correct_talk(call, leg_id, leg, time)
        self._correct_ringing(call, listed, time)

    def _correct_ringing(self, call: Call, listed: ListedCall, time: float) -> None:
        """Tell what rings now. What rang and stopped without an answer is missed."""
        gone = {
            leg_id: leg
            for leg_id, leg in call.legs.items()
            if leg.state in ("ringing", "consulted") and leg_id not in listed.present
        }
        present = {leg.party.agent_id for leg_id, leg in call.legs.items() if leg_id not in gone}
        if call.stay is not None or not call.is_talking():
            for leg_id, listed_leg in listed.ringing.items():
                agent_id = listed_leg.party.agent_id
                if agent_id not in present:
                    present.add(agent_id)
                    self._book.ring(call, leg_id, listed_leg.party, listed_leg.channel, time)
        for leg_id, leg in gone.items():
            if leg.party.agent_id in present or call.is_talking():
                self._book.stop_ringing(call, leg_id, time)
            elif leg_id in call.legs:
                self._book.miss(call, leg_id, time)

    def _correct_stay(self, call: Call, stay: Stay | None, time: float) -> None:
        known = call.stay
        if known is not None:
            if stay is not None and stay.queue == known.queue and stay.since <= known.since + _SAME_STAY_SECONDS:
                known.position = stay.position
                return
            call.is_incomplete = True
            self._book.leave(call, "unknown", time)
        if stay is not None:
            self._book.join(call, stay.queue, min(stay.since, time), stay.position)

    def _correct_talk(self, call: Call, leg_id: str, leg: ListedLeg, time: float) -> None:
        known = call.legs.get(leg_id)
        if leg_id in call.remote or (known is not None and known.state == "talking"):
            return
        if not leg.is_remote and call.talks(leg.party.agent_id):
            return
        call.is_incomplete = True
        if call.stay is not None:
            self._book.leave(call, "unknown", time)
        if leg.is_remote:
            self._book.reach(call, leg_id, leg.channel, time)
        else:
            self._book.answer(call, leg_id, leg.party, leg.channel, time)
