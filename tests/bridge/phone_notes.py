"""Reads what the phones and ``queue_log`` say about a scenario: the calls as they really were.

Nothing here knows the manager interface: the notes are read by general rules, so that they can contradict what is made
of the exchange's events.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

MEMBER_NAMES = {"Alice Adams": "201", "Bob Brown": "202", "Carol Clark": "203", "Dora Diaz": "204", "Eve Ender": "205"}
"""The phones of the members that ``queue_log`` names."""

QUEUE_LOG_SECONDS = 1.3
"""``queue_log`` has whole seconds, and is written a little later."""


@dataclass(eq=False)
class Leg:
    """One phone that a call reached.

    Attributes:
        rang: when it rang; in seconds since the start, as all times here.
        how: how it ended: ``hung up``, ``hung up on``, ``cancelled``, ``elsewhere``, ``rejected``, ``forwarded``, or
            ``transferred``; empty: it did not end.
        is_connected: whether it talked to the call's other party. An agent that hangs up during the announcement did
            not.
        is_joined: whether an attended transfer brought it into the call, so that it did not ring there.
    """

    phone: str
    rang: float
    answered: float | None = None
    ended: float | None = None
    how: str = ""
    is_connected: bool = False
    is_joined: bool = False


@dataclass(eq=False)
class Stay:
    """One stay of a call in a queue, from ``queue_log``.

    Attributes:
        record: what ended it, as ``CONNECT``; empty: nothing that is told.
        caller_stayed: whether the caller was still there after it.
    """

    queue: str
    joined: float
    record: str = ""
    left: float | None = None
    wait: float = 0
    member: str = ""
    caller_stayed: bool = False


@dataclass(eq=False)
class Hold:
    """A phone held a call, until it took it off hold (``ended``), or until something else ended that."""

    phone: str
    began: float
    ended: float | None = None


@dataclass(eq=False)
class Transfer:
    """A phone transferred a call.

    Attributes:
        kind: ``blind`` or ``attended``.
        target: the extension, for a blind one; the phone, for an attended one.
    """

    phone: str
    at: float
    kind: str
    target: str


@dataclass(eq=False)
class PhoneCall:
    """One call, as its phones noted it.

    Attributes:
        caller: the phone that called, as ``trunk-acme`` or ``201``; empty for an originated call without a phone.
        ended_by: ``caller``, ``callee`` or ``exchange``: who hung up at last; empty: it did not end.
        is_renamed: whether the exchange changed the caller's number or name.
        is_guessed: whether the end is that of one of several calls of its caller, as ``queue_log`` suggests.
    """

    caller: str
    destination: str
    number: str
    name: str
    began: float
    uid: str = ""
    ended: float | None = None
    ended_by: str = ""
    is_renamed: bool = False
    is_guessed: bool = False
    has_dtmf: bool = False
    legs: list[Leg] = field(default_factory=list)
    stays: list[Stay] = field(default_factory=list)
    holds: list[Hold] = field(default_factory=list)
    transfers: list[Transfer] = field(default_factory=list)
    answered_caller: float | None = None

    @property
    def is_outside(self) -> bool:
        """Whether it came in over a trunk."""
        return self.caller.startswith("trunk")

    def is_open(self) -> bool:
        """Whether it has not ended."""
        return self.ended is None


class Notes:
    """What happened in one scenario.

    Attributes:
        calls: in the order in which they began.
        members: the records of ``queue_log`` about members: (seconds, queue, member, record, rest).
        records: all records of ``queue_log``, divided.
    """

    def __init__(self, truth: dict[str, Any]) -> None:  # Any, as JSON is
        self.started: float = truth["started"]
        self.calls: list[PhoneCall] = []
        self.members: list[tuple[float, str, str, str, str]] = []
        self.records = [line.split("|") for line in truth["queue_log"]]
        self._log = [(float(at), text) for at, text in truth["log"]]
        self._redirected: list[float] = []
        for at, text in self._log:
            self._read(at, text)
        self._read_queue_log()
        self._finish()

    # The phones

    def _read(self, at: float, text: str) -> None:
        for pattern, method in _LINES:
            found = pattern.match(text)
            if found:
                method(self, at, *found.groups())
                return

    def _calls_out(self, at: float, phone: str, destination: str, number: str, name: str) -> None:
        self.calls.append(PhoneCall(phone, destination, number, ast.literal_eval(name), at))

    def _originate(self, at: float, phone: str, destination: str) -> None:
        self.calls.append(PhoneCall(phone, destination, phone, "", at))

    def _originate_local(self, at: float, destination: str) -> None:
        self.calls.append(PhoneCall("", destination, "", "", at))

    def _caller_is_answered(self, at: float, phone: str) -> None:
        for call in self.calls:
            if call.caller == phone and call.answered_caller is None and call.is_open():
                call.answered_caller = at
                return

    def _rings(self, at: float, phone: str, name: str | None, number: str) -> None:
        call = self._call_that_rings(phone, (name or "").strip(' "'), number)
        if call is not None:
            call.legs.append(Leg(phone, at))

    def _call_that_rings(self, phone: str, name: str, number: str) -> PhoneCall | None:
        known = [call for call in self.calls if call.is_open() and call.caller != phone]
        if not known:
            known = [call for call in self.calls if call.is_open()]
        digits = number.lstrip("+")
        for rule in (
            lambda call: call.number == number and call.name == name,
            lambda call: call.number == number,
            lambda call: bool(digits) and call.number.lstrip("+").endswith(digits),
            lambda call: bool(name) and call.name == name,
            lambda call: True,
        ):
            matching = [call for call in known if rule(call)]
            if matching:
                call = matching[-1]
                call.is_renamed |= phone.isdigit() and (call.number, call.name) != (number, name)
                return call
        return None

    def _answers(self, at: float, phone: str) -> None:
        ringing = self._legs(phone, lambda leg: leg.answered is None and leg.ended is None)
        if ringing:
            ringing[0][1].answered = at
            ringing[0][1].is_connected = True

    def _legs(self, phone: str, rule: Callable[[Leg], bool]) -> list[tuple[PhoneCall, Leg]]:
        return [(call, leg) for call in self.calls for leg in call.legs if leg.phone == phone and rule(leg)]

    def _stops_ringing(self, at: float, phone: str, why: str) -> None:
        self._end_ringing(at, phone, "elsewhere" if "elsewhere" in why else "cancelled")

    def _rejects(self, at: float, phone: str) -> None:
        self._end_ringing(at, phone, "rejected")

    def _forwards(self, at: float, phone: str) -> None:
        self._end_ringing(at, phone, "forwarded")

    def _end_ringing(self, at: float, phone: str, how: str) -> None:
        ringing = self._legs(phone, lambda leg: leg.answered is None and leg.ended is None)
        if ringing:
            ringing[0][1].ended, ringing[0][1].how = at, how

    def _fails(self, at: float, phone: str) -> None:
        for call in reversed(self.calls):
            if call.caller == phone and call.is_open():
                self._end(call, at, "exchange")
                return

    def _hangs_up(self, at: float, phone: str) -> None:
        up = self._legs(phone, lambda leg: leg.answered is not None and leg.ended is None)
        if up:
            # The last call: one that is held stays.
            call, leg = up[-1]
            leg.ended, leg.how = at, "hung up"
            if any(other.phone == call.caller for other in call.legs):
                # The exchange called its caller first.
                self._end(call, at, "caller" if phone == call.caller else "callee")
            return
        call_made = self._call_of_caller(phone, at)
        if call_made is not None:
            self._end(call_made, at, "caller")

    def _is_hung_up_on(self, at: float, phone: str) -> None:
        up = self._legs(phone, lambda leg: leg.answered is not None and leg.ended is None)
        if up and phone.isdigit():
            up[-1][1].ended, up[-1][1].how = at, "hung up on"
            return
        if up:
            # A trunk that was called.
            up[-1][1].ended, up[-1][1].how = at, "hung up on"
            return
        just_hung_up = [
            call for call in self.calls if call.caller == phone and call.is_open() and self._callee_hung_up(call, at)
        ]
        call = just_hung_up[0] if just_hung_up else self._call_of_caller(phone, at)
        if call is not None:
            self._end(call, at, "callee" if just_hung_up else "exchange")

    def _callee_hung_up(self, call: PhoneCall, at: float) -> bool:
        return any(leg.how == "hung up" and leg.is_connected and 0 <= at - (leg.ended or 0) < 0.5 for leg in call.legs)

    def _call_of_caller(self, phone: str, at: float) -> PhoneCall | None:
        """Return the call that a caller ends, of several the one of whose end ``queue_log`` tells then."""
        made = [call for call in self.calls if call.caller == phone and call.is_open()]
        if len(made) < 2:
            return made[0] if made else None
        call = min(made, key=lambda call: self._distance_from_end(call, at))
        call.is_guessed = True
        return call

    def _distance_from_end(self, call: PhoneCall, at: float) -> float:
        numbers = {record[6]: record[1] for record in self.records if record[4] == "ENTERQUEUE"}
        uid = numbers.get(call.number)
        ends = [int(record[0]) for record in self.records if record[1] == uid and record[4] in _LAST_RECORDS]
        return abs(ends[-1] + 0.5 - self.started - at) if ends else 1e9

    def _end(self, call: PhoneCall, at: float, by: str) -> None:
        call.ended, call.ended_by = at, by

    def _holds(self, at: float, phone: str) -> None:
        call = self._call_in_which(phone) or self._call_of_caller(phone, at)
        if call is not None:
            call.holds.append(Hold(phone, at))

    def _unholds(self, at: float, phone: str) -> None:
        for call in self.calls:
            for hold in call.holds:
                if hold.phone == phone and hold.ended is None:
                    hold.ended = at

    def _call_in_which(self, phone: str) -> PhoneCall | None:
        up = self._legs(phone, lambda leg: leg.answered is not None and leg.ended is None)
        return up[-1][0] if up else None

    def _transfers_blind(self, at: float, phone: str, target: str) -> None:
        call = self._call_in_which(phone)
        if call is not None:
            call.transfers.append(Transfer(phone, at, "blind", target))

    def _transfers_attended(self, at: float, phone: str) -> None:
        """Join the call that the phone made for the consultation with the one that it held."""
        call = self._call_in_which(phone)
        made = [made for made in self.calls if made.caller == phone and made.is_open()]
        if call is None or not made:
            return
        consultation = made[-1]
        for leg in call.legs:
            if leg.phone == phone and leg.answered is not None and leg.ended is None:
                leg.ended, leg.how = at, "transferred"
        others = [leg for leg in consultation.legs if leg.ended is None]
        for leg in others:
            leg.ended, leg.how = at, "transferred"
            is_up = leg.answered is not None
            call.legs.append(Leg(leg.phone, at, at if is_up else None, is_connected=is_up, is_joined=True))
        call.transfers.append(Transfer(phone, at, "attended", others[0].phone if others else ""))
        self._end(consultation, at, "transferred")

    def _redirects(self, at: float) -> None:
        self._redirected.append(at)

    def _dials_dtmf(self, at: float, phone: str) -> None:
        call = self._call_in_which(phone) or self._call_of_caller(phone, at)
        if call is not None:
            call.has_dtmf = True

    # queue_log

    def _read_queue_log(self) -> None:
        by_uid: dict[str, PhoneCall] = {}
        for time, uid, queue, member, record, *rest in self.records:
            at = int(time) - self.started
            if record in _MEMBER_RECORDS:
                self.members.append((at, queue, member, record, rest[0] if rest else ""))
            elif record == "ENTERQUEUE":
                call = by_uid.get(uid) or self._call_that_joins(rest[1], at)
                if call is not None:
                    by_uid[uid] = call
                    call.uid = uid
                    call.stays.append(Stay(queue, at))
            elif uid in by_uid and by_uid[uid].stays:
                self._read_stay(by_uid[uid], at, record, member, rest)

    def _call_that_joins(self, number: str, at: float) -> PhoneCall | None:
        digits = number.lstrip("+")
        for rule in (
            lambda call: call.number == number,
            lambda call: call.number.lstrip("+").endswith(digits) or digits.endswith(call.number.lstrip("+")),
        ):
            for call in self.calls:
                if not call.uid and rule(call) and call.began <= at + QUEUE_LOG_SECONDS:
                    return call
        return None

    def _read_stay(self, call: PhoneCall, at: float, record: str, member: str, rest: list[str]) -> None:
        stay = call.stays[-1]
        if record == "CONNECT":
            stay.record, stay.left, stay.wait, stay.member = record, at, float(rest[0]), member
        elif record in ("ABANDON", "EXITWITHTIMEOUT", "EXITEMPTY", "WITHDRAW"):
            stay.record, stay.left, stay.wait = record, at, float(rest[2])
        elif record == "EXITWITHKEY":
            stay.record, stay.left, stay.wait = record, at, float(rest[3])
        elif record == "BLINDTRANSFER" and not any(known.kind == "blind" for known in call.transfers):
            call.transfers.append(Transfer(MEMBER_NAMES.get(member, ""), at + 0.5, "blind", rest[0]))
        elif record == "AGENTDUMP":
            for leg in call.legs:
                if leg.how == "hung up" and abs((leg.ended or 0) - at) < QUEUE_LOG_SECONDS:
                    leg.is_connected = False

    # What shows only when all is read

    def _finish(self) -> None:
        guessed = {call.caller for call in self.calls if call.is_guessed}
        for call in self.calls:
            call.is_guessed = call.caller in guessed
            call.transfers = [transfer for transfer in call.transfers if self._has_succeeded(call, transfer)]
            for transfer in call.transfers:
                for leg in call.legs:
                    if leg.phone == transfer.phone and leg.is_connected and (leg.answered or 0) < transfer.at:
                        leg.ended = min(transfer.at, leg.ended or transfer.at)
            for stay in call.stays:
                self._finish_stay(call, stay)
            self._finish_legs(call)

    def _finish_stay(self, call: PhoneCall, stay: Stay) -> None:
        if stay.record == "ABANDON":
            redirected = any(abs(at - (stay.left or 0)) < QUEUE_LOG_SECONDS for at in self._redirected)
            stay.caller_stayed = (
                redirected or call.ended is None or call.ended > (stay.left or 0) + 2 * QUEUE_LOG_SECONDS
            )

    def _has_succeeded(self, call: PhoneCall, transfer: Transfer) -> bool:
        """Return whether a transfer reached its target: it rings, or the queue has noted it."""
        if transfer.kind == "attended":
            return True
        noted = any(record[1] == call.uid and record[4] == "BLINDTRANSFER" for record in self.records)
        return noted or any(leg.phone == transfer.target and leg.rang >= transfer.at for leg in call.legs)

    def _finish_legs(self, call: PhoneCall) -> None:
        """Find the answers without a conversation: the caller had hung up, or was still in the queue."""
        for leg in call.legs:
            if leg.answered is None:
                continue
            waited = [
                stay
                for stay in call.stays
                if stay.joined - QUEUE_LOG_SECONDS
                <= leg.answered
                <= (1e9 if stay.left is None else stay.left + QUEUE_LOG_SECONDS)
            ]
            reached = [
                stay for stay in waited if leg.rang <= (1e9 if stay.left is None else stay.left + QUEUE_LOG_SECONDS)
            ]
            if reached and all(stay.record != "CONNECT" for stay in reached) and not self._is_after(call, leg):
                leg.is_connected = False

    def _is_after(self, call: PhoneCall, leg: Leg) -> bool:
        """Return whether a phone rang after the call had left its queues, as far as whole seconds tell."""
        stay = call.stays[-1]
        if stay.left is None or stay.record == "CONNECT":
            return False
        before = [other for other in call.legs if other.rang < leg.rang and other.how in ("cancelled", "elsewhere")]
        dialled = not before or all((other.ended or 0) <= leg.rang + 0.05 for other in before)
        return (stay.caller_stayed or stay.record != "ABANDON") and dialled and leg.rang >= stay.left - 0.05


_MEMBER_RECORDS = frozenset(
    {"PAUSE", "UNPAUSE", "ADDMEMBER", "REMOVEMEMBER", "PENALTY", "RINGINUSE", "AGENTLOGIN", "AGENTLOGOFF"}
)
_LAST_RECORDS = frozenset({"COMPLETECALLER", "ABANDON"})

_PHONE = r"phone (\S+) "
_LINES: list[tuple[re.Pattern[str], Callable[..., None]]] = [
    (re.compile(_PHONE + r"calls (\S+) as (\S+) (.*)$"), Notes._calls_out),
    (re.compile(_PHONE + r"is answered by the PBX"), Notes._caller_is_answered),
    (re.compile(_PHONE + r"rings \(from (.*?)<sip:([^@>]*)@"), Notes._rings),
    (re.compile(_PHONE + r"answers$"), Notes._answers),
    (re.compile(_PHONE + r"answers with 302"), Notes._forwards),
    (re.compile(_PHONE + r"stops ringing(.*)"), Notes._stops_ringing),
    (re.compile(_PHONE + r"rejects with"), Notes._rejects),
    (re.compile(_PHONE + r"gets final response (?!487)"), Notes._fails),
    (re.compile(_PHONE + r"(?:hangs up|gives up)"), Notes._hangs_up),
    (re.compile(_PHONE + r"is hung up on"), Notes._is_hung_up_on),
    (re.compile(_PHONE + r"puts the call on hold"), Notes._holds),
    (re.compile(_PHONE + r"takes the call off hold"), Notes._unholds),
    (re.compile(_PHONE + r"(?:blind-transfers \(REFER\)|transfers blind) to (\S+)"), Notes._transfers_blind),
    (re.compile(_PHONE + r"completes an attended transfer"), Notes._transfers_attended),
    (re.compile(_PHONE + r"dials DTMF"), Notes._dials_dtmf),
    (re.compile(r"AMI Redirect "), Notes._redirects),
    (re.compile(r"AMI Originate Channel=PJSIP/(\S+) Exten=([^@\s]+)"), Notes._originate),
    (re.compile(r"AMI Originate \{'Channel': 'PJSIP/([^']+)'.*'Exten': '([^']+)'"), Notes._originate),
    (re.compile(r"AMI Originate Local/([^@\s]+)@"), Notes._originate_local),
]
