"""Whatever an exchange sends, in whatever order: the laws hold, and nothing stops the translation."""

from __future__ import annotations

from functools import cache

from asterisk_captures import capture, recordings
from calls_world import CallsWorld
from hypothesis import given, settings
from hypothesis import strategies as st

from callcenter_ws.bridge.asterisk.framing import parse_all
from callcenter_ws.bridge.asterisk.message import AmiMessage
from callcenter_ws.bridge.call import Call, Party, Transfer
from callcenter_ws.bridge.calls import CallBook
from callcenter_ws.bridge.laws import breaches
from callcenter_ws.bridge.outgoing import BridgeEvent, Outgoing

_AGENTS = [Party("201", "Alice", is_user=True), Party("202", "Bob", is_user=True), Party("PJSIP/999")]
_CALLS = st.sampled_from(["a", "b", "c"])
_LEGS = st.integers(0, 2)
_REASONS = st.sampled_from(["answered", "abandoned", "timeout", "empty", "key", "withdrawn", "transferred", "other"])
_FACTS = st.lists(
    st.one_of(
        st.tuples(st.just("begin"), _CALLS),
        st.tuples(st.just("announce"), _CALLS),
        st.tuples(st.just("join"), _CALLS, st.sampled_from(["support", "sales"])),
        st.tuples(st.just("leave"), _CALLS, _REASONS),
        st.tuples(st.sampled_from(["ring", "answer", "miss", "stop", "release", "hold", "unhold"]), _CALLS, _LEGS),
        st.tuples(st.sampled_from(["reach", "transfer", "bring_in", "end", "lose", "caller_gone"]), _CALLS),
        st.tuples(st.just("move"), _CALLS, _CALLS),
        st.tuples(st.just("restart")),
        st.tuples(st.just("time"), st.floats(-5, 30)),
    ),
    max_size=40,
)


class _Book:
    """A book that is told facts, and restarts."""

    def __init__(self) -> None:
        self.outgoing = Outgoing("pbx1")
        self.book = CallBook(self.outgoing)
        self.time = 1_800_000_000.0
        self.events: list[BridgeEvent] = []
        self.records: dict[str, bytes] = {}
        self.count = 0

    def do(self, kind: str, *details: object) -> None:
        if kind == "time":
            self.time += float(str(details[0]))
        elif kind == "restart":
            self.take()
            self.book = CallBook(self.outgoing)
            assert self.book.restore(self.records) == []
        elif kind == "begin":
            self.begin(str(details[0]))
        else:
            found = [call for call in self.book.calls.values() if call.unique_id == details[0]]
            for call in found:
                self.change(kind, call, *details[1:])
        self.take()

    def begin(self, key: str) -> None:
        if not any(call.unique_id == key for call in self.book.calls.values()):
            self.count += 1
            caller = _AGENTS[0] if key == "c" else None
            call = Call(f"pbx1-{key}{self.count}", key, self.time, tenant_id="acme", caller=caller)
            assert self.book.begin(call)

    def change(self, kind: str, call: Call, *details: object) -> None:  # noqa: C901 - one branch for each fact
        book, time = self.book, self.time
        number = details[0] if details and isinstance(details[0], int) else 0
        leg, party = f"{call.unique_id}{number}", _AGENTS[number]
        match kind:
            case "announce":
                book.announce(call)
            case "join":
                book.join(call, str(details[0]), time, 1)
            case "leave":
                book.leave(call, str(details[0]), time)  # type: ignore[arg-type]  # one of the reasons
            case "ring":
                book.ring(call, leg, party, f"PJSIP/{number}-1", time)
            case "answer":
                book.answer(call, leg, party, f"PJSIP/{number}-1", time)
            case "miss":
                book.miss(call, leg, time, party)
            case "stop":
                book.stop_ringing(call, leg, time, is_open=bool(number))
            case "release":
                book.release(call, leg, time)
            case "hold":
                book.hold(call, leg, time)
            case "unhold":
                book.unhold(call, leg, time)
            case "reach":
                book.reach(call, "remote", "PJSIP/trunk-1", time)
            case "transfer":
                book.transfer(call, Transfer("blind", party, "204", time))
            case "bring_in":
                book.bring_in(call, "brought", _AGENTS[1], "PJSIP/202-9", time)
            case "caller_gone":
                book.release_caller(call, time)
            case "end":
                book.end(call, time, "caller", "16")
            case "lose":
                book.lose(call, time)
            case "move":
                others = [other for other in book.calls.values() if other.unique_id == details[0] and other is not call]
                for other in others:
                    book.move(call, other, list(call.legs), time)

    def take(self) -> None:
        self.book.flush()
        unit = self.outgoing.take()
        self.events.extend(unit.events)
        for key, record in unit.records.items():
            if record is None:
                self.records.pop(key, None)
            else:
                self.records[key] = record


_OF_TRANSFERS = ("it rings at", "talks in the call", "has answered this call already", "talks in this call")
"""What a law cannot judge here: legs are moved without the transfer that an exchange tells with it."""


@settings(max_examples=300, deadline=None)
@given(facts=_FACTS)
def test_facts_in_any_order(facts: list[tuple[object, ...]]) -> None:
    world = _Book()
    for kind, *details in facts:
        world.do(str(kind), *details)
    for call in list(world.book.calls.values()):
        world.book.end(call, world.time, "")
    world.take()
    found = [str(breach) for breach in breaches(world.events)]
    if any(kind in ("move", "bring_in") for kind, *_ in facts):
        found = [text for text in found if not any(part in text for part in _OF_TRANSFERS)]
    assert found == []
    assert world.records == {}


@cache
def _scenarios() -> list[list[AmiMessage]]:
    """Return the events of the captures by which one bridge saw everything, and by which it saw little."""
    scenarios = []
    for kind in ("lean", "filtered"):
        for parts in recordings(kind).values():
            messages = [message for message in parse_all(capture(parts[0]).content) if message.name]
            if 50 < len(messages) < 400:
                scenarios.append(messages)
    return scenarios


_ORDER = st.lists(st.tuples(st.sampled_from(["drop", "swap", "repeat", "strip"]), st.floats(0, 1)), max_size=25)
"""What is done to a capture, and where."""


def _mangled(messages: list[AmiMessage], changes: list[tuple[str, float]]) -> list[AmiMessage]:
    mangled = list(messages)
    for kind, place in changes:
        at = int(place * (len(mangled) - 2))
        if kind == "drop":
            del mangled[at]
        elif kind == "swap":
            mangled[at], mangled[at + 1] = mangled[at + 1], mangled[at]
        elif kind == "repeat":
            mangled.insert(at, mangled[at])
        else:
            message = mangled[at]
            kept = [name for number, name in enumerate(message.headers) if number % 3]
            headers = {name: message.headers[name] for name in kept}
            mangled[at] = AmiMessage(headers, {}, message.name, "")
    return mangled


_OF_LOST_EVENTS = ("has not ended", "agent", "member", "logged", "is still", "it rings at", "PJSIP")
"""What cannot be known where an exchange does not tell it: that a call has ended, and what agents do meanwhile."""


@settings(max_examples=150, deadline=None)
@given(data=st.data(), changes=_ORDER)
def test_captures_with_events_lost_repeated_and_out_of_order(
    data: st.DataObject, changes: list[tuple[str, float]]
) -> None:
    world = CallsWorld()
    for message in _mangled(data.draw(st.sampled_from(_scenarios())), changes):
        world.send(message.name, **message.headers)
    world.wait(100)
    found = [str(breach) for breach in breaches(world.events)]
    assert [text for text in found if not any(part in text for part in _OF_LOST_EVENTS)] == []


_HEADERS = st.dictionaries(
    st.sampled_from(
        [
            "Uniqueid",
            "Linkedid",
            "Channel",
            "DestUniqueid",
            "DestChannel",
            "DestLinkedid",
            "Queue",
            "Interface",
            "DialStatus",
            "Position",
            "Count",
            "Result",
            "Extension",
            "Cause",
            "Reason",
            "Variable",
            "Value",
            "Newname",
            "TransfererUniqueid",
            "OrigTransfererUniqueid",
            "SecondTransfererUniqueid",
            "ParkeeUniqueid",
            "Timestamp",
            "RetrieverUniqueid",
            "TargetUniqueid",
            "ChannelState",
            "Exten",
            "Context",
            "CallerIDNum",
            "StateInterface",
        ]
    ),
    st.one_of(
        st.sampled_from(
            ["", "1.1", "1.2", "1.3", "PJSIP/201-00000001", "Local/1@x-00000001;1", "Local/1@x-00000001;2"]
        ),
        st.sampled_from(["ANSWER", "RINGING", "Success", "QUEUESTATUS", "TIMEOUT", "support", "6", "-1", "9" * 400]),
        st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=8),
    ),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(sorted(CallsWorld().machine.wanted or ())), _HEADERS), max_size=30))
def test_events_that_make_no_sense(events: list[tuple[str, dict[str, str]]]) -> None:
    world = CallsWorld()
    for name, headers in events:
        world.send(name, **headers)
    world.wait(100)
    found = [str(breach) for breach in breaches(world.events)]
    assert [text for text in found if not any(part in text for part in _OF_LOST_EVENTS)] == []
