"""Commands at a running gateway: WebSocket clients, and a source that speaks AMP without Twisted."""

from __future__ import annotations

import json
import secrets
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from raw_source import RawSource

SETTINGS = """
[commands]
enabled = true
rate = 10000
burst = 10000
[limits]
rate = 10000
burst = 10000
user_rate = 10000
tenant_rate = 10000
bad_messages = 10000
"""
EVERYTHING = ("call.hangup", "call.transfer", "call.originate", "agent.state.set", "queue.member.pause")


@pytest.fixture(scope="module")
def gateway(start_shared_gateway: Callable[..., Any]) -> Any:
    return start_shared_gateway(SETTINGS, "--set", "store.url=memory:")


class Tenant:
    """A tenant of its own for one test: its source, and its users."""

    def __init__(self, gateway: Any, name: str) -> None:
        self.gateway = gateway
        self.name = name
        self.sources: list[RawSource] = []
        self.clients: list[Any] = []

    def source(self, *capabilities: str, name: str = "pbx1", subscribes: bool = True) -> RawSource:
        source = RawSource(self.gateway.amp_path, f"{name}-{self.name}")
        self.sources.append(source)
        answer = source.hello(*(capabilities or EVERYTHING), tenants=(self.name,))
        assert b"_error_code" not in answer, answer
        if subscribes:
            assert b"_error_code" not in source.subscribe()
        return source

    def client(self, user: str = "alice", role: str = "agent", **claims: Any) -> Any:
        client = self.gateway.connect(role, claims={"sub": user, "tenant_id": self.name, **claims})
        self.clients.append(client)
        return client

    def answered_call(self, source: RawSource, call_id: str, agent: str = "alice", **fields: Any) -> None:
        call = {"unique_id": call_id, "caller_id": "+49301", "destination": "100", **fields}
        assert b"seq" in source.publish("call.incoming", call, tenant_id=self.name)
        assert b"seq" in source.publish("call.answered", {**call, "agent_id": agent}, tenant_id=self.name)

    def close(self) -> None:
        for source in self.sources:
            source.close()
        for client in self.clients:
            client.socket.close()


@pytest.fixture
def tenant(gateway: Any) -> Iterator[Tenant]:
    tenant = Tenant(gateway, f"tenant-{secrets.token_hex(4)}")
    yield tenant
    tenant.close()


def command(client: Any, name: str, **fields: Any) -> dict[str, Any]:
    """Issue a command; return the message that answers it."""
    answer: dict[str, Any] = client.request("command", {"name": name, **fields})
    return answer


def refused(client: Any, name: str, **fields: Any) -> str:
    """Issue a command that is refused; return the code of the error."""
    answer = command(client, name, **fields)
    assert answer["type"] == "error", answer
    return str(answer["payload"]["code"])


def accepted(client: Any, name: str, **fields: Any) -> dict[str, Any]:
    answer = command(client, name, **fields)
    assert answer["type"] == "accepted", answer
    payload: dict[str, Any] = answer["payload"]
    return payload


def test_a_command_is_done_and_the_asker_learns_it_in_its_order(tenant: Tenant) -> None:
    source, alice, boss = tenant.source(), tenant.client(extension="101"), tenant.client("boss", "supervisor")
    assert "call.hangup" in alice.welcome["payload"]["commands"]["names"]
    tenant.answered_call(source, "c1")
    answer = accepted(alice, "call.hangup", call_id="c1", command_id="h1")
    assert (answer["command_id"], answer["source"], answer["state"]) == ("h1", source.name, "accepted")
    taken = source.command()
    assert (taken["name"], taken["payload"], taken["user_id"], taken["role"]) == (
        "call.hangup", {"call_id": "c1"}, "alice", "agent",
    )  # fmt: skip
    assert (taken["extension"], taken["tenant_id"]) == ("101", tenant.name)
    source.publish("call.ended", {"unique_id": "c1", "duration": 3}, tenant_id=tenant.name)
    assert source.tell(taken, data={"legs": 2}, message="hung up")[b"accepted"] == b"True"
    ended, done = alice.receive_type("call.ended"), alice.receive_type("command.done")
    assert done["seq"] > ended["seq"]
    assert done["user_id"] == "alice"
    assert done["payload"] == {
        "command_id": "h1", "name": "call.hangup", "source": source.name, "data": {"legs": 2}, "message": "hung up",
    }  # fmt: skip
    executed = boss.receive_type("command.executed")["payload"]
    assert (executed["user_id"], executed["call_id"], executed["outcome"]) == ("alice", "c1", "done")
    assert [message["type"] for message in boss.received_before_pong()] == []


def test_a_repeated_id_is_answered_with_what_became_of_it(tenant: Tenant) -> None:
    source, alice = tenant.source(), tenant.client()
    fields = {"state": "break", "reason": "lunch", "command_id": "s1"}
    first = accepted(alice, "agent.state.set", **fields)
    assert accepted(alice, "agent.state.set", **fields) == first | {"state": "dispatched"}
    assert refused(alice, "agent.state.set", **{**fields, "state": "available"}) == "conflict"
    # The ids of each user are its own.
    assert accepted(tenant.client("bob"), "agent.state.set", **fields)["state"] == "accepted"
    assert [source.command()["user_id"] for _ in range(2)] == ["alice", "bob"]
    source.tell({**first, "tenant_id": tenant.name, "user_id": "alice"}, "failed", code="rejected", message="no device")
    assert alice.receive_type("command.failed")["payload"]["code"] == "rejected"
    again = accepted(alice, "agent.state.set", **fields)
    assert (again["state"], again["code"], again["message"]) == ("failed", "rejected", "no device")
    assert not source.has_command()


def test_who_may_have_what_done(tenant: Tenant, gateway: Any) -> None:
    source, alice, bob = tenant.source(), tenant.client(), tenant.client("bob")
    tenant.answered_call(source, "c1", queue_name="sales")
    assert refused(bob, "call.hangup", call_id="c1") == "not_allowed"
    assert refused(alice, "call.hangup", call_id="c2") == "not_found"
    assert refused(alice, "agent.state.set", state="away", user_id="bob") == "not_allowed"
    assert refused(alice, "call.monitor", call_id="c1", mode="listen") == "not_allowed"
    assert refused(tenant.client("wall", "wallboard"), "call.hangup", call_id="c1") == "not_allowed"
    support = tenant.client("boss", "supervisor", queues=["support"])
    assert refused(support, "call.hangup", call_id="c1") == "not_found"
    assert refused(support, "queue.member.pause", queue_name="sales", user_id="alice") == "not_allowed"
    assert accepted(tenant.client("chef", "supervisor", queues=["sales"]), "call.hangup", call_id="c1")
    other = Tenant(gateway, f"other-{tenant.name}")
    other.source()
    assert refused(other.client(), "call.hangup", call_id="c1") == "not_found"
    assert refused(other.client("chef", "admin"), "call.hangup", call_id="c1") == "not_found"
    other.close()


def test_what_is_not_a_command_is_refused_with_what_is_wrong(tenant: Tenant) -> None:
    tenant.source()
    alice = tenant.client()
    assert "did you mean call.hangup" in command(alice, "call.hangpu", call_id="c1")["payload"]["message"]
    assert "did you mean call_id" in command(alice, "call.hangup", callid="c1")["payload"]["message"]
    bad = [
        ("call.originate", {"destination": "100\r\nAction: Originate"}),
        ("call.originate", {"destination": "100\n"}),
        ("call.originate", {"destination": "${EXTEN}"}),
        ("call.originate", {"destination": "100&200"}),
        ("call.originate", {"destination": "100,1"}),
        ("call.originate", {"destination": ""}),
        ("call.originate", {"destination": 100}),
        ("agent.state.set", {"state": "break", "reason": "lunch\r\nx: y"}),
        ("agent.state.set", {"state": "break", "reason": "none of the list"}),
        ("agent.state.set", {"state": "available", "extension": "101/../x"}),
        ("queue.member.pause", {"queue_name": "sales\0"}),
        ("call.hangup", {"call_id": "c\u2028"}),
        ("call.hangup", {"call_id": "c1", "command_id": "a\nb"}),
        ("call.hangup", {}),
    ]
    assert {refused(alice, name, **fields) for name, fields in bad} == {"invalid_message"}


def test_where_no_source_can_do_it(tenant: Tenant) -> None:
    alice = tenant.client()
    assert refused(alice, "call.originate", destination="100") == "no_source"
    first = tenant.source("call.hangup", name="pbx1")
    second = tenant.source("call.originate", name="pbx2")
    tenant.answered_call(second, "c1")
    # The call is of a source that cannot do it, whatever the other can.
    assert refused(alice, "call.hangup", call_id="c1") == "unsupported"
    third = tenant.source("call.originate", name="pbx3")
    assert "route" in command(alice, "call.originate", destination="100")["payload"]["message"]
    for source in (second, third, first):
        source.close()
    tenant.answered_call(tenant.source("call.hangup", name="pbx4"), "c2")
    tenant.sources[-1].close()
    while (code := refused(alice, "call.hangup", call_id="c2")) == "not_found":
        pass
    assert code == "source_down"


def test_a_call_that_has_moved_before_its_command_is_sent(tenant: Tenant) -> None:
    source, alice = tenant.source(subscribes=False), tenant.client()
    for call_id in ("moved", "ended", "kept"):
        tenant.answered_call(source, call_id)
        accepted(alice, "call.hangup", call_id=call_id, command_id=call_id)
    moved = {"unique_id": "moved", "destination": "102", "from_agent_id": "alice", "to_agent_id": "bob"}
    source.publish("call.transferred", moved, tenant_id=tenant.name)
    source.publish("call.ended", {"unique_id": "ended", "duration": 1}, tenant_id=tenant.name)
    source.subscribe()
    assert source.command()["command_id"] == "kept"
    failed = [alice.receive_type("command.failed")["payload"] for _ in range(2)]
    assert {one["command_id"]: one["code"] for one in failed} == {"moved": "not_allowed", "ended": "not_found"}
    assert not source.has_command()


def test_what_the_source_answers_at_once(tenant: Tenant) -> None:
    source, alice = tenant.source(), tenant.client()
    codes = {"OVERLOADED": "busy", "UNAVAILABLE": "busy", "INVALID_EVENT": "rejected", "FORBIDDEN": "rejected",
             "UNHANDLED": "unsupported"}  # fmt: skip
    for sent, told in codes.items():
        accepted(alice, "call.originate", destination="100")
        source.refuse(source.command(take=False), sent, "a line\r\nbreak")
        failed = alice.receive_type("command.failed")["payload"]
        assert failed["code"] == told
        assert failed["message"].isprintable()


def test_only_its_source_closes_a_command_and_only_once(tenant: Tenant) -> None:
    source, other, alice = tenant.source(), tenant.source("chats", name="crm"), tenant.client()
    accepted(alice, "call.originate", destination="100", command_id="o1")
    taken = source.command()
    assert other.tell(taken, "failed")[b"accepted"] == b"False"
    assert source.tell(taken, message="rings")[b"accepted"] == b"True"
    late = source.tell(taken, "failed", code="failed")
    assert late[b"accepted"] == b"False"
    unknown = source.tell({**taken, "command_id": "never"})
    assert unknown[b"accepted"] == b"False"
    # Neither holds up what follows, nor is answered otherwise when it is sent again.
    assert b"seq" in source.publish("alert", {"title": "t", "message": "m"}, tenant_id=tenant.name)
    assert source.tell(taken, "failed", source_seq=2)[b"accepted"] == b"False"
    types = [message["type"] for message in alice.received_before_pong()]
    assert [type_ for type_ in types if type_.startswith("command.")] == ["command.done"]


def test_an_outcome_that_is_not_valid_holds_up_nothing(tenant: Tenant) -> None:
    source, alice = tenant.source(), tenant.client()
    accepted(alice, "call.originate", destination="100")
    taken = source.command()
    for fields in (
        {"state": "maybe"},
        {"state": "done", "code": "rejected"},
        {"state": "failed", "code": "whatever"},
        {"state": "done", "data": "[" * 50_000},
        {"state": "done", "data": json.dumps("x" * 5_000)},
        {"state": "done", "data": "{"},
        {"state": "done", "timestamp": "yesterday"},
    ):
        state = fields.pop("state")
        assert source.tell(taken, state, **fields)[b"_error_code"] in (b"INVALID_EVENT", b"TOO_LARGE"), fields
    elsewhere = source.tell({**taken, "tenant_id": "umbrella"}, numbered=False)
    assert elsewhere[b"_error_code"] == b"FORBIDDEN"
    assert source.tell(taken, "failed")[b"accepted"] == b"True"
    assert alice.receive_type("command.failed")["payload"]["code"] == "failed"


def test_commands_are_for_sources(tenant: Tenant, gateway: Any) -> None:
    peer = RawSource(gateway.amp_path)
    assert peer.subscribe()[b"_error_code"] == b"FORBIDDEN"
    fields = {"tenant_id": tenant.name, "user_id": "alice", "command_id": "c", "state": "done"}
    assert peer.call("CommandOutcome", **fields)[b"_error_code"] == b"FORBIDDEN"
    peer.close()


def test_a_thousand_commands_at_once_have_one_outcome_each(tenant: Tenant) -> None:
    source, alice = tenant.source(), tenant.client()
    ids = [f"o{number}" for number in range(1_000)]
    for command_id in ids:
        payload = {"name": "call.originate", "destination": "100", "command_id": command_id}
        alice.send("command", payload, id=command_id)
    # It answers none of them: no more than these are sent.
    taken = [source.command(take=False) for _ in range(64)]
    assert not source.has_command()
    for one in taken:
        source.take(one)
    while len(taken) < len(ids):
        taken.append(source.command())
    assert [one["command_id"] for one in taken] == ids
    asks = [
        source.send(
            "CommandOutcome",
            **{name: one[name] for name in ("tenant_id", "user_id", "command_id")},
            state="done",
            source_seq=source.next_seq(),
        )
        for one in taken
    ]
    assert {source.answer(ask)[b"accepted"] for ask in asks} == {b"True"}
    answers, done = 0, []
    while len(done) < len(ids):
        message = alice.receive()
        answers += message["type"] == "accepted"
        if message["type"] == "command.done":
            done.append(message["payload"]["command_id"])
    assert answers == len(ids)
    assert done == ids


def test_chats_are_accepted_transferred_and_closed_by_the_gateway(tenant: Tenant, gateway: Any) -> None:
    alice, bob, boss = tenant.client(), tenant.client("bob"), tenant.client("boss", "supervisor")
    gateway.publish("chat.session.started", {"session_id": "chat", "queue_name": "web"}, tenant_id=tenant.name)
    assert accepted(alice, "chat.accept", session_id="chat")["source"] is None
    moved, done = alice.receive_type("chat.transferred"), alice.receive_type("command.done")
    assert (moved["payload"]["to_agent_id"], done["seq"]) == ("alice", moved["seq"] + 1)
    # Already so.
    accepted(alice, "chat.accept", session_id="chat")
    alice.receive_type("command.done")
    assert refused(bob, "chat.accept", session_id="chat") == "not_found"
    assert refused(bob, "chat.close", session_id="chat") == "not_found"
    accepted(alice, "chat.transfer", session_id="chat", to_agent_id="bob")
    alice.receive_type("command.done")
    assert refused(alice, "chat.close", session_id="chat") == "not_found"
    accepted(boss, "chat.close", session_id="chat", reason="solved")
    ended = bob.receive_type("chat.session.ended")["payload"]
    assert (ended["reason"], ended["ended_by"]) == ("solved", "boss")
    boss.receive_type("command.done")
    assert refused(boss, "chat.close", session_id="chat") == "not_found"


def test_of_two_who_accept_a_chat_at_once_one_gets_it(tenant: Tenant, gateway: Any) -> None:
    agents = [tenant.client(name) for name in ("alice", "bob", "carol")]
    gateway.publish("chat.session.started", {"session_id": "chat"}, tenant_id=tenant.name)
    for agent in agents:
        agent.send("command", {"name": "chat.accept", "session_id": "chat", "command_id": "a"}, id="a")
    got = 0
    for agent in agents:
        while (message := agent.receive())["type"] not in ("command.done", "command.failed", "error"):
            pass
        got += message["type"] == "command.done"
    assert got == 1


def test_a_source_of_chats_is_asked_in_place_of_the_gateway(tenant: Tenant) -> None:
    crm, alice = tenant.source("chats", "chat.close", name="crm"), tenant.client()
    crm.publish("chat.session.started", {"session_id": "chat", "agent_id": "alice"}, tenant_id=tenant.name)
    assert accepted(alice, "chat.close", session_id="chat")["source"] == crm.name
    assert crm.command()["name"] == "chat.close"
    assert refused(alice, "chat.transfer", session_id="chat", to_agent_id="bob") == "unsupported"


def test_a_disposition_is_recorded_during_the_call_and_after_it(tenant: Tenant) -> None:
    source, alice, bob = tenant.source(), tenant.client(), tenant.client("bob")
    tenant.answered_call(source, "c1", queue_name="sales")
    fields = {"call_id": "c1", "code": "resolved"}
    assert refused(bob, "call.disposition", **fields) == "not_allowed"
    assert refused(alice, "call.disposition", call_id="c1", code="none of the list") == "invalid_message"
    accepted(alice, "call.disposition", **fields, note="called back")
    told = alice.receive_type("call.disposition")["payload"]
    assert told == {
        "call_id": "c1", "code": "resolved", "label": "Resolved", "note": "called back", "queue_name": "sales",
        "agent_id": "alice",
    }  # fmt: skip
    alice.receive_type("command.done")
    source.publish("call.ended", {"unique_id": "c1", "duration": 3}, tenant_id=tenant.name)
    accepted(alice, "call.disposition", **fields)
    alice.receive_type("command.done")
    assert refused(bob, "call.disposition", **fields) == "not_allowed"
    assert refused(alice, "call.disposition", call_id="c0", code="resolved") == "not_found"


def test_a_service_waits_for_the_outcome_over_http(tenant: Tenant, gateway: Any) -> None:
    source = tenant.source()
    token = gateway.token("service", sub="crm", tenant_id=tenant.name)
    body = {"name": "call.originate", "destination": "100", "command_id": "o1"}
    status, answer = gateway.http("/ws/commands", method="POST", token=token, body=body)
    assert (status, answer["state"]) == (202, "accepted")
    assert source.tell(source.command())[b"accepted"] == b"True"
    status, answer = gateway.http("/ws/commands?wait=1", method="POST", token=token, body=body)
    assert (status, answer["state"]) == (200, "done")
    assert gateway.http("/ws/commands/o1", token=token)[1]["state"] == "done"
    # What is not for a person waits in no mailbox.
    client = gateway.connect("service", claims={"sub": "crm", "tenant_id": tenant.name})
    assert client.received_before_pong() == []
    client.socket.close()


def test_what_is_never_sent_times_out(tenant: Tenant) -> None:
    deaf, alice = tenant.source(subscribes=False), tenant.client()
    accepted(alice, "agent.state.set", state="away", command_id="never-sent")
    accepted(alice, "agent.state.set", state="away", command_id="never-sent-either")
    failed = [alice.receive_type("command.failed")["payload"] for _ in range(2)]
    assert {one["code"] for one in failed} == {"timeout"}
    deaf.subscribe()
    assert not deaf.has_command()
    # The outcome of a command that is closed is dropped.
    closed = {"tenant_id": tenant.name, "user_id": "alice", "command_id": "never-sent"}
    assert deaf.tell(closed)[b"accepted"] == b"False"


def test_what_was_sent_before_the_gateway_was_killed_is_not_known(start_gateway: Callable[..., Any]) -> None:
    gateway = start_gateway(SETTINGS)
    first = Tenant(gateway, "acme")
    source, alice = first.source(), first.client()
    accepted(alice, "agent.state.set", state="away", command_id="taken")
    taken = source.command()
    gateway.process.send_signal(signal.SIGKILL)
    gateway.process.wait()
    again = start_gateway(SETTINGS, "--set", f"store.url=sqlite:{gateway.folder}/callcenter-ws.sqlite")
    second = Tenant(again, "acme")
    alice = second.client()
    failed = alice.receive_type("command.failed")
    assert (failed["payload"]["command_id"], failed["payload"]["code"]) == ("taken", "outcome_unknown")
    assert "not known" in failed["payload"]["message"]
    instance = source.instance
    source = RawSource(again.amp_path, source.name)
    source.instance = instance
    source.hello(*EVERYTHING)
    source.subscribe()
    assert not source.has_command()
    assert source.tell(taken)[b"accepted"] == b"False"
    first.close()
    second.close()
    source.close()
