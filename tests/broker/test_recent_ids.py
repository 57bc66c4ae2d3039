"""RecentIds: recently published identifiers."""

from __future__ import annotations

import pytest

from callcenter_ws.broker import recent_ids
from callcenter_ws.broker.recent_ids import WINDOW_SECONDS, RecentIds


def test_an_identifier_is_remembered_within_the_window() -> None:
    recent = RecentIds()
    recent.remember("a", 1, 1000.0)
    assert recent.seq_of("a", 1000.0) == 1
    assert recent.seq_of("a", 1000.0 + WINDOW_SECONDS) == 1
    assert recent.seq_of("b", 1000.0) is None


def test_an_identifier_expires_without_another_event() -> None:
    recent = RecentIds()
    recent.remember("a", 1, 1000.0)
    assert recent.seq_of("a", 1000.1 + WINDOW_SECONDS) is None
    recent.remember("b", 2, 1000.1 + WINDOW_SECONDS)
    assert len(recent) == 1


def test_only_old_identifiers_are_removed() -> None:
    recent = RecentIds()
    for seq in range(1, 6):
        recent.remember(str(seq), seq, float(seq))
    recent.forget_before(3.0)
    assert [recent.seq_of(str(seq), 5.0) for seq in range(1, 6)] == [None, None, 3, 4, 5]


def test_the_number_of_identifiers_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent_ids, "MAX_IDS", 3)
    recent = RecentIds()
    for seq in range(1, 6):
        recent.remember(str(seq), seq, 0.0)
    assert len(recent) == 3
    assert [recent.seq_of(str(seq), 0.0) for seq in range(1, 6)] == [None, None, 3, 4, 5]
