"""Where settings come from when they are read again: another current folder, and a copy of the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from callcenter_ws.config.source import SettingsSource
from callcenter_ws.runtime.setting_problems import ConfigError

SECRET = "correct horse battery staple, thrice, and some more of it"


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SettingsSource:
    """The settings in ``etc/gw.toml``, of a process that has changed its current folder after the start."""
    (tmp_path / "etc").mkdir()
    for name in ("file.secret", "etc/own.secret"):
        (tmp_path / name).write_text(SECRET)
        (tmp_path / name).chmod(0o600)
    (tmp_path / "etc/gw.toml").write_text('[jwt]\nsecret_file = "own.secret"\n')
    monkeypatch.chdir("/")
    environ = {"CALLCENTER_WS_AMP__TOKEN_FILE": "file.secret"}
    return SettingsSource(Path("etc/gw.toml"), ["store.url=sqlite:e.db"], environ, demo=False, folder=tmp_path)


def test_relative_paths_start_where_they_did_at_the_start(source: SettingsSource, tmp_path: Path) -> None:
    settings = source.load()
    assert source.folder == tmp_path / "etc"
    assert settings.jwt.secret_file == tmp_path / "etc/own.secret"
    assert settings.amp.token_file == tmp_path / "file.secret"
    assert settings.store_file == tmp_path / "e.db"
    assert settings.control_socket == tmp_path / "etc/callcenter-ws.control"


def test_a_copy_is_read_in_place_of_the_file(source: SettingsSource, tmp_path: Path) -> None:
    source.copy = tmp_path / "copy"
    source.copy.write_text('[jwt]\nsecret_file = "own.secret"\nleeway = 7\n')
    (tmp_path / "etc/gw.toml").write_text("nonsense")
    settings = source.load()
    assert settings.jwt.leeway == 7
    assert settings.jwt.secret_file == tmp_path / "etc/own.secret"
    source.pinned = ["jwt.leeway=8"]
    assert source.load().jwt.leeway == 8


def test_content_that_was_read_before_is_used(source: SettingsSource, tmp_path: Path) -> None:
    content = source.read()
    (tmp_path / "etc/gw.toml").unlink()
    assert source.load(content).jwt.secret_file == tmp_path / "etc/own.secret"
    with pytest.raises(ConfigError, match=r"- etc/gw\.toml: cannot read the file: No such file"):
        source.read()
    with pytest.raises(ConfigError, match=r"- etc/gw\.toml: cannot read the file: No such file"):
        source.load()


def test_problems_of_a_copy_name_the_file(source: SettingsSource, tmp_path: Path) -> None:
    source.copy = tmp_path / "copy"
    source.copy.write_text("[jwt]\nleeway = true\n")
    with pytest.raises(ConfigError, match=r"- etc/gw\.toml: jwt\.leeway: expected"):
        source.load()
    source.copy = None
    assert source.load().jwt.leeway != 7
