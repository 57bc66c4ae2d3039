"""The copies of the settings for workers, and which values are pinned."""

from __future__ import annotations

from pathlib import Path

import pytest

from callcenter_ws.config.changes import EFFECTS, Effect
from callcenter_ws.config.settings import Settings
from callcenter_ws.config.source import SettingsSource
from callcenter_ws.runtime.setting_problems import ConfigError, Problem
from callcenter_ws.workers.node_settings import NodeSettings, NodeVersion

PINNED = """
[web]
listen = ["tcp:8443:interface=127.0.0.1", "unix:/run/gw.sock"]
metrics_listen = ""
demo = true
[store]
url = "redis://[::1]:6379/3"
history_events = 777
[cluster]
node_id = "other"
lease = 33.5
[log]
format = "json"
"""


class Node:
    """The settings in a file, as a supervisor has read them."""

    def __init__(self, folder: Path, text: str) -> None:
        self.file = folder / "gw.toml"
        self.file.write_text(text)
        self.source = SettingsSource(self.file, [], {}, demo=False, folder=folder)
        self.used: list[Settings] = []
        self.refuse = False
        content = self.source.read()
        self.settings = NodeSettings(
            self.source, content, self.source.load(content), check=self._check, use=self.used.append
        )
        self.copies = folder / "private"
        self.copies.mkdir()
        self.settings.open(self.copies)

    def _check(self, settings: Settings) -> None:
        if self.refuse:
            raise ConfigError([Problem("", "", "refused")])

    def read(self, text: str, *, replaces_workers: bool = False) -> NodeVersion:
        self.file.write_text(text)
        version = self.settings.read_again(replaces_workers=replaces_workers)
        self.settings.write(version)
        self.settings.use(version)
        return version

    def of_new_worker(self) -> Settings:
        """Return the settings of a worker that is started now."""
        source = SettingsSource(self.file, [], {}, demo=False, folder=self.file.parent)
        source.copy = Path(self.settings.path(self.settings.current))
        source.pinned = self.settings.current.pinned
        return source.load()


def test_a_new_worker_uses_the_copy(tmp_path: Path) -> None:
    node = Node(tmp_path, "[limits]\nping_interval = 21.0\n")
    node.file.write_text("nonsense")
    assert node.of_new_worker().limits.ping_interval == 21
    (copy,) = node.copies.iterdir()
    assert copy.stat().st_mode & 0o777 == 0o600
    with pytest.raises(ConfigError):
        node.settings.read_again(replaces_workers=False)
    assert node.settings.current.settings.limits.ping_interval == 21


def test_what_a_reload_does_not_change_is_pinned(tmp_path: Path) -> None:
    node = Node(tmp_path, PINNED)
    first = node.source.load()
    version = node.read("[limits]\nping_interval = 22.0\n")
    assert {text.partition("=")[0] for text in version.pinned} == {
        "web.listen",
        "web.demo",
        "store.url",
        "store.history_events",
        "cluster.node_id",
        "cluster.lease",
        "log.format",
    } - {key for key, effect in EFFECTS.items() if effect in (Effect.RELOAD, Effect.CONNECTIONS)}
    new = node.of_new_worker()
    assert (new.web.listen, new.store.url, new.cluster) == (first.web.listen, first.store.url, first.cluster)
    assert new.limits.ping_interval == 22
    assert node.used == [version.settings]


def test_new_workers_are_pinned_to_the_endpoints_only(tmp_path: Path) -> None:
    node = Node(tmp_path, PINNED)
    first = node.source.load()
    version = node.read('[store]\nurl = "redis://localhost/9"\n', replaces_workers=True)
    assert version.waits_for_restart == ["web.listen", "log.format"]
    new = node.of_new_worker()
    assert new.web.listen == first.web.listen
    assert new.store.url == "redis://localhost/9"
    # What the replacement has taken is the base of the next reload.
    node.read('[store]\nurl = "redis://localhost/10"\n')
    assert node.of_new_worker().store.url == "redis://localhost/9"


def test_settings_that_workers_cannot_use_are_refused(tmp_path: Path) -> None:
    node = Node(tmp_path, "")
    node.refuse = True
    with pytest.raises(ConfigError, match="refused"):
        node.settings.read_again(replaces_workers=True)


def test_copies_that_are_not_read_any_more_are_removed(tmp_path: Path) -> None:
    node = Node(tmp_path, "")
    for number in range(3):
        node.read(f"[limits]\nconnections = {number}\n")
    node.settings.remove_except([2])
    assert sorted(path.name for path in node.copies.iterdir()) == ["settings-2.toml", "settings-4.toml"]


def test_without_a_file_there_is_no_copy(tmp_path: Path) -> None:
    source = SettingsSource(None, [], {}, demo=False, folder=tmp_path)
    settings = NodeSettings(source, source.read(), source.load())
    settings.open(tmp_path)
    version = settings.read_again(replaces_workers=False)
    settings.write(version)
    assert settings.path(version) == ""
    assert list(tmp_path.iterdir()) == []
