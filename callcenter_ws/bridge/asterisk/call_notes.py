"""Notes on a call that are not published; they explain why it left a queue and who ended it."""

from __future__ import annotations

from dataclasses import dataclass, field

from callcenter_ws.bridge.call_register import EndedBy
from callcenter_ws.bridge.tenants import CallOrigin

FAR_END_CAUSES = ("0", "127")
"""Causes of hangups that came from the caller: the exchange's own have 16 and the like."""

_SAME_MOMENT_SECONDS = 0.25
"""Two who hang up within this time do it at once: the second one may only have been slower."""

_MAX_REQUESTS = 20
_MAX_SILENT = 200
"""The oldest ones of a call give way; a dialplan may dial the same phones again and again."""


@dataclass(slots=True)
class Departure:
    """A caller that has left its queue, of which it is not clear yet why.

    Attributes:
        time: when it left.
        is_abandon: whether the queue told that the caller left without an answer.
        was_ringing: whether members were still called, and no ``call.missed`` was published for them.
    """

    time: float
    is_abandon: bool
    was_ringing: bool


@dataclass(slots=True)
class CallNotes:
    """Notes about one call.

    Attributes:
        origin: by what its tenant is chosen; None: that is done.
        is_originated: whether the exchange made its first channel, instead of a caller.
        rang: when the caller's own phone rang, in a call that the exchange originated; None: it did not, or it is told.
        silent: legs of a dial of several that ended without an answer; they missed the call if none answers.
        cause: why the caller's channel was hung up.
        requests: who hung up, and when.
        completed: who ended the conversation as the queue told, and when.
    """

    origin: CallOrigin | None = None
    is_originated: bool = False
    rang: float | None = None
    silent: list[str] = field(default_factory=list)
    cause: str = ""
    requests: list[tuple[EndedBy, float]] = field(default_factory=list)
    completed: tuple[EndedBy, float] | None = None
    departure: Departure | None = None

    def note_silent(self, leg_id: str) -> None:
        """Note that a leg of a dial of several ended without an answer."""
        self.silent.append(leg_id)
        del self.silent[:-_MAX_SILENT]

    def request(self, who: EndedBy, time: float) -> None:
        """Note that a participant hung up."""
        if len(self.requests) < _MAX_REQUESTS:
            self.requests.append((who, time))

    def requested_by(self, since: float) -> EndedBy:
        """Return who hung up last since a time, or at the same moment but first; empty: no participant did.

        A caller who goes on when the agent has hung up ends the call by an own hangup, however soon.
        """
        if not self.requests or self.requests[-1][1] < since:
            return ""
        moment = max(since, self.requests[-1][1] - _SAME_MOMENT_SECONDS)
        return next(who for who, time in self.requests if time >= moment)

    def completed_by(self, since: float) -> EndedBy:
        """Return who ended the conversation since a time, as the queue told; empty: it told nothing."""
        return self.completed[0] if self.completed is not None and self.completed[1] >= since else ""
