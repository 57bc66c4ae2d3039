"""Calls as the phones noted them: begun, rung, answered, missed, held, transferred, ended.

The expectations come from the phones' notes and from ``queue_log``, by rules that know neither a scenario nor the
manager interface. ``full`` sees everything, ``lean`` everything but the dialplan. ``filtered`` sees the events of
queues and the beginnings and ends of channels; what it cannot see may be missing, and may not be wrong.
"""

from __future__ import annotations

from collections import Counter

import pytest
from asterisk_captures import recordings
from phone_notes import MEMBER_NAMES, Leg, PhoneCall
from told_calls import ToldCall, noted_cases, told

SOON = 0.35
"""Seconds between a phone's note and the event: SIP, the exchange, and a busy machine."""

GUESS_SECONDS = 1.5
"""Of several calls of one trunk, ``queue_log`` tells only in seconds which one ended."""

SUM_SECONDS = 0.7
"""Sums are measured between the exchange's events, not the phones' notes."""

SEEING = noted_cases("lean", "full")
ALL = noted_cases("lean", "full", "filtered")


def phones(legs: list[Leg]) -> Counter[str]:
    return Counter(leg.phone for leg in legs if leg.phone.isdigit())


def rung(call: PhoneCall) -> list[Leg]:
    """The phones at which the exchange let the call ring; not those that an attended transfer brought into it."""
    return [leg for leg in call.legs if not leg.is_joined]


def is_originated(call: PhoneCall) -> bool:
    """Whether the exchange called the caller first."""
    return any(leg.phone == call.caller for leg in call.legs)


def answered(call: PhoneCall) -> list[Leg]:
    """The phones that talked in the call after they rang."""
    return [leg for leg in rung(call) if leg.is_connected and leg.phone.isdigit() and leg.phone != call.caller]


def known_agents(call: ToldCall, type_: str) -> Counter[str]:
    """The agents of the events of a type that are phones; robots have no notes."""
    return Counter({agent: count for agent, count in call.agents(type_).items() if agent.isdigit()})


@pytest.mark.parametrize(("kind", "scenario"), ALL)
def test_each_call_is_told_once(kind: str, scenario: str) -> None:
    for noted, call in told(kind, scenario).matched():
        begun = call.one("call.incoming")
        assert call.events[0] is begun
        assert call.values("unique_id") == {begun.payload["unique_id"]}
        assert abs(told(kind, scenario).at(begun) - noted.began) < SOON
        assert {event.tenant_id for event in call.events} == {"globex" if "globex" in noted.caller else "acme"}


@pytest.mark.parametrize(("kind", "scenario"), ALL)
def test_who_calls_whom(kind: str, scenario: str) -> None:
    for noted, call in told(kind, scenario).matched():
        begun = call.one("call.incoming").payload
        if noted.is_outside:
            assert begun["direction"] == "inbound"
            assert begun["destination"] == noted.destination
            if noted.is_renamed:
                # A look-up in the dialplan, which may come before the tenant is known.
                assert begun["caller_id"].endswith(noted.number)
                continue
            assert begun["caller_id"] == noted.number
            assert begun.get("caller_name", "") == noted.name
        elif noted.caller and any(leg.phone.startswith("trunk") for leg in noted.legs):
            if kind != "filtered":
                assert begun["direction"] == "outbound"
                assert noted.destination in (begun["destination"], f"9{begun['destination']}")
        elif noted.caller:
            assert begun["direction"] == "internal"
            assert begun["caller_id"] == noted.number
            assert begun["destination"] == noted.destination
        assert call.values("direction") == {begun["direction"]}


@pytest.mark.parametrize(("kind", "scenario"), ALL)
def test_each_call_ends_once(kind: str, scenario: str) -> None:
    for noted, call in told(kind, scenario).matched():
        ended = call.one("call.ended")
        assert call.events[-1] is ended
        assert not ended.payload.get("reconciled")
        if noted.ended is not None:
            # A consultation ends with its last channel, which the exchange ends a little after the transfer.
            within = GUESS_SECONDS if noted.is_guessed else 2 * SOON if noted.ended_by == "transferred" else SOON
            assert abs(told(kind, scenario).at(ended) - noted.ended) < within
            assert abs(ended.payload["duration"] - (noted.ended - noted.began)) < within


@pytest.mark.parametrize(("kind", "scenario"), SEEING)
def test_who_hung_up(kind: str, scenario: str) -> None:
    for noted, call in told(kind, scenario).matched():
        by = call.one("call.ended").payload.get("ended_by")
        calls_out = any(leg.phone.startswith("trunk") for leg in noted.legs)
        assert by in ("caller", "agent", "exchange")
        if noted.is_guessed or not noted.ended_by:
            continue
        if noted.ended_by == "caller":
            assert by == ("agent" if noted.caller.isdigit() else "caller")
        elif noted.ended_by == "callee":
            assert by == ("caller" if calls_out else "agent")
        elif noted.ended_by == "transferred":
            assert by == "agent"
        else:
            assert by == "exchange" or (by == "agent" and _is_refused(noted))


def _is_refused(noted: PhoneCall) -> bool:
    """Return whether the exchange ended a call because its only phone refused it."""
    return bool(noted.legs) and noted.legs[-1].how == "rejected"


@pytest.mark.parametrize(("kind", "scenario"), SEEING)
def test_phones_that_rang(kind: str, scenario: str) -> None:
    for noted, call in told(kind, scenario).matched():
        legs = rung(noted)
        if any(stay.record == "CONNECT" and stay.member not in MEMBER_NAMES for stay in noted.stays):
            # A robot, or an agent of a pool, who hears a tone: no phone notes a ring.
            continue
        assert known_agents(call, "call.ringing") == phones(legs)
        assert_times(kind, scenario, call, "call.ringing", [(leg.phone, leg.rang) for leg in legs])


@pytest.mark.parametrize(("kind", "scenario"), noted_cases("filtered"))
def test_phones_that_rang_for_a_queue(kind: str, scenario: str) -> None:
    for noted, call in told(kind, scenario).matched():
        ringing, legs = known_agents(call, "call.ringing"), phones(rung(noted))
        assert ringing <= legs
        if noted.stays and not noted.transfers and all(stay.record != "EXITWITHKEY" for stay in noted.stays):
            members = phones(
                [leg for leg in rung(noted) if leg.rang < _left_queues(noted) and not _is_forwarded(noted, leg)]
            )
            assert ringing >= members


def _left_queues(noted: PhoneCall) -> float:
    return max((stay.left for stay in noted.stays if stay.left is not None), default=0.0)


def _is_forwarded(noted: PhoneCall, leg: Leg) -> bool:
    return any(other.how == "forwarded" and other.ended is not None and other.ended <= leg.rang for other in noted.legs)


@pytest.mark.parametrize(("kind", "scenario"), SEEING)
def test_phones_that_answered(kind: str, scenario: str) -> None:
    for noted, call in told(kind, scenario).matched():
        legs = answered(noted)
        joined = Counter(leg.phone for leg in noted.legs if leg.is_joined)
        if is_originated(noted) or any(leg.phone.startswith("trunk") and leg.is_connected for leg in noted.legs):
            # The outside answered: the agent is the one who called.
            assert call.agents("call.answered") == Counter({noted.caller: 1})
            continue
        if not noted.legs and any(stay.record == "CONNECT" for stay in noted.stays):
            assert len(call.of("call.answered")) == 1
            continue
        told_agents = known_agents(call, "call.answered")
        assert told_agents >= phones(legs)
        # Whom an attended transfer brings into the call may be told as an answer as well.
        assert told_agents - phones(legs) <= joined
        assert_times(kind, scenario, call, "call.answered", [(leg.phone, leg.answered or 0) for leg in legs])


@pytest.mark.parametrize(("kind", "scenario"), noted_cases("filtered"))
def test_answers_in_queues(kind: str, scenario: str) -> None:
    for noted, call in told(kind, scenario).matched():
        connected = [stay for stay in noted.stays if stay.record == "CONNECT"]
        of_queue = [leg for leg in answered(noted) if leg.rang <= _left_queues(noted)]
        if connected and not any(leg.how == "forwarded" for leg in noted.legs) and of_queue:
            assert known_agents(call, "call.answered") >= phones(of_queue)
        assert len(call.of("call.answered")) >= len(connected)
        if not any(leg.phone.startswith("trunk") for leg in noted.legs):
            assert known_agents(call, "call.answered") <= phones(noted.legs) or not noted.legs


@pytest.mark.parametrize(("kind", "scenario"), ALL)
def test_missed_calls(kind: str, scenario: str) -> None:
    for noted, call in told(kind, scenario).matched():
        missed = known_agents(call, "call.missed")
        of_queues, direct = Counter(members_who_missed(kind, scenario, noted)), phones(direct_misses(noted))
        if kind == "filtered":
            assert missed >= of_queues
            assert missed <= of_queues + direct + forwarded(noted) + dumped(noted)
        else:
            assert missed >= of_queues + direct
            assert missed <= of_queues + direct + forwarded(noted)


def members_who_missed(kind: str, scenario: str, noted: PhoneCall) -> list[str]:
    """Return the phones of which ``queue_log`` says that they did not answer, or hung up before they were connected."""
    missed = ("RINGNOANSWER",) if kind == "filtered" else ("RINGNOANSWER", "AGENTDUMP")
    return [
        MEMBER_NAMES[record[3]]
        for record in told(kind, scenario).notes.records
        if record[1] == noted.uid and record[4] in missed and record[3] in MEMBER_NAMES
    ]


def direct_misses(noted: PhoneCall) -> list[Leg]:
    """Return the phones that rang alone and not for a queue, and did not answer."""
    left = _left_queues(noted) if noted.stays else -1.0
    found = []
    for leg in rung(noted):
        is_alone = sum(abs(other.rang - leg.rang) < 0.2 for other in noted.legs) == 1
        after = leg.rang > left or bool(noted.transfers and leg.rang >= noted.transfers[0].at - 0.1)
        if leg.how in ("cancelled", "rejected") and leg.answered is None and is_alone and after:
            found.append(leg)
    return [
        leg for leg in found if not any(stay.joined - 1.3 <= leg.rang <= (stay.left or 1e9) for stay in noted.stays)
    ]


def dumped(noted: PhoneCall) -> Counter[str]:
    """Return the phones that hung up before they were connected."""
    return phones([leg for leg in noted.legs if leg.answered is not None and not leg.is_connected])


def forwarded(noted: PhoneCall) -> Counter[str]:
    """Return the phones that sent the call on; whether they missed it is a matter of words."""
    return phones([leg for leg in noted.legs if leg.how == "forwarded"])


@pytest.mark.parametrize(("kind", "scenario"), ALL)
def test_holds(kind: str, scenario: str) -> None:
    for noted, call in told(kind, scenario).matched():
        holds = [event for event in call.of("call.hold") if not event.payload.get("implied")]
        if noted.has_dtmf and noted.transfers:
            # A feature code holds the call while the agent dials.
            assert len(call.of("call.unhold")) == len(call.of("call.hold")) <= 1
            continue
        assert Counter(event.payload["held_by"] for event in holds) == Counter(
            "caller" if hold.phone.startswith("trunk") else hold.phone for hold in noted.holds
        )
        for event, hold in zip(holds, noted.holds, strict=True):
            assert abs(told(kind, scenario).at(event) - hold.began) < SOON
        taken_off = [hold for hold in noted.holds if hold.ended is not None]
        assert len(taken_off) <= len(call.of("call.unhold")) <= len(call.of("call.hold"))


@pytest.mark.parametrize(("kind", "scenario"), ALL)
def test_transfers(kind: str, scenario: str) -> None:
    for noted, call in told(kind, scenario).matched():
        events = call.of("call.transferred")
        assert [event.payload["transfer_type"] for event in events] == [transfer.kind for transfer in noted.transfers]
        for event, transfer in zip(events, noted.transfers, strict=True):
            assert event.payload.get("from_agent_id") == transfer.phone
            assert event.payload.get("to_agent_id") in (None, transfer.target)
            if transfer.kind == "blind":
                assert event.payload["destination"] == transfer.target
            assert abs(told(kind, scenario).at(event) - transfer.at) < 2 * SOON


@pytest.mark.parametrize(("kind", "scenario"), SEEING)
def test_talk_and_hold_seconds(kind: str, scenario: str) -> None:
    for noted, call in told(kind, scenario).matched():
        ended = call.one("call.ended").payload
        talked = sum(connected_seconds(noted))
        held = sum(hold_seconds(noted))
        if not noted.legs and noted.stays:
            # Robots and pools: no phone noted the talk.
            assert ended["talk_seconds"] <= ended["duration"]
            continue
        if noted.has_dtmf and noted.transfers:
            assert abs(ended["talk_seconds"] + ended["hold_seconds"] - talked) < SUM_SECONDS
            continue
        assert abs(ended["hold_seconds"] - held) < SUM_SECONDS
        # A queue may wait before it connects (memberdelay).
        late = 1.0 if any(stay.record == "CONNECT" for stay in noted.stays) else 0.0
        assert -SUM_SECONDS < talked - ended["talk_seconds"] - ended["hold_seconds"] < SUM_SECONDS + late


def connected_seconds(noted: PhoneCall) -> list[float]:
    """Return how long each phone talked to the other party, each time."""
    end = noted.ended or 0
    legs = [leg for leg in noted.legs if leg.is_connected and leg.phone != noted.caller]
    return [min(leg.ended or end, end) - (leg.answered or 0) for leg in legs]


def hold_seconds(noted: PhoneCall) -> list[float]:
    """Return how long each hold lasted: at most until the phone left the call."""
    found = []
    for hold in noted.holds:
        ends = [leg.ended for leg in noted.legs if leg.phone == hold.phone and leg.is_connected and leg.ended]
        found.append(min([end for end in (hold.ended, noted.ended, *ends) if end is not None]) - hold.began)
    return found


@pytest.mark.parametrize(("kind", "scenario"), noted_cases("filtered"))
def test_no_talk_is_invented(kind: str, scenario: str) -> None:
    for noted, call in told(kind, scenario).matched():
        if noted.legs:
            talked = call.one("call.ended").payload.get("talk_seconds") or 0
            assert talked <= sum(connected_seconds(noted)) + SUM_SECONDS


def assert_times(kind: str, scenario: str, call: ToldCall, type_: str, expected: list[tuple[str, float]]) -> None:
    """Compare the times of events, agent by agent."""
    events = [(str(event.payload.get("agent_id")), told(kind, scenario).at(event)) for event in call.of(type_)]
    for phone in {phone for phone, _ in expected if phone.isdigit()}:
        noted = sorted(at for known, at in expected if known == phone)
        found = sorted(at for known, at in events if known == phone)[: len(noted)]
        # A queue may wait before it connects (memberdelay).
        late = SOON + (1.0 if type_ == "call.answered" and call.of("queue.left") else 0.0)
        assert all(-SOON < at - one < late for one, at in zip(noted, found, strict=True)), (phone, noted, found)


def test_all_scenarios_are_compared() -> None:
    assert len(recordings("lean")) > 50
