"""Sources over AMP: who may say ``Hello``, numbered events, leases, ``source.up`` and ``source.down``."""

from __future__ import annotations

import json
from typing import Any

import pytest
from amp_doubles import SECRET

from callcenter_ws.amp import commands
from callcenter_ws.broker.batch import EVENTS_PER_TURN
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.event import Origin, make_event
from callcenter_ws.events.source_rules import SourceNumber
from callcenter_ws.sources import publishing
from callcenter_ws.testing import run

CALL = {"unique_id": "1.1", "caller_id": "5", "destination": "6"}
ACME = "acme-service"
HEALTH = json.dumps(["health"]).encode()


@pytest.fixture(autouse=True)
def started(server: Any) -> Any:
    server.sources.start()
    yield
    server.sources.stop()


def daemon(server: Any, token: str = ACME) -> Any:
    peer = server.tcp()
    assert "principal" in peer.call(commands.Authenticate, token=token)
    return peer


def hello(peer: Any, source: str = "pbx1", instance: str = "i1", **options: Any) -> Any:
    return peer.call(commands.Hello, **{"source": source, "kind": "asterisk", "instance": instance, **options})


def tenants(*names: str) -> bytes:
    return json.dumps(names).encode()


def event(number: int | None = None, **fields: Any) -> dict[str, Any]:
    numbered = {} if number is None else {"source_seq": number}
    return {"tenant_id": "acme", "type": "call.incoming", "payload": CALL, **numbered, **fields}


def batch(peer: Any, *events: dict[str, Any]) -> list[Any]:
    answer = peer.call(commands.PublishBatch, events=json.dumps(events).encode())
    return [result["code"] if isinstance(result, dict) else result for result in json.loads(answer["results"])]


def one(peer: Any, number: int | None = None, **fields: Any) -> Any:
    return peer.call(commands.PublishEvent, **event(number, **{"payload": json.dumps(CALL).encode(), **fields}))


def published(server: Any, tenant_id: str = "acme") -> list[str]:
    return [one.event.type.name for one in server.delivered if one.event.tenant_id == tenant_id]


# Identity


def test_hello_answers_lease_generation_and_time(server: Any) -> None:
    answer = hello(daemon(server))
    assert (answer["lease"], answer["generation"], answer["source_seq"]) == (30.0, 1, 0)
    assert answer["server_time_ms"] == int(server.clock.time() * 1_000)


def test_hello_is_for_authenticated_peers(server: Any) -> None:
    assert hello(server.tcp())[0] == b"UNAUTHENTICATED"


def test_hello_once_for_each_connection(server: Any) -> None:
    peer = daemon(server)
    hello(peer)
    assert hello(peer)[0] == b"INVALID_EVENT"


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        ({"source": ""}, b"INVALID_EVENT", "source: "),
        ({"source": "x" * 129}, b"INVALID_EVENT", "source: "),
        ({"source": "a\0"}, b"INVALID_EVENT", "source: "),
        ({"source": "a\nb"}, b"INVALID_EVENT", "source: the control character U+000A is not allowed"),
        ({"tenants": tenants("a\nb")}, b"INVALID_EVENT", "tenants: "),
        ({"instance": ""}, b"INVALID_EVENT", "instance: "),
        ({"kind": "x" * 65}, b"INVALID_EVENT", "kind: "),
        ({"version": "x" * 65}, b"INVALID_EVENT", "version: "),
        ({"generation": 0}, b"INVALID_EVENT", "generation: "),
        ({"generation": 2**53}, b"INVALID_EVENT", "generation: "),
        ({"tenants": b'"acme"'}, b"INVALID_EVENT", "tenants: "),
        ({"tenants": b"["}, b"INVALID_EVENT", "tenants: "),
        ({"tenants": tenants("*")}, b"INVALID_EVENT", "tenants: "),
        ({"tenants": tenants("globex")}, b"FORBIDDEN", "tenants: "),
        ({"capabilities": json.dumps(["x" * 33]).encode()}, b"INVALID_EVENT", "capabilities: "),
        (
            {"capabilities": b'["helth"]'},
            b"INVALID_EVENT",
            "capabilities: there is no capability 'helth'; did",
        ),
        ({"capabilities": json.dumps(["x"] * 65).encode()}, b"INVALID_EVENT", "capabilities: "),
    ],
)
def test_hello_refuses(server: Any, options: dict[str, Any], code: bytes, text: str) -> None:
    peer = daemon(server)
    answer = hello(peer, **options)
    assert answer[0] == code
    assert answer[1].startswith(text)
    # The connection may say it again.
    assert hello(peer)["generation"] == 1


def test_a_credential_of_all_tenants_names_its_tenants(server: Any) -> None:
    for peer in (daemon(server, SECRET.decode()), daemon(server, "root-unix"), server.unix()):
        assert hello(peer)[1].startswith("tenants: required")
        assert hello(peer, tenants=tenants("acme", "globex"))["generation"] >= 1


def test_a_name_has_one_owner_in_a_tenant(server: Any) -> None:
    hello(daemon(server))
    assert hello(daemon(server, "acme-jti"))[0] == b"FORBIDDEN"  # of the same tenant, with another sub
    assert hello(daemon(server, "globex-service"))["generation"] == 1
    shared = daemon(server, SECRET.decode())
    assert hello(shared, tenants=tenants("initech", "acme"))[0] == b"FORBIDDEN"
    assert hello(shared, tenants=tenants("initech"))["generation"] == 1


def test_a_token_of_another_owner_is_refused_on_the_connection(server: Any) -> None:
    peer = daemon(server)
    hello(peer)
    assert peer.call(commands.Authenticate, token="acme-jti")[0] == b"FORBIDDEN"
    assert "principal" in peer.call(commands.Authenticate, token="acme-service")


def test_another_instance_is_refused_until_the_lease_has_ended(server: Any) -> None:
    first, second = daemon(server), daemon(server)
    hello(first)
    assert hello(second, instance="i2")[0] == b"SOURCE_IN_USE"
    first.transport.loseConnection()
    server.clock.advance(29)
    assert hello(second, instance="i2")[0] == b"SOURCE_IN_USE"
    server.clock.advance(2)
    assert hello(second, instance="i2")["generation"] == 2


def test_the_same_instance_replaces_its_connection(server: Any) -> None:
    first, second = daemon(server), daemon(server)
    hello(first, generation=1)
    one(first, 1)
    assert hello(second, generation=1)["source_seq"] == 1
    assert not first.connected
    assert one(second, 2)["seq"] == 3
    server.clock.advance(60)
    assert published(server) == ["source.up", "call.incoming", "call.incoming"]


def test_generations(server: Any) -> None:
    assert hello(daemon(server))["generation"] == 1
    assert hello(daemon(server))["generation"] == 2
    assert hello(daemon(server), generation=7)["generation"] == 7
    assert hello(daemon(server), generation=6)[0] == b"STALE_GENERATION"
    assert hello(daemon(server))["generation"] == 8


def test_forget_releases_a_name(server: Any) -> None:
    peer = daemon(server)
    hello(peer, generation=3)
    one(peer, 5)
    with pytest.raises(Refusal) as refused:
        run(server.sources.forget("pbx1", "acme"))
    assert refused.value.code is ErrorCode.SOURCE_IN_USE
    peer.transport.loseConnection()
    server.clock.advance(31)
    assert run(server.sources.forget("pbx1", None)) == 0
    assert run(server.sources.forget("pbx1", "acme")) == 1
    other = daemon(server, "acme-jti")
    # What is stored stays a duplicate.
    assert hello(other, generation=3)["source_seq"] == 5
    assert one(other, 5)["seq"] == 0
    assert published(server) == ["source.up", "call.incoming", "source.down", "source.up"]


# Numbered events


def test_a_number_is_published_once_without_a_limit_in_time(server: Any) -> None:
    peer = daemon(server)
    hello(peer, generation=1)
    assert batch(peer, event(1), event(2)) == [2, 3]
    assert one(peer, 2, event_id="e")["seq"] == 0
    server.clock.advance(7 * 86_400)
    peer.transport.loseConnection()
    again = daemon(server)
    assert hello(again, generation=1)["source_seq"] == 2
    assert batch(again, event(1), event(2), event(3)) == [0, 0, 6]
    assert published(server).count("call.incoming") == 3


def test_the_position_of_a_recent_duplicate_is_answered(server: Any) -> None:
    peer = daemon(server)
    hello(peer)
    assert batch(peer, event(1, event_id="e"), event(2)) == [2, 3]
    assert batch(peer, event(1, event_id="e")) == [2]


def test_numbers_are_kept_for_each_tenant(server: Any) -> None:
    peer = daemon(server, SECRET.decode())
    hello(peer, tenants=tenants("acme", "globex"), generation=1)
    assert batch(peer, event(1), event(3, tenant_id="globex")) == [2, 2]
    peer.transport.loseConnection()
    again = daemon(server, SECRET.decode())
    # The highest number of all tenants; 2 is missing, though.
    assert hello(again, tenants=tenants("acme", "globex"), generation=1)["source_seq"] == 3
    assert batch(again, event(2), event(3, tenant_id="globex")) == [3, 0]


def test_a_higher_generation_begins_at_any_number(server: Any) -> None:
    peer = daemon(server)
    hello(peer, generation=1)
    batch(peer, event(100))
    again = daemon(server)
    assert hello(again, generation=2)["source_seq"] == 0
    assert batch(again, event(1)) == [3]


@pytest.mark.parametrize("number", [0, -1, 2**53, True, 1.5, "1"])
def test_wrong_numbers(server: Any, number: Any) -> None:
    peer = daemon(server)
    hello(peer)
    assert batch(peer, event(number), event(1)) == ["INVALID_EVENT", 2]


MANY_FIELDS = {**CALL, "variables": {f"{number:x}": 1 for number in range(30_000)}}


def test_a_long_batch_is_published_in_order_and_what_is_refused_is_numbered(server: Any) -> None:
    peer = daemon(server)
    hello(peer)
    large = {**CALL, "variables": {"note": "x" * 1_500}}
    events = [event(number, payload=MANY_FIELDS if number == 60 else large) for number in range(1, 101)]
    peer.send(peer.box(commands.PublishBatch, events=json.dumps(events).encode()))
    # What follows at once must not overtake it.
    peer.send(peer.box(commands.PublishEvent, **event(101, payload=json.dumps(CALL).encode())))
    server.clock.turn()
    first, second = peer.boxes()
    results = json.loads(first[b"results"])
    assert results.pop(59)["message"] == "more than 20,000 fields"
    # source.up was published first.
    assert results == list(range(2, 101))
    assert second[b"seq"] == b"101"
    # The number of the refused event is stored.
    assert batch(peer, event(60), event(102)) == [0, 102]


def test_numbers_grow_within_a_batch(server: Any) -> None:
    peer = daemon(server)
    hello(peer)
    assert batch(peer, event(2), event(2), event(1), event(3)) == [2, "INVALID_EVENT", "INVALID_EVENT", 3]


def test_events_of_other_tenants_are_refused_for_good(server: Any) -> None:
    peer = daemon(server, SECRET.decode())
    hello(peer, tenants=tenants("acme"))
    assert batch(peer, event(1, tenant_id="globex"), event(tenant_id="globex"), event(2)) == [*["FORBIDDEN"] * 2, 2]


def test_a_number_requires_hello(server: Any) -> None:
    assert one(daemon(server), 1) == (b"INVALID_EVENT", "source_seq: only after Hello, over AMP")


def test_events_without_a_number_are_ordinary(server: Any) -> None:
    peer = daemon(server)
    hello(peer)
    assert batch(peer, event(event_id="a"), event(1), event(event_id="a")) == [2, 3, 2]
    assert [message.event.source for message in server.delivered] == ["pbx1"] * 3
    assert one(daemon(server))["seq"] == 4
    assert server.delivered[-1].event.source is None


@pytest.mark.parametrize(
    "wrong", [{"type": "call.exploded"}, {"payload": {}}, {"payload": {**CALL, "x": "y" * 600_000}}, {"user_id": ""}]
)
def test_a_final_refusal_raises_the_mark(server: Any, wrong: dict[str, Any]) -> None:
    peer = daemon(server)
    hello(peer, generation=1)
    if "x" in wrong.get("payload", {}):
        # Larger than a box; the limit of the payload is checked with a smaller one.
        wrong = {"timestamp": "yesterday"}
    (code,) = batch(peer, event(4, **wrong))
    assert code == "INVALID_EVENT"
    assert hello(daemon(server), generation=1)["source_seq"] == 4


def test_malformed_json_raises_the_mark(server: Any) -> None:
    peer = daemon(server)
    hello(peer, generation=1)
    assert one(peer, 4, payload=b"{")[0] == b"INVALID_EVENT"
    assert hello(daemon(server), generation=1)["source_seq"] == 4


# Transient refusals and pipelining


def test_events_sent_before_hello_is_answered_wait_for_it(server: Any) -> None:
    peer = daemon(server)
    server.broker.is_blocked = True
    box = peer.box(commands.Hello, source="pbx1", kind="x", instance="i")
    for number in (1, 2):
        box += peer.box(commands.PublishEvent, **event(number, payload=json.dumps(CALL).encode()))
    peer.send(box)
    assert peer.boxes() == []
    assert not peer.server_reads
    server.broker.unblock()
    peer.send(peer.box(commands.PublishEvent, **event(3, payload=json.dumps(CALL).encode())))
    server.clock.turn()
    answers = peer.boxes()
    assert [answer.get(b"seq") for answer in answers] == [None, b"2", b"3", b"4"]


def refuse(server: Any, times: int = 1) -> None:
    """Have the store refuse the next calls, each as a whole."""
    publish, left = server.broker._broker.publish, [times]

    async def refusing(events: Any) -> Any:
        if left[0]:
            left[0] -= 1
            return [Refusal(ErrorCode.OVERLOADED) for _ in events]
        return await publish(events)

    server.broker._broker.publish = refusing


def test_after_a_transient_refusal_higher_numbers_wait(server: Any) -> None:
    peer = daemon(server)
    hello(peer)
    refuse(server)
    assert batch(peer, event(1)) == ["OVERLOADED"]
    assert batch(peer, event(2), event(3)) == ["UNAVAILABLE"] * 2
    assert batch(peer, event(1)) == [2]
    # 3 was refused after 2: it waits for it.
    assert batch(peer, event(3)) == ["UNAVAILABLE"]
    assert batch(peer, event(2), event(3), event(4)) == [3, 4, 5]


def test_other_tenants_go_on(server: Any) -> None:
    peer = daemon(server, SECRET.decode())
    hello(peer, tenants=tenants("acme", "globex"))
    refuse(server)
    assert batch(peer, event(1)) == ["OVERLOADED"]
    assert batch(peer, event(2, tenant_id="globex"), event(3)) == [2, "UNAVAILABLE"]
    assert batch(peer, event(1), event(3)) == [2, 3]


def test_events_under_way_do_not_overtake_a_refused_one(server: Any) -> None:
    peer = daemon(server)
    hello(peer)
    server.broker.is_blocked = True
    refuse(server)
    for number in (1, 2, 3):
        peer.send(peer.box(commands.PublishEvent, **event(number, payload=json.dumps(CALL).encode())))
    server.broker.unblock()
    assert [box[b"_error_code"] for box in peer.boxes()] == [b"OVERLOADED", b"UNAVAILABLE", b"UNAVAILABLE"]
    assert batch(peer, event(1), event(2), event(3)) == [2, 3, 4]


def test_a_new_connection_starts_with_the_lowest_unanswered(server: Any) -> None:
    peer = daemon(server)
    hello(peer, generation=1)
    refuse(server)
    assert batch(peer, event(1), event(2)) == ["OVERLOADED"] * 2
    again = daemon(server)
    assert hello(again, generation=1)["source_seq"] == 0
    assert batch(again, event(1), event(2)) == [2, 3]


def test_events_of_the_old_connection_may_arrive_late(server: Any) -> None:
    peer = daemon(server)
    hello(peer, generation=1)
    server.broker.is_blocked = True
    peer.send(peer.box(commands.PublishBatch, events=json.dumps([event(1), event(2)]).encode()))
    blocked, server.broker.blocked, server.broker.is_blocked = server.broker.blocked, [], False
    again = daemon(server)
    assert hello(again, generation=1)["source_seq"] == 0
    assert batch(again, event(1), event(2), event(3)) == [2, 3, 4]
    for waiting in blocked:
        waiting.callback(None)
    assert published(server) == ["source.up", *["call.incoming"] * 3]


@pytest.mark.logs_errors
def test_an_unhandled_error_counts_as_a_transient_refusal(server: Any) -> None:
    peer = daemon(server)
    hello(peer)
    server.broker.error = RuntimeError("a bug")
    assert one(peer, 1)[0] == b"UNAVAILABLE"
    server.broker.error = None
    assert batch(peer, event(2)) == ["UNAVAILABLE"]
    assert batch(peer, event(1), event(2)) == [2, 3]


def test_too_many_refused_numbers_end_the_connection(server: Any) -> None:
    peer = daemon(server)
    hello(peer)
    refuse(server)
    batch(peer, event(1))
    for start in range(2, 4_202, 600):
        if peer.connected:
            batch(peer, *[event(number) for number in range(start, start + 600)])
    assert not peer.connected


def test_refused_numbers_of_all_tenants_end_the_connection(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "MAX_REFUSED", 10)
    peer = daemon(server, SECRET.decode())
    hello(peer, tenants=tenants("acme", "globex"))
    refuse(server)
    batch(peer, event(1), event(2, tenant_id="globex"))
    batch(peer, *[event(number, tenant_id=("acme", "globex")[number % 2]) for number in range(3, 11)])
    assert peer.connected
    # Those that come again do not count any more.
    batch(peer, event(1), event(2, tenant_id="globex"))
    batch(peer, event(11), event(12, tenant_id="globex"))
    assert peer.connected
    batch(peer, event(13))
    assert not peer.connected


@pytest.mark.logs_errors
def test_an_unhandled_error_in_the_check_of_one_event_loses_no_other(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = daemon(server, SECRET.decode())
    hello(peer, tenants=tenants("acme", "globex"))

    def check(draft: Any, *arguments: Any) -> Any:
        if draft["event_id"] == "2":
            raise RuntimeError("a bug")
        return real(draft, *arguments)

    real = server.broadcaster.validate
    numbered = [event(n, event_id=str(n), tenant_id="globex" if n == 3 else "acme") for n in range(1, 6)]
    with monkeypatch.context() as patch:
        patch.setattr(server.broadcaster, "validate", check)
        assert batch(peer, *numbered) == [2, "UNAVAILABLE", 2, *["UNAVAILABLE"] * 2]
    assert batch(peer, *numbered[3:]) == ["UNAVAILABLE"] * 2
    assert batch(peer, *numbered[1:]) == [3, 2, 4, 5]
    # No number is left over as one that others wait for.
    assert batch(peer, event(6)) == [6]


def test_numbers_grow_over_the_parts_of_a_large_batch(server: Any) -> None:
    peer = daemon(server)
    hello(peer)
    numbers = [*range(1, EVENTS_PER_TURN + 1), EVENTS_PER_TURN, EVENTS_PER_TURN + 1]
    text = json.dumps([event(number) for number in numbers]).encode()
    peer.send(peer.box(commands.PublishBatch, events=text))
    server.clock.turn(3)
    *_, last, fallen, after = json.loads(joined(peer.boxes()[0], b"results"))
    assert (last, fallen["code"], after) == (EVENTS_PER_TURN + 1, "INVALID_EVENT", EVENTS_PER_TURN + 2)


def joined(box: Any, name: bytes) -> bytes:
    """Return a value of a box, with its further parts."""
    parts, at = [box[name]], 1
    while (part := box.get(b"%b.%d" % (name, at))) is not None:
        parts.append(part)
        at += 1
    return b"".join(parts)


def test_an_event_of_a_superseded_generation_is_refused_and_not_stored(server: Any) -> None:
    """The gateway stood still for longer than the lease, while another instance went on elsewhere."""
    peer = daemon(server)
    hello(peer, generation=1)
    assert one(peer, 1)["seq"] == 2
    late = make_event(
        tenant_id="acme",
        type_="call.incoming",
        payload=CALL,
        event_id="other",
        now=server.clock.time(),
        received_at=server.clock.monotonic(),
        origin=Origin.PRODUCER,
    )
    late.source, late.source_rule = "pbx1", SourceNumber(2, 9, 0, 2)
    run(server.broker.publish([late]))
    assert one(peer, 2)[0] == b"STALE_GENERATION"
    assert batch(peer, event(2), event(3, type="no.such.event"), event()) == [*["STALE_GENERATION"] * 2, 4]
    assert published(server) == ["source.up", *["call.incoming"] * 3]


# Leases and health


def test_up_at_hello_and_down_after_the_lease(server: Any) -> None:
    peer = daemon(server, SECRET.decode())
    hello(peer, tenants=tenants("acme", "globex"), version="1.2")
    for tenant in ("acme", "globex"):
        assert published(server, tenant) == ["source.up"]
    peer.transport.loseConnection()
    server.clock.advance(29)
    assert published(server) == ["source.up"]
    server.clock.advance(3_600)
    for tenant in ("acme", "globex"):
        assert published(server, tenant) == ["source.up", "source.down"]
    up, down = (message.event for message in server.delivered if message.event.tenant_id == "acme")
    assert json.loads(up.payload) == {
        "source": "pbx1",
        "kind": "asterisk",
        "version": "1.2",
        "since": json.loads(up.payload)["since"],
        "commands": [],
    }
    assert "commands" not in json.loads(down.payload)
    assert json.loads(down.payload)["reason"] == "lease_ended"
    assert (up.source, down.source) == ("pbx1", "pbx1")


def test_a_source_that_returns_within_its_lease_is_not_announced(server: Any) -> None:
    peer = daemon(server)
    hello(peer)
    peer.transport.loseConnection()
    server.clock.advance(29)
    again = daemon(server)
    hello(again)
    server.clock.advance(60)
    assert published(server) == ["source.up"]
    again.transport.loseConnection()
    server.clock.advance(60)
    hello(daemon(server))
    assert published(server) == ["source.up", "source.down", "source.up"]


def test_a_source_with_health_announces_itself(server: Any) -> None:
    peer = daemon(server)
    hello(peer, capabilities=HEALTH)
    assert published(server) == []
    up = {"type": "source.up", "payload": {"source": "pbx1"}}
    assert batch(peer, event(1, **up), event(**{**up, "type": "source.down"}), event(2, **up)) == [1, 2, 3]
    peer.transport.loseConnection()
    server.clock.advance(31)
    assert published(server)[3:] == ["source.down"]
    again = daemon(server)
    hello(again, capabilities=HEALTH)
    assert published(server)[4:] == []
    batch(again, event(1, **up))
    assert published(server)[4:] == ["source.up"]


def commands_announced(server: Any) -> list[list[str]]:
    ups = [json.loads(message.event.payload) for message in server.delivered if message.event.type.name == "source.up"]
    return [payload["commands"] for payload in ups]


def test_source_up_names_the_commands_that_the_source_declared(server: Any) -> None:
    declared = json.dumps(["chats", "call.transfer", "call.hangup", "a.later.one"]).encode()
    hello(daemon(server), capabilities=declared)
    # Of the same lease: announced again only since its commands are others.
    hello(daemon(server), capabilities=declared)
    hello(daemon(server), capabilities=json.dumps(["call.hangup", "chats"]).encode())
    assert commands_announced(server) == [["call.hangup", "call.transfer"], ["call.hangup"]]


def test_a_source_with_health_cannot_name_other_commands_than_it_declared(server: Any) -> None:
    peer = daemon(server)
    hello(peer, capabilities=json.dumps(["health", "call.hangup"]).encode())
    for number, forged in enumerate((["call.transfer"], "no list", None), 1):
        up = event(number, type="source.up", payload={"source": "pbx1", "commands": forged})
        assert batch(peer, up) == [number]
    assert commands_announced(server) == [["call.hangup"]] * 3


def test_a_source_that_said_down_is_not_announced_down_again(server: Any) -> None:
    peer = daemon(server)
    hello(peer, capabilities=HEALTH)
    down = {"type": "source.down", "payload": {"source": "pbx1"}}
    batch(peer, event(1, **{**down, "type": "source.up"}), event(2, **down))
    peer.transport.loseConnection()
    server.clock.advance(31)
    assert published(server) == ["source.up", "source.down"]


@pytest.mark.parametrize("kind", ["source.up", "source.down"])
def test_nobody_else_announces_a_source(server: Any, kind: str) -> None:
    about = {"type": kind, "payload": {"source": "pbx1"}}
    assert batch(daemon(server), event(**about)) == ["FORBIDDEN"]
    plain, other = daemon(server), daemon(server)
    hello(plain)
    assert batch(plain, event(1, **about), event(**about)) == ["FORBIDDEN"] * 2
    hello(other, "pbx2", capabilities=HEALTH)
    assert batch(other, event(1, **about), event(**about)) == ["FORBIDDEN"] * 2


def test_a_tenant_that_is_not_named_any_more_is_told(server: Any) -> None:
    peer = daemon(server, SECRET.decode())
    hello(peer, tenants=tenants("acme", "globex"))
    hello(daemon(server, SECRET.decode()), tenants=tenants("acme"))
    assert published(server, "globex") == ["source.up", "source.down"]
    assert published(server, "acme") == ["source.up"]


def test_a_source_that_stays_up_is_announced_again(server: Any) -> None:
    peer = daemon(server, SECRET.decode())
    hello(peer, tenants=tenants("acme"))
    for _ in range(50):
        server.clock.advance(3_600)
    assert peer.connected
    reasons = [json.loads(message.event.payload).get("reason") for message in server.delivered]
    assert reasons[0] is None
    assert set(reasons[1:]) == {"still_up"}
    assert len(reasons) == 9
    snapshot = run(server.broker.snapshot("acme"))
    assert [message.event.type.name for message in snapshot.publications] == ["source.up"]


def test_down_is_published_once_the_store_accepts_it(server: Any) -> None:
    peer = daemon(server)
    hello(peer)
    peer.transport.loseConnection()
    refuse(server, times=3)
    server.clock.advance(31)
    assert published(server) == ["source.up"]
    for _ in range(5):
        server.clock.advance(1)
    assert published(server) == ["source.up", "source.down"]


def test_chats_are_owned_while_a_source_with_chats_is_registered(server: Any) -> None:
    peer = daemon(server)
    assert not run(server.sources.chats_are_owned("acme"))
    hello(peer, capabilities=json.dumps(["chats"]).encode())
    peer.transport.loseConnection()
    server.clock.advance(60)
    assert run(server.sources.chats_are_owned("acme"))
    assert not run(server.sources.chats_are_owned("globex"))
    run(server.sources.forget("pbx1", "acme"))
    assert not run(server.sources.chats_are_owned("acme"))


# For operators


def test_sources_are_listed(server: Any) -> None:
    hello(daemon(server), version="1.2")
    lost = daemon(server, SECRET.decode())
    hello(lost, "dialer", tenants=tenants("acme", "globex"))
    lost.transport.loseConnection()
    answer = server.unix().call(commands.ListSources)
    assert answer["left_out"] == 0
    found = {source["source"]: source for source in json.loads(answer["sources"])}
    assert found["pbx1"] == {
        "source": "pbx1",
        "kind": "asterisk",
        "version": "1.2",
        "owner": "acd",
        "tenants": ["acme"],
        "tenant_count": 1,
        "capabilities": [],
        "generation": 1,
        "state": "connected",
    }
    assert (found["dialer"]["owner"], found["dialer"]["state"]) == ("installation", "waiting")
    server.clock.advance(31)
    (dialer,) = json.loads(server.unix().call(commands.ListSources, tenant_id="globex")["sources"])
    assert dialer["state"] == "down"
    of_tenant = daemon(server)
    assert len(json.loads(of_tenant.call(commands.ListSources, tenant_id="acme")["sources"])) == 2
    for tenant_id in (None, "globex"):
        assert of_tenant.call(commands.ListSources, tenant_id=tenant_id)[0] == b"FORBIDDEN"


def test_operators_release_names(server: Any) -> None:
    peer = daemon(server)
    hello(peer)
    operator = server.unix()
    assert operator.call(commands.ForgetSource, source="pbx1", tenant_id="acme")[0] == b"SOURCE_IN_USE"
    peer.transport.loseConnection()
    server.clock.advance(31)
    assert daemon(server).call(commands.ForgetSource, source="pbx1", tenant_id="acme")[0] == b"FORBIDDEN"
    assert operator.call(commands.ForgetSource, source="pbx1") == {"released": 0}
    assert operator.call(commands.ForgetSource, source="pbx1", tenant_id="acme") == {"released": 1}
    assert operator.call(commands.ForgetSource, source="pbx1", tenant_id="acme") == {"released": 0}
