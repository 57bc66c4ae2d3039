"""Large events do not block Redis for other tenants."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted
from broker_contract import A, B
from redis_nodes import Nodes, until

from callcenter_ws.broker.redis import state_loader, tenant_store
from callcenter_ws.redis import scripts
from callcenter_ws.redis.scripts import Script

KIBI = 1_024


def chat(number: int, size: int) -> dict[str, Any]:
    return {"session_id": f"s{number}", "note": "x" * size}


class Replies:
    """Records the sizes of a script's replies."""

    def __init__(self, redis: Any, script: Script) -> None:
        self.sizes: list[int] = []
        run = redis.run

        def recording(one: Script, *arguments: Any) -> Any:
            answer = run(one, *arguments)
            return answer.addCallback(self._record) if one is script else answer

        redis.run = recording

    def _record(self, reply: Any) -> Any:
        self.sizes.append(len(reply[-1]))
        return reply


@pytest_twisted.ensureDeferred
async def test_a_state_is_read_in_pages(nodes: Nodes) -> None:
    node = await nodes.open()
    for begin in range(0, 60, 10):
        await node.publish(*[node.event("chat.session.started", chat(n, 64 * KIBI)) for n in range(begin, begin + 10)])
    other = await nodes.open()
    replies = Replies(other.store.redis, scripts.STATE_EVENTS)
    snapshot = await other.store.snapshot(A)
    assert [message.seq for message in snapshot.publications] == list(range(1, 61))
    assert len(replies.sizes) >= 60 * 64 * KIBI // (tenant_store.PAGE_BYTES + 65 * KIBI)
    assert max(replies.sizes) < tenant_store.PAGE_BYTES + 65 * KIBI


@pytest_twisted.ensureDeferred
async def test_changes_while_the_pages_are_read(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_loader, "STATE_PAGE_EVENTS", 3)
    node, other = await nodes.open(), await nodes.open(memory_events=2)
    login = {"username": "n"}
    await node.publish(*[node.event("agent.login", {"user_id": str(n), **login}) for n in range(40)])
    page = other.store.redis.run
    changes = iter(range(40))

    def changing(script: Script, *arguments: Any) -> Any:
        if script is scripts.STATE_EVENTS and (number := next(changes, None)) is not None:
            gone = node.event("agent.logout", {"user_id": str(number), **login})
            back = node.event("agent.login", {"user_id": f"new-{number}", **login})
            node.broker.publish([gone, back])
        return page(script, *arguments)

    other.store.redis.run = changing  # type: ignore[method-assign]  # things happen in between
    snapshot = await other.store.snapshot(A)
    changed = 40 - len(list(changes))
    assert changed > 5
    await until(lambda: node.head() == 40 + 2 * changed)
    await other.store.redis.send("PING")
    await until(lambda: other.head() == node.head())
    names = [message.event.entity for message in (await other.store.snapshot(A)).publications]
    expected = [("agent", str(n)) for n in range(changed, 40)] + [("agent", f"new-{n}") for n in range(changed)]
    assert names == expected
    assert snapshot.seq <= node.head()


@pytest_twisted.ensureDeferred
async def test_the_state_is_bounded_in_bytes(nodes: Nodes) -> None:
    node = await nodes.open()
    size = 500 * KIBI
    for number in range(80):
        await node.publish(node.event("chat.session.started", chat(number, size)))
    other = await nodes.open()
    kept = [message.seq for message in (await other.store.snapshot(A)).publications]
    max_events = 32 * KIBI * KIBI // size
    assert kept == list(range(80 - max_events + 1, 81))
    # Sessions that end free memory.
    await node.publish(*[node.event("chat.session.ended", {"session_id": f"s{n}"}) for n in range(80)])
    await node.publish(node.event("chat.session.started", chat(100, 10)))
    known = await node.store.redis.send("HGET", node.store.keys.meta(A), "slotbytes")
    assert 0 < int(known) < KIBI


@pytest_twisted.ensureDeferred
async def test_a_range_of_the_log_is_fetched_in_parts(nodes: Nodes) -> None:
    node = await nodes.open()
    for _ in range(40):
        await node.publish(node.event("alert", {"title": "t", "message": "x" * 200 * KIBI}))
    await node.publish(*[node.event() for _ in range(400)])
    other = await nodes.open((B,))
    replies = Replies(other.store.redis, scripts.STREAM_READ)
    seqs: list[int] = []
    while len(seqs) < 440:
        seqs += [message.seq for message in (await other.store.read(A, len(seqs), 500)).publications]
    assert seqs == list(range(1, 441))
    # Four events are fetched before their size is known.
    assert max(replies.sizes) < tenant_store.PAGE_BYTES + 9 * 201 * KIBI
