"""The tests that every store passes about chats and presence: assignment, conditions, last messages, who is online.

The test module of a store derives from ``ChatContract``, and from ``DurableChatContract`` if its events survive the
process.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import pytest_twisted
from broker_contract import A, B, Bench, payload_of, positions

from callcenter_ws.broker.chat_messages import SESSION_BYTES, TENANT_BYTES
from callcenter_ws.errors import Refusal
from callcenter_ws.events.event import ChatWriter, Event, Origin
from callcenter_ws.events.principal import Principal, Role
from callcenter_ws.events.visibility import may_see

_message_ids = itertools.count()
_AGENTS = (("7", None), ("8", None), ("9", frozenset({"sales"})), ("x", frozenset({"help"})))


def seen_by(event: Event) -> str:
    """Return which agents see an event: 7 and 8 of every queue, 9 of the queue sales, x of the queue help."""
    agents = [Principal(event.tenant_id, user, Role.AGENT, queues=queues) for user, queues in _AGENTS]
    supervisor = Principal(event.tenant_id, "boss", Role.SUPERVISOR, queues=frozenset({"help"}))
    assert may_see(supervisor, event)
    return "".join(agent.user_id for agent in agents if may_see(agent, event))


def chat(bench: Bench, type_: str, session: str = "s", **fields: Any) -> Event:
    """Return an event of a chat, ``type_`` without ``chat.``; a message by default."""
    writer = fields.pop("writer", None)
    options = {name: fields.pop(name) for name in ("user_id", "event_id", "tenant_id", "origin") if name in fields}
    payload = {**payload_of(f"chat.{type_}"), "session_id": session, **fields}
    if type_ == "message":
        payload["message_id"] = f"m{next(_message_ids)}"
    event = bench.event(f"chat.{type_}", payload, **options)
    event.chat_writer = writer
    return event


def presence(bench: Bench, user_id: str, *, online: bool = True) -> Event:
    """Return an announcement of the gateway."""
    return bench.event("presence.changed", {"user_id": user_id, "online": online}, origin=Origin.GATEWAY)


async def outcome(bench: Bench, event: Event) -> int | str:
    """Publish an event; return its position, or the code of its refusal."""
    (result,) = await bench.broker.publish([event])
    return str(result.code) if isinstance(result, Refusal) else result.seq


async def shown(bench: Bench) -> list[tuple[int, str]]:
    """Return the position of each publication in the snapshot, and the agents who see it."""
    return [(found.seq, seen_by(found.event)) for found in (await bench.broker.snapshot(A)).publications]


WATCHERS: list[list[tuple[str, dict[str, Any], str]]] = [
    # Assigned from the start, then transferred twice.
    [
        ("session.started", {"agent_id": "7", "queue_name": "sales"}, "7"),
        ("message", {}, "7"),
        ("typing", {}, "7"),
        ("transferred", {"from_agent_id": 7, "to_agent_id": 8}, "78"),
        ("message", {"private": True}, "8"),
        ("transferred", {"to_agent_id": "x"}, "8x"),
        ("session.ended", {}, "x"),
        ("message", {}, "x"),
    ],
    # Waiting in a queue: those who saw it waiting learn that it was assigned.
    [
        ("session.started", {"queue_name": "sales"}, "789"),
        ("message", {}, "789"),
        ("transferred", {"to_agent_id": "x"}, "789x"),
        ("message", {}, "x"),
        ("session.ended", {}, "x"),
    ],
    # Waiting in no queue.
    [("session.started", {}, "789x"), ("message", {}, "789x"), ("session.ended", {}, "789x")],
    # Started again: assigned to another, and then to nobody.
    [
        ("session.started", {"agent_id": "7", "queue_name": "sales"}, "7"),
        ("session.started", {"agent_id": "9", "queue_name": "help"}, "79"),
        ("message", {}, "9"),
        ("session.started", {"queue_name": "help"}, "789x"),
        ("message", {}, "78x"),
    ],
    # Started again after its end: the former agent is not concerned.
    [
        ("session.started", {"agent_id": "7"}, "7"),
        ("session.ended", {}, "7"),
        ("session.started", {"agent_id": "8"}, "8"),
        ("message", {}, "8"),
    ],
    # Never started here.
    [("message", {}, "789x"), ("transferred", {"to_agent_id": "7"}, "789x"), ("message", {}, "7")],
    # Fields of other events assign nothing.
    [("session.started", {"agent_id": "7"}, "7"), ("message", {"agent_id": "8", "to_agent_id": "8"}, "7")],
]


class ChatContract:
    """What holds for every store."""

    @pytest.mark.parametrize("events", WATCHERS)
    @pytest_twisted.ensureDeferred
    async def test_who_sees_an_event_follows_from_the_chat_at_that_time(
        self, bench: Bench, events: list[tuple[str, dict[str, Any], str]]
    ) -> None:
        made = [chat(bench, type_, **fields) for type_, fields, _ in events]
        payloads = [event.payload for event in made]
        # Another tenant's session, and one event for one user, change nothing.
        await bench.publish(chat(bench, "session.started", agent_id="9", tenant_id=B))
        half = len(made) // 2
        await bench.publish(*made[:half])
        await bench.publish(chat(bench, "transferred", to_agent_id="9", user_id="9"))
        await bench.publish(*made[half:])
        await bench.until(lambda: len(bench.delivered) == len(made) + 2)
        delivered = [message for message in bench.delivered if message.event.tenant_id == A]
        for messages in (delivered, (await bench.broker.read(A, 0, 20)).publications):
            of_chat = [message for message in messages if message.event.user_id is None]
            assert [seen_by(message.event) for message in of_chat] == [watchers for _, _, watchers in events]
            assert [message.event.payload for message in of_chat] == payloads

    @pytest_twisted.ensureDeferred
    async def test_a_repetition_assigns_nothing(self, bench: Bench) -> None:
        await bench.publish(chat(bench, "session.started", agent_id="7", event_id="x"))
        await bench.publish(chat(bench, "session.started", agent_id="8", event_id="x"))
        await bench.publish(chat(bench, "message"))
        await bench.until(lambda: len(bench.delivered) == 2)
        assert seen_by(bench.delivered[1].event) == "7"

    # Conditions

    @pytest_twisted.ensureDeferred
    async def test_a_client_writes_into_open_sessions_only(self, bench: Bench) -> None:
        writer = ChatWriter()
        assert await outcome(bench, chat(bench, "message", writer=writer)) == "unknown_session"
        assert (await bench.broker.position(A)).seq == 0
        await bench.publish(chat(bench, "session.started"), chat(bench, "message", session="other"))
        assert await outcome(bench, chat(bench, "message", writer=writer)) == 3
        assert await outcome(bench, chat(bench, "typing", writer=writer)) == 4
        assert await outcome(bench, chat(bench, "message", session="other", writer=writer)) == "unknown_session"
        assert await outcome(bench, chat(bench, "message", tenant_id=B, writer=writer)) == "unknown_session"
        message = chat(bench, "message", writer=writer, event_id="before")
        assert await outcome(bench, message) == 5
        await bench.publish(chat(bench, "session.ended"))
        assert await outcome(bench, chat(bench, "message", writer=writer)) == "unknown_session"
        assert await outcome(bench, chat(bench, "typing", writer=writer)) == "unknown_session"
        # What was accepted stays accepted.
        assert await outcome(bench, chat(bench, "message", writer=writer, event_id="before")) == 5
        await bench.publish(chat(bench, "session.started"))
        assert await outcome(bench, chat(bench, "message", writer=writer)) == 8

    @pytest_twisted.ensureDeferred
    async def test_outcomes_of_refused_events_are_in_order(self, bench: Bench) -> None:
        events = [
            chat(bench, "message", writer=ChatWriter()),
            chat(bench, "session.started", agent_id="7"),
            chat(bench, "message", writer=ChatWriter(agent="8")),
            chat(bench, "message", writer=ChatWriter(agent="7")),
            chat(bench, "session.ended"),
            chat(bench, "typing", writer=ChatWriter(agent="7")),
            chat(bench, "message"),
        ]
        outcomes = await bench.broker.publish(events)
        codes = [str(result.code) if isinstance(result, Refusal) else result.seq for result in outcomes]
        assert codes == ["unknown_session", 1, "forbidden", 2, 3, "unknown_session", 4]
        await bench.until(lambda: len(bench.delivered) == 4)
        assert bench.seqs() == [1, 2, 3, 4]

    @pytest.mark.parametrize(
        ("started", "expected"),
        [
            ({"agent_id": "7"}, "accepted forbidden forbidden forbidden"),
            ({"queue_name": "sales"}, "accepted accepted accepted forbidden"),
            ({"queue_name": "sales", "agent_id": "x"}, "forbidden forbidden forbidden accepted"),
            ({}, "accepted accepted accepted accepted"),
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_an_agent_writes_where_it_sees(self, bench: Bench, started: dict[str, Any], expected: str) -> None:
        await bench.publish(chat(bench, "session.started", **started))
        outcomes = []
        for user, queues in _AGENTS:
            written = await outcome(bench, chat(bench, "message", writer=ChatWriter(agent=user, queues=queues)))
            outcomes.append("accepted" if isinstance(written, int) else written)
        assert " ".join(outcomes) == expected
        nobodys_queue = ChatWriter(agent="none", queues=frozenset())
        written = await outcome(bench, chat(bench, "message", writer=nobodys_queue))
        assert (written == "forbidden") is bool(started)

    @pytest_twisted.ensureDeferred
    async def test_any_session_may_be_written_where_that_is_configured(self, bench: Bench) -> None:
        anybody, agent = ChatWriter(any_session=True), ChatWriter(agent="8", any_session=True)
        assert await outcome(bench, chat(bench, "message", writer=anybody)) == 1
        assert await outcome(bench, chat(bench, "message", writer=agent)) == 2
        await bench.publish(chat(bench, "session.started", agent_id="7"), chat(bench, "session.ended"))
        assert await outcome(bench, chat(bench, "message", writer=anybody)) == 5
        assert await outcome(bench, chat(bench, "message", writer=agent)) == "forbidden"

    @pytest_twisted.ensureDeferred
    async def test_a_session_is_opened_once(self, bench: Bench) -> None:
        def opening() -> Event:
            return chat(bench, "session.started", writer=ChatWriter(), origin=Origin.GATEWAY)

        outcomes = await bench.broker.publish([opening(), opening()])
        assert [isinstance(result, Refusal) for result in outcomes] == [False, True]
        assert await outcome(bench, opening()) == "unknown_session"
        await bench.publish(chat(bench, "session.ended"))
        assert await outcome(bench, opening()) == "unknown_session"
        # Nobody remembers it.
        bench.clock.advance(86_401)
        assert await outcome(bench, opening()) == 3

    @pytest_twisted.ensureDeferred
    async def test_a_session_without_an_end_is_closed_after_a_day(self, bench: Bench) -> None:
        await bench.publish(chat(bench, "session.started", agent_id="7"))
        for _ in range(3):
            bench.clock.advance(23 * 3600)
            assert isinstance(await outcome(bench, chat(bench, "message", writer=ChatWriter(agent="7"))), int)
        # Messages keep it alive.
        assert await bench.state() == [1, 2, 3, 4]
        bench.clock.advance(86_401)
        assert await bench.state() == []
        assert await outcome(bench, chat(bench, "message", writer=ChatWriter())) == "unknown_session"

    # The snapshot

    @pytest_twisted.ensureDeferred
    async def test_the_snapshot_shows_a_chat_to_those_who_see_it_now(self, bench: Bench) -> None:
        await bench.publish(chat(bench, "session.started", queue_name="sales"), chat(bench, "message"))
        assert await shown(bench) == [(1, "789"), (2, "789")]
        await bench.publish(chat(bench, "transferred", to_agent_id="x"), chat(bench, "message"))
        assert await shown(bench) == [(1, "x"), (2, "x"), (3, "x"), (4, "x")]
        await bench.publish(chat(bench, "transferred", to_agent_id="7"))
        assert await shown(bench) == [(1, "7"), (2, "7"), (4, "7"), (5, "7")]
        await bench.publish(chat(bench, "session.started", queue_name="help"))
        assert await shown(bench) == [(2, "78x"), (4, "78x"), (5, "78x"), (6, "78x")]
        # What is read from the history is as it was.
        publications = (await bench.broker.read(A, 0, 10)).publications
        assert [seen_by(found.event) for found in publications] == ["789", "789", "789x", "x", "7x", "78x"]
        await bench.publish(chat(bench, "session.ended"))
        assert await shown(bench) == []

    @pytest_twisted.ensureDeferred
    async def test_the_snapshot_holds_the_last_fifty_messages_of_open_chats(self, bench: Bench) -> None:
        await bench.publish(chat(bench, "message"), chat(bench, "session.started"))
        await bench.publish(*[chat(bench, "message") for _ in range(49)], chat(bench, "typing"))
        assert await bench.state() == [2, *range(3, 52)]
        await bench.publish(*[chat(bench, "message") for _ in range(3)], chat(bench, "message", user_id="7"))
        assert await bench.state() == [2, *range(5, 52), 53, 54, 55]
        await bench.publish(chat(bench, "session.started", session="t"), chat(bench, "message", session="t"))
        assert await bench.state() == [2, *range(5, 52), 53, 54, 55, 57, 58]
        await bench.publish(chat(bench, "session.ended"))
        assert await bench.state() == [57, 58]
        await bench.publish(chat(bench, "message"))
        assert await bench.state() == [57, 58]

    @pytest_twisted.ensureDeferred
    async def test_the_oldest_messages_of_a_session_give_way_when_it_is_too_large(self, bench: Bench) -> None:
        third = "x" * (SESSION_BYTES // 3)
        await bench.publish(chat(bench, "session.started"), *[chat(bench, "message", body=third) for _ in range(2)])
        assert await bench.state() == [1, 2, 3]
        await bench.publish(chat(bench, "message", body=third))
        assert await bench.state() == [1, 3, 4]
        await bench.publish(chat(bench, "message", body="x" * SESSION_BYTES))
        # Large events are not announced with their content.
        await bench.until(lambda: len(bench.delivered) == 5)
        assert await bench.state() == [1]
        await bench.publish(chat(bench, "message"))
        assert await bench.state() == [1, 6]

    @pytest_twisted.ensureDeferred
    async def test_the_oldest_messages_of_a_tenant_give_way_when_all_are_too_large(self, bench: Bench) -> None:
        body = "x" * (SESSION_BYTES - 500)
        sessions = [f"s{number}" for number in range(TENANT_BYTES // SESSION_BYTES + 3)]
        await bench.publish(bench.event("agent.login", payload_of("agent.login")))
        for session in sessions:
            await bench.publish(
                chat(bench, "session.started", session=session),
                chat(bench, "message", session=session, body=body),
            )
        kept = await bench.state()
        # The chats are all there, and so is the rest of the state.
        assert kept[0] == 1
        assert len([seq for seq in kept if seq % 2 == 0]) == len(sessions)
        messages = [seq for seq in kept if seq % 2 and seq > 1]
        assert TENANT_BYTES // SESSION_BYTES <= len(messages) < len(sessions)
        assert messages == list(range(2 * len(sessions) + 1, 2 * (len(sessions) - len(messages)) + 1, -2))[::-1]
        await bench.publish(*[chat(bench, "session.ended", session=session) for session in sessions])
        assert await bench.state() == [1]
        await bench.publish(
            chat(bench, "session.started"), *[chat(bench, "message", body=body[:900]) for _ in range(50)]
        )
        assert len(await bench.state()) == 52

    # Presence

    @pytest_twisted.ensureDeferred
    async def test_the_snapshot_has_the_users_who_are_online(self, bench: Bench) -> None:
        await bench.publish(presence(bench, "7"), presence(bench, "8"), presence(bench, "7"))
        assert await bench.state() == [2, 3]
        await bench.publish(bench.event("presence.changed", {"user_id": "9", "online": True}))
        await bench.publish(bench.event("presence.changed", {"user_id": "8", "online": False}))
        assert await bench.state() == [2, 3]
        await bench.publish(presence(bench, "7", online=False), presence(bench, "9", online=False))
        assert await bench.state() == [2]
        # For as long as they are: a wallboard stays for weeks.
        bench.clock.advance(7 * 86_400)
        await bench.publish(bench.event("agent.login", payload_of("agent.login")))
        assert await bench.state() == [2, 8]
        bench.clock.advance(86_401)
        await bench.alerts(1)
        assert await bench.state() == [2]
        await bench.publish(presence(bench, "8", online=False))
        assert await bench.state() == []


class DurableChatContract:
    """What holds for a store whose events survive the process. A second ``bench.open()`` is a restart."""

    @pytest_twisted.ensureDeferred
    async def test_chats_are_still_known(self, bench: Bench) -> None:
        await bench.publish(
            chat(bench, "session.started", queue_name="sales", agent_id="7"),
            chat(bench, "transferred", to_agent_id="8"),
            chat(bench, "session.started", session="waiting", queue_name="help"),
            chat(bench, "session.started", session="ended", agent_id="7"),
            chat(bench, "session.ended", session="ended"),
            bench.event("call.ringing", {**payload_of("call.ringing"), "call_id": "chat:s", "agent_id": "9"}),
        )
        # The second restart begins with what the first has checkpointed.
        for restart in range(2):
            await bench.open()
            for session, agent, expected in (
                ("s", "7", "forbidden"),
                ("s", "8", "accepted"),
                ("waiting", "x", "accepted"),
                ("waiting", "9", "forbidden"),
                ("ended", "7", "unknown_session"),
            ):
                writer = ChatWriter(agent=agent, queues=dict(_AGENTS)[agent])
                written = await outcome(bench, chat(bench, "message", session=session, writer=writer))
                assert ("accepted" if isinstance(written, int) else written) == expected, (restart, session, agent)
            (hold,) = await bench.publish(bench.event("call.hold", {"unique_id": "1", "call_id": "chat:s"}))
            (found,) = (await bench.broker.read(A, hold.seq - 1, 1)).publications
            assert found.event.agents == ("9",)
            await bench.alerts(1_100)

    @pytest_twisted.ensureDeferred
    async def test_messages_and_presence_are_still_in_the_snapshot(self, bench: Bench) -> None:
        await bench.publish(
            chat(bench, "session.started", queue_name="sales"),
            *[chat(bench, "message") for _ in range(60)],
            chat(bench, "transferred", to_agent_id="7"),
            chat(bench, "message", private=True),
            presence(bench, "7"),
            presence(bench, "8"),
            presence(bench, "8", online=False),
        )
        before = [(found.seq, found.event.agents) for found in (await bench.broker.snapshot(A)).publications]
        assert positions((await bench.broker.snapshot(A)).publications) == [1, *range(13, 65)]
        for _ in range(3):
            await bench.open()
            snapshot = await bench.broker.snapshot(A)
            assert [(found.seq, found.event.agents) for found in snapshot.publications] == before
            await bench.alerts(1_100)
        # Started again before its messages: these stay.
        await bench.publish(chat(bench, "session.started", agent_id="8"))
        await bench.open()
        assert len(await bench.state()) == len(before)
        await bench.publish(chat(bench, "session.ended"), presence(bench, "7", online=False))
        await bench.open()
        assert await bench.state() == []
