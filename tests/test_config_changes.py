"""Every key of the settings has an effect on reload, and the effects name existing keys only."""

from __future__ import annotations

from pathlib import Path

from callcenter_ws.config import changes
from callcenter_ws.config.changes import EFFECTS, Effect, changed_keys
from callcenter_ws.config.load import load
from callcenter_ws.config.settings import KEYS


def test_every_key_has_an_effect() -> None:
    assert EFFECTS.keys() == KEYS.keys()
    assert {*changes._PER_CONNECTION, *changes._RESTART, *changes._PROCESS} <= KEYS.keys()


def test_changed_keys(tmp_path: Path) -> None:
    old = load(None, overrides=[f"store.url=sqlite:{tmp_path}/a"], demo=True)
    new = load(None, overrides=["limits.rate=5", "web.listen=tcp:1", "store.url=memory:"], demo=True)
    assert changed_keys(old, old) == []
    assert changed_keys(old, new) == ["web.listen", "store.url", "limits.rate"]
    assert [EFFECTS[key] for key in changed_keys(old, new)] == [Effect.RESTART, Effect.PROCESS, Effect.RELOAD]
