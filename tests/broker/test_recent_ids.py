"""RecentIds: what was published lately."""

from __future__ import annotations

import pytest

from callcenter_ws.broker import recent_ids as idempotency
from callcenter_ws.broker.recent_ids import WINDOW, RecentIds


def test_is_remembered_within_the_window() -> None:
    recent = RecentIds()
    recent.remember("a", 1, 1000.0)
    assert recent.seq_of("a", 1000.0) == 1
    assert recent.seq_of("a", 1000.0 + WINDOW) == 1
    assert recent.seq_of("b", 1000.0) is None


def test_is_forgotten_when_the_window_is_over_though_nothing_else_happened() -> None:
    recent = RecentIds()
    recent.remember("a", 1, 1000.0)
    assert recent.seq_of("a", 1000.1 + WINDOW) is None
    recent.remember("b", 2, 1000.1 + WINDOW)
    assert len(recent) == 1


def test_only_the_old_ones_are_forgotten() -> None:
    recent = RecentIds()
    for seq in range(1, 6):
        recent.remember(str(seq), seq, float(seq))
    recent.forget_before(3.0)
    assert [recent.seq_of(str(seq), 5.0) for seq in range(1, 6)] == [None, None, 3, 4, 5]


def test_takes_a_bounded_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotency, "MAX_IDS", 3)
    recent = RecentIds()
    for seq in range(1, 6):
        recent.remember(str(seq), seq, 0.0)
    assert len(recent) == 3
    assert [recent.seq_of(str(seq), 0.0) for seq in range(1, 6)] == [None, None, 3, 4, 5]
