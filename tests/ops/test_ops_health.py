"""Health: the reasons why a node is not ready."""

from __future__ import annotations

import dataclasses

import pytest

from callcenter_ws.ops.health import Health, Node


def test_ready_without_checks() -> None:
    assert Health().reasons() == []


def test_reasons_come_in_the_order_of_the_checks() -> None:
    health = Health(lambda: "store: closed", lambda: None, lambda: "keys: never fetched")
    assert health.reasons() == ["store: closed", "keys: never fetched"]
    health.drain()
    health.drain()
    assert health.reasons() == ["draining: this node is shutting down", "store: closed", "keys: never fetched"]
    assert health.draining


def test_checks_are_called_each_time() -> None:
    answers = iter(["store: closed", None])
    health = Health(lambda: next(answers))
    assert health.reasons() == ["store: closed"]
    assert health.reasons() == []


def test_a_node_does_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Node("a", "1", 0.0).node_id = "b"  # type: ignore[misc]  # the point of the test
