"""SourceTable: names, their limits, and leases."""

from __future__ import annotations

from typing import Any

import pytest
from shared_nodes import ACME, INSTALLATION, claim

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.sources import table as table_module
from callcenter_ws.sources.table import SourceTable

LEASE = 30.0


@pytest.fixture
def table() -> SourceTable:
    return SourceTable(LEASE)


def refusal_of(table: SourceTable, *arguments: Any, **options: Any) -> ErrorCode:
    with pytest.raises(Refusal) as refused:
        table.register(claim(*arguments, **options), 0, "link")
    return refused.value.code


def test_names_and_sources_are_bounded(table: SourceTable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_module, "MAX_SOURCES_PER_TENANT", 2)
    monkeypatch.setattr(table_module, "MAX_SOURCES", 3)
    monkeypatch.setattr(table_module, "MAX_TENANTS", 2)
    for name in ("a", "b"):
        table.register(claim(source=name), 0, name)
    assert refusal_of(table, source="c") is ErrorCode.OVERLOADED
    table.register(claim(source="a"), 0, "again")
    table.register(claim(INSTALLATION, source="c", tenants=["globex", "x"]), 0, "c")
    assert refusal_of(table, INSTALLATION, source="d", tenants=["globex"]) is ErrorCode.OVERLOADED
    assert refusal_of(table, INSTALLATION, source="c", tenants=["y"]) is ErrorCode.INVALID_EVENT
    # What was refused has taken nothing.
    assert len(table) == 3
    assert table.owner("y", "c") is table.owner("globex", "d") is None


def test_the_generation_of_stored_events_counts(table: SourceTable) -> None:
    assert table.register(claim(), 7, "one").generation == 8
    assert refusal_of(table, generation=7) is ErrorCode.STALE_GENERATION
    top = 2**53 - 1
    assert table.register(claim(generation=top), 0, "two").generation == top
    assert refusal_of(table) is ErrorCode.INVALID_EVENT


def test_a_lease_begins_when_the_current_connection_ends(table: SourceTable) -> None:
    key = table.register(claim(), 0, "one").scope, "pbx1"
    table.register(claim(), 0, "two")
    assert not table.disconnected(key, "one", 100.0)
    assert table.due(1e9) == []
    assert table.disconnected(key, "two", 100.0)
    assert table.due(129.9) == []
    assert table.due(130.0) == [key]
    assert table.end(key).lease == 1
    assert table.due(1e9) == []
    assert table.register(claim(instance="other"), 0, "three").lease == 2


def test_a_restored_source_has_a_new_lease_unless_it_had_ended(table: SourceTable) -> None:
    record = table.register(claim(), 0, "one")
    again = SourceTable(LEASE)
    again.restore(record, 500.0)
    key = record.scope, record.name
    assert (again.due(529.0), again.due(530.0)) == ([], [key])
    again.end(key)
    entry = again.get(key)
    assert entry is not None
    third = SourceTable(LEASE)
    third.restore(entry.record, 900.0)
    assert third.due(1e9) == []
    assert third.owner("acme", "pbx1") == "acme"


def test_names_are_released_one_tenant_at_a_time(table: SourceTable) -> None:
    record = table.register(claim(INSTALLATION, tenants=["acme", "globex"]), 0, "one")
    key = record.scope, record.name
    assert refusal_of(table, ACME) is ErrorCode.FORBIDDEN
    left = table.forget(key, ["acme"])
    assert left is not None
    assert (left.claimed, left.tenants) == (("globex",), ("globex",))
    table.register(claim(ACME), 0, "two")
    assert table.forget(key, ["globex"]) is None
    assert table.get(key) is None


def test_lease_numbers_of_a_name_never_fall(table: SourceTable) -> None:
    """What is still said about a source that was forgotten must not count for the one that has its name next."""
    key = table.register(claim(INSTALLATION, tenants=["acme", "globex"]), 0, "one").scope, "pbx1"
    for _ in range(4):
        table.end(key)
    assert table.forget(key, ["acme"]) is not None
    assert table.register(claim(ACME), 0, "two").lease == 6
    assert table.forget(key, ["globex"]) is None
    assert table.register(claim(INSTALLATION, tenants=["globex"]), 0, "three").lease == 6
    assert table.register(claim(ACME, source="pbx2"), 0, "four").lease == 6
