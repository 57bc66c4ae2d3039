"""What the metrics show of AMP peers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from callcenter_ws.amp import commands
from callcenter_ws.runtime.histogram import Histogram
from callcenter_ws.runtime.json import rfc3339


@pytest.fixture(autouse=True)
def started(server: Any) -> Any:
    server.sources.start()
    yield
    server.sources.stop()


def test_peers_are_counted_by_what_they_are(server: Any) -> None:
    server.tcp()
    server.unix()
    subscriber = server.unix()
    subscriber.call(commands.Subscribe, kinds=b'["chat.*"]')
    source = server.unix()
    source.call(commands.Hello, source="pbx1", kind="asterisk", instance="i", tenants=b'["acme"]')
    assert server.factory.session_counts() == {"unauthenticated": 1, "other": 1, "subscriber": 1, "source": 1}


def test_refused_commands_are_counted_by_code(server: Any) -> None:
    peer = server.unix()
    peer.call(commands.PublishEvent, tenant_id="acme", type="no.such", payload=b"{}")
    peer.call(commands.PublishEvent, tenant_id="acme", type="alert", payload=b"{}")
    assert server.factory.refused == {"unknown_event": 1, "invalid_event": 1}


def test_senders_tell_how_many_events_wait(server: Any) -> None:
    first, second = server.unix(), server.unix()
    assert server.factory.waiting_events == 0
    first.call(commands.Ping, waiting=7)
    second.call(commands.Ping, waiting=5)
    assert server.factory.waiting_events == 12
    first.call(commands.Ping, waiting=1)
    second.call(commands.Ping)
    assert server.factory.waiting_events == 6
    first.call(commands.Ping, waiting=-3)
    assert server.factory.waiting_events == 5


def test_the_delay_of_a_source_is_that_of_the_first_new_event_of_a_call(server: Any) -> None:
    delay: Histogram = server.sources.counters.delay_seconds
    peer = server.unix()
    peer.call(commands.Hello, source="pbx1", kind="asterisk", instance="i", tenants=b'["acme"]')
    now = server.clock.time()
    stamps = [now - 20, now - 5]
    events = [
        {
            "tenant_id": "acme",
            "type": "alert",
            "payload": {"title": "t", "message": "m"},
            "timestamp": rfc3339(at),
            "source_seq": number,
        }
        for number, at in enumerate(stamps, 1)
    ]
    peer.call(commands.PublishBatch, events=json.dumps(events).encode())
    assert sum(delay.counts) == 1
    assert delay.sum == pytest.approx(20, abs=0.01)
    # Sent again, they are duplicates.
    peer.call(commands.PublishBatch, events=json.dumps(events).encode())
    assert sum(delay.counts) == 1
