"""Which sessions clients write into, who opens them, and what agents see of them (``docs/protocol.rst``, "Chats")."""

from __future__ import annotations

from typing import Any

import pytest
from doubles import SlowBroker, SteppingClock
from sample_events import ACME, principal
from world import Message, Peer, World

from callcenter_ws.broker.memory import MemoryBroker
from callcenter_ws.delivery.limits import Limits
from callcenter_ws.delivery.welcome import ConnectOptions
from callcenter_ws.errors import CloseCode, ErrorCode, Refusal
from callcenter_ws.events.event import Origin
from callcenter_ws.events.principal import Principal, Role
from callcenter_ws.events.publication import Publication
from callcenter_ws.runtime.one_at_a_time import MAX_WAITING_OF_KEY

VISITOR = principal(Role.VISITOR, "v-1", session_id="s-1", name="Rui")
ANA, BEA = principal(Role.AGENT, "101", name="Ana"), principal(Role.AGENT, "102", name="Bea")
BOSS = principal(Role.SUPERVISOR, "boss")


def write(peer: Peer, body: str = "hello", session: Any = "s-1", **fields: Any) -> str:
    """Send a message; return ``accepted`` or the code of its error."""
    messages = peer.request("chat.message", {"session_id": session, "body": body, **fields})
    (answer,) = [message for message in messages if message["type"] in ("accepted", "error")]
    return str(answer["payload"].get("code", "accepted"))


def slow_world(delay: int) -> World:
    """Return a world whose store answers ``delay`` turns after it has appended, as long after it was called."""
    clock = SteppingClock()
    return World(clock=clock, broker=SlowBroker(MemoryBroker(clock), clock, lambda: delay))


def send(peer: Peer, number: int, session: str = "s-1", **fields: Any) -> None:
    """Send a message whose body and id are a number, and read nothing."""
    peer.send("chat.message", {"session_id": session, "body": str(number), **fields}, id_=number)


def accepted(peer: Peer) -> list[Any]:
    """Return the numbers of the messages that were accepted since the last read, in the order of the answers."""
    return [message["in_reply_to"] for message in peer.read("accepted")]


def shown(messages: list[Message]) -> list[str]:
    """Return the type of each event, or the body of a message."""
    return [message["payload"].get("body", message["type"]) for message in messages]


def reloaded(world: World, user: Any) -> list[Message]:
    """Return the events of the snapshot that a new connection of the user receives."""
    peer = world.connect(user, ConnectOptions(snapshot=True))
    (snapshot,) = peer.read("snapshot")
    events: list[Message] = snapshot["payload"]["events"]
    return events


class TestSessions:
    @pytest.mark.parametrize("user", [ANA, BOSS, VISITOR], ids=["agent", "supervisor", "visitor"])
    def test_a_session_that_nobody_opened_is_unknown(self, world: World, user: Any) -> None:
        world.sources.own_chats = True
        observer, peer = world.live(BOSS), world.live(user)
        assert write(peer) == "unknown_session"
        assert peer.request_error("chat.typing", {"session_id": "s-1", "is_typing": True})[0] == "unknown_session"
        world.publish("chat.session.started", {"session_id": "s-1"})
        assert write(peer, session="s-1") == "accepted"
        world.publish("chat.session.ended", {"session_id": "s-1"})
        assert write(peer) == "unknown_session"
        assert shown(observer.events()) == ["chat.session.started", "hello", "chat.session.ended"]

    def test_the_gateway_opens_a_session_with_the_first_message_of_its_visitor(self, world: World) -> None:
        received: list[Publication] = []
        world.hub.listen(received.append)
        agent, visitor = world.live(ANA), world.live(VISITOR)
        assert write(visitor, "one") == "accepted"
        assert write(visitor, "two") == "accepted"
        assert shown(agent.events()) == ["chat.session.started", "one", "two"]
        opened = [found.event for found in received if found.event.type.name == "chat.session.started"]
        assert [event.origin for event in opened] == [Origin.GATEWAY]
        assert reloaded(world, ANA)[0]["payload"] == {
            "session_id": "s-1",
            "visitor_name": "Rui",
            "status": "waiting",
        }

    def test_a_visitor_is_sent_its_own_session_s_start_before_the_answer(self, world: World) -> None:
        visitor = world.live(VISITOR)
        messages = visitor.request("chat.message", {"session_id": "s-1", "body": "one"})
        assert [message["type"] for message in messages] == ["chat.session.started", "chat.message", "accepted"]

    @pytest.mark.parametrize("user", [ANA, BOSS], ids=["agent", "supervisor"])
    def test_nobody_else_opens_a_session(self, world: World, user: Any) -> None:
        assert write(world.live(user)) == "unknown_session"

    def test_typing_opens_no_session(self, world: World) -> None:
        visitor = world.live(VISITOR)
        assert visitor.request_error("chat.typing", {"session_id": "s-1", "is_typing": True})[0] == "unknown_session"

    def test_a_session_that_has_ended_is_not_opened_again(self, world: World) -> None:
        visitor = world.live(VISITOR)
        assert write(visitor) == "accepted"
        world.publish("chat.session.ended", {"session_id": "s-1"})
        assert write(visitor, client_message_id="x") == "unknown_session"
        world.clock.advance(400)
        assert write(visitor) == "unknown_session"
        world.clock.advance(86_401)
        assert write(visitor) == "accepted"
        assert shown(reloaded(world, BOSS)) == ["chat.session.started", "hello"]

    def test_connections_of_one_visitor_open_its_session_once(self) -> None:
        world = World(slow=True)
        agent = world.live(ANA)
        visitors = [world.live(VISITOR) for _ in range(3)]
        for number, visitor in enumerate(visitors):
            visitor.send("chat.message", {"session_id": "s-1", "body": f"m{number}"})
        for _ in range(20):
            world.clock.advance(1)
            world.turn()
        assert sorted(shown(agent.events())) == ["chat.session.started", "m0", "m1", "m2"]
        assert [types for visitor in visitors for types in visitor.types()].count("error") == 0

    def test_a_repeated_first_message_is_answered_with_the_first_result(self, world: World) -> None:
        visitor = world.live(VISITOR)
        assert write(visitor, client_message_id="x") == "accepted"
        world.publish("chat.session.ended", {"session_id": "s-1"})
        assert write(visitor, client_message_id="x") == "accepted"
        assert shown(visitor.events()) == []

    @pytest.mark.parametrize("delay", [0, 1, 2, 3])
    @pytest.mark.parametrize("count", [2, 3, 5])
    def test_messages_during_the_opening_are_published_in_order(self, delay: int, count: int) -> None:
        """The first message is followed by the others at once after each number of steps."""
        for steps in range(14 * delay + 3):
            world = slow_world(delay)
            agent, visitor = world.live(ANA), world.live(VISITOR)
            send(visitor, 0)
            for _ in range(steps):
                world.clock.step()
            for number in range(1, count):
                send(visitor, number)
            assert shown(agent.events()) == ["chat.session.started", *map(str, range(count))], steps
            assert accepted(visitor) == list(range(count)), steps

    @pytest.mark.parametrize("delay", [1, 2, 3])
    def test_messages_that_arrive_one_by_one_are_published_in_order(self, delay: int) -> None:
        for gap in range(1, 6 * delay):
            world = slow_world(delay)
            agent = world.live(ANA)
            visitors = [world.live(VISITOR), world.live(VISITOR)]
            for number in range(5):
                send(visitors[number % 2], number)
                for _ in range(gap):
                    world.clock.step()
            assert shown(agent.events()) == ["chat.session.started", *"01234"], gap
            assert [accepted(visitor) for visitor in visitors] == [[0, 2, 4], [1, 3]]

    @pytest.mark.parametrize("delay", [0, 1, 2])
    def test_a_message_does_not_overtake_one_before_another_opened_the_session(self, delay: int) -> None:
        """A source, or another node, opens it after the store has refused the first message."""
        for steps in range(14 * delay + 3):
            world = slow_world(delay)
            boss, visitor = world.live(BOSS), world.live(VISITOR)
            send(visitor, 0)
            for _ in range(steps):
                world.clock.step()
            world.publish("chat.session.started", {"session_id": "s-1"})
            send(visitor, 1)
            written = [text for text in shown(boss.events()) if text != "chat.session.started"]
            assert written == ["0", "1"], steps

    def test_typing_waits_for_the_opening_and_other_sessions_do_not(self) -> None:
        world = slow_world(2)
        agent, visitor = world.live(ANA), world.live(VISITOR)
        other = world.live(principal(Role.VISITOR, "v-2", session_id="s-2"))
        send(visitor, 0)
        visitor.send("chat.typing", {"session_id": "s-1", "is_typing": True})
        send(visitor, 1)
        send(visitor, 2)
        send(other, 9, session="s-2")
        events = agent.events()
        assert shown([event for event in events if event["payload"]["session_id"] == "s-1"]) == [
            "chat.session.started",
            "0",
            "chat.typing",
            "1",
            "2",
        ]
        # The other session waits for none of these.
        assert shown(events).index("9") < shown(events).index("chat.typing")

    def test_a_repetition_during_the_opening_is_published_once(self) -> None:
        world = slow_world(1)
        agent, visitor = world.live(ANA), world.live(VISITOR)
        for number in (0, 1, 0, 1):
            send(visitor, number, client_message_id=str(number))
        assert shown(agent.events()) == ["chat.session.started", "0", "1"]
        answers = [message["payload"] for message in visitor.read() if message["type"] == "accepted"]
        found = [(answer["client_message_id"], answer["duplicate"]) for answer in answers]
        assert found == [("0", False), ("1", False), ("0", True), ("1", True)]

    def test_what_was_received_before_the_connection_was_lost_is_published(self) -> None:
        world = slow_world(2)
        agent, visitor = world.live(ANA), world.live(VISITOR)
        for number in range(3):
            send(visitor, number)
        visitor.client.connection_lost(CloseCode.ABNORMAL)
        assert shown(agent.events()) == ["chat.session.started", "0", "1", "2"]

    def test_an_opening_is_charged_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        world = slow_world(2)
        charged: list[int] = []
        use_history = world.quotas.use_history

        def note(sender: Principal, size: int, *, typing: bool = False) -> None:
            charged.append(size)
            use_history(sender, size, typing=typing)

        monkeypatch.setattr(world.quotas, "use_history", note)
        visitor = world.live(VISITOR)
        for number in range(4):
            send(visitor, number)
        assert accepted(visitor) == [0, 1, 2, 3]
        assert sorted(charged) == [0, 1, 1, 1, 1]

    def test_a_refused_opening_is_answered_and_the_next_message_opens(self, monkeypatch: pytest.MonkeyPatch) -> None:
        world = slow_world(1)
        refusals = [Refusal(ErrorCode.RATE_LIMITED, retry_after=1)]
        use_history = world.quotas.use_history

        def refuse_once(sender: Principal, size: int, *, typing: bool = False) -> None:
            if not size and refusals:
                raise refusals.pop()
            use_history(sender, size, typing=typing)

        monkeypatch.setattr(world.quotas, "use_history", refuse_once)
        agent, visitor = world.live(ANA), world.live(VISITOR)
        for number in range(3):
            send(visitor, number)
        assert shown(agent.events()) == ["chat.session.started", "1", "2"]
        answers = [message for message in visitor.read() if "in_reply_to" in message]
        assert [(answer["in_reply_to"], answer["type"]) for answer in answers] == [
            (0, "error"),
            (1, "accepted"),
            (2, "accepted"),
        ]

    def test_too_many_waiting_messages_are_refused(self) -> None:
        world = World(slow=True, limits=Limits(burst=1_000, visitor_burst=1_000, visitor_network_rate=1_000))
        agent, visitor = world.live(ANA), world.live(VISITOR)
        for number in range(MAX_WAITING_OF_KEY + 3):
            send(visitor, number)
        codes = [message["payload"]["code"] for message in visitor.read("error")]
        assert codes == ["unavailable"] * 2  # ``overloaded`` on the wire of WebSockets
        assert shown(agent.events()) == ["chat.session.started", *map(str, range(MAX_WAITING_OF_KEY + 1))]
        send(visitor, 999)
        assert shown(agent.events()) == ["999"]

    def test_any_session_where_the_operator_allows_it(self) -> None:
        world = World(open_sessions=True)
        observer = world.live(BOSS)
        assert [write(world.live(user), user.user_id) for user in (ANA, BOSS, VISITOR)] == ["accepted"] * 3
        assert shown(observer.events()) == ["101", "boss", "v-1"]


class TestAgents:
    def test_an_agent_neither_sees_nor_writes_another_s_chat(self, world: World) -> None:
        ana, bea, boss = world.live(ANA), world.live(BEA), world.live(BOSS)
        world.publish("chat.session.started", {"session_id": "s-1", "agent_id": 101})
        assert write(ana, "from ana") == "accepted"
        assert write(bea, "from bea") == "forbidden"
        assert bea.request_error("chat.typing", {"session_id": "s-1", "is_typing": True})[0] == "forbidden"
        assert write(boss, "from boss") == "accepted"
        assert bea.events() == []
        assert shown(ana.events()) == ["from boss"]
        assert shown(reloaded(world, ANA)) == ["chat.session.started", "from ana", "from boss"]
        assert reloaded(world, BEA) == []
        assert shown(reloaded(world, BOSS)) == ["chat.session.started", "from ana", "from boss"]
        assert [event["seq"] for event in world.resume(0, BEA).events()] == []
        assert shown(world.resume(0, ANA).events()) == ["chat.session.started", "from ana", "from boss"]

    def test_a_transfer_moves_the_chat_with_its_messages(self, world: World) -> None:
        ana, bea = world.live(ANA), world.live(BEA)
        world.publish("chat.session.started", {"session_id": "s-1", "agent_id": 101})
        world.publish("chat.message", {"session_id": "s-1", "body": "before"})
        world.publish("chat.transferred", {"session_id": "s-1", "to_agent_id": "102"})
        world.publish("chat.message", {"session_id": "s-1", "body": "after"})
        world.publish("chat.session.ended", {"session_id": "s-2"})
        assert shown(ana.events()) == ["chat.session.started", "before", "chat.transferred", "chat.session.ended"]
        assert shown(bea.events()) == ["chat.transferred", "after", "chat.session.ended"]
        assert (write(ana), write(bea)) == ("forbidden", "accepted")
        assert shown(reloaded(world, BEA)) == ["chat.session.started", "before", "chat.transferred", "after", "hello"]
        assert reloaded(world, ANA) == []
        # What was seen stays in the history.
        assert shown(world.resume(0, ANA).events())[:3] == ["chat.session.started", "before", "chat.transferred"]
        world.publish("chat.session.ended", {"session_id": "s-1"})
        assert (ana.events(), shown(bea.events())) == ([], ["chat.session.ended"])
        assert reloaded(world, BEA) == reloaded(world, BOSS) == []

    def test_a_waiting_chat_is_seen_by_the_agents_of_its_queue(self, world: World) -> None:
        sales = world.live(principal(Role.AGENT, "1", queues=frozenset({"sales"})))
        help_ = world.live(principal(Role.AGENT, "2", queues=frozenset({"help"})))
        anywhere = world.live(ANA)
        world.publish("chat.session.started", {"session_id": "s-1", "queue_name": "sales"})
        assert [write(peer, "mine") for peer in (sales, help_, anywhere)] == ["accepted", "forbidden", "accepted"]
        world.publish("chat.transferred", {"session_id": "s-1", "to_agent_id": "2"})
        world.publish("chat.message", {"session_id": "s-1", "body": "private"})
        assert shown(sales.events()) == ["mine", "chat.transferred"]
        assert shown(anywhere.events()) == ["chat.transferred"]
        assert shown(help_.events()) == ["chat.transferred", "private"]
        world.publish("chat.session.started", {"session_id": "s-2"})
        assert [shown(peer.events()) for peer in (sales, help_, anywhere)] == [["chat.session.started"]] * 3

    def test_agents_see_every_chat_where_the_operator_wants_it(self) -> None:
        world = World(agent_chats="all")
        queue_agent = world.live(principal(Role.AGENT, "1", queues=frozenset({"help"})))
        bea = world.live(BEA)
        world.publish("chat.session.started", {"session_id": "s-1", "agent_id": "101", "queue_name": "sales"})
        assert [write(peer) for peer in (queue_agent, bea)] == ["accepted"] * 2
        assert shown(queue_agent.events()) == ["hello"]
        assert shown(reloaded(world, BEA)) == ["chat.session.started", "hello", "hello"]

    def test_agents_without_a_queues_claim_share_one_group(self, world: World) -> None:
        """What is sent to all of them is still written once; a chat is found by its agent."""
        peers = [world.live(principal(Role.AGENT, str(number))) for number in range(10)]
        groups = {id(peer.client.outbox.group) for peer in peers}
        assert len(groups) == 1
        world.publish("chat.session.started", {"session_id": "s-1", "agent_id": "3"})
        assert [number for number, peer in enumerate(peers) if peer.events()] == [3]
        assert {id(peer.client.outbox.group) for peer in peers} == groups

    def test_events_of_a_chat_are_in_order_with_all_others(self, world: World) -> None:
        agent = world.live(ANA)
        drafts = []
        for number in range(20):
            drafts.append({"tenant_id": ACME, "type": "alert", "payload": {"title": "t", "message": "m"}})
            payload = {"session_id": f"s-{number % 2}", "agent_id": "101"} if number < 2 else None
            drafts.append(
                {
                    "tenant_id": ACME,
                    "type": "chat.session.started" if payload else "chat.message",
                    "payload": payload
                    or {
                        "session_id": f"s-{number % 2}",
                        "message_id": str(number),
                        "sender_id": "v",
                        "sender_type": "visitor",
                        "body": "x",
                    },
                }
            )
        world.spawn(world.broadcaster.publish_batch(drafts))
        assert agent.seqs() == list(range(1, 41))


class TestReload:
    def test_a_visitor_that_reconnects_receives_its_messages(self, world: World) -> None:
        world.publish("chat.session.started", {"session_id": "s-1", "visitor_email": "rui@example.org"})
        world.publish("chat.message", {"session_id": "s-1", "body": "public", "sender_email": "a@example.org"})
        world.publish("chat.message", {"session_id": "s-1", "body": "note", "private": True})
        world.publish("chat.session.started", {"session_id": "s-2"})
        world.publish("chat.message", {"session_id": "s-2", "body": "another's"})
        events = reloaded(world, VISITOR)
        assert shown(events) == ["chat.session.started", "public"]
        assert "email" not in str(events)

    def test_presence_is_shown_to_the_roles_that_may_see_it(self) -> None:
        world = World(publishes_presence=True)
        ana = world.live(ANA)
        boss = world.live(BOSS)
        assert [event["payload"]["user_id"] for event in reloaded(world, BOSS)] == ["101", "boss"]
        ana.client.connection_lost(CloseCode.NORMAL)
        boss.read()
        world.clock.advance(world.limits.presence_grace + 1)
        world.turn()
        assert [event["payload"]["user_id"] for event in reloaded(world, BOSS)] == ["boss"]
        assert reloaded(world, ANA) == []
