"""The demo's folder: its modes, its record, its secret, and the errors when it cannot be used."""

from __future__ import annotations

import json
import os
import socket
import stat
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from twisted.internet.endpoints import clientFromString, serverFromString

from callcenter_ws.demo.state import DemoState, DemoUnavailable

URL = "http://127.0.0.1:8080/"


def environ(folder: Path) -> dict[str, str]:
    return {"CALLCENTER_WS_DEMO_DIR": str(folder)}


def started(folder: Path, url: str = URL) -> DemoState:
    """Return the state of a demo that has recorded its addresses."""
    state = DemoState.prepare(url, environ(folder))
    state.record()
    return state


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_prepare_makes_a_private_folder_that_find_finds(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "demo"
    prepared = started(folder)
    assert DemoState.find(environ(folder)) == prepared
    assert (prepared.url, prepared.tenant, prepared.amp_token_file) == (URL, "demo", None)
    assert mode(folder) == 0o700
    files = ("secret", "visitors.secret", "demo.json")
    assert {path.name: mode(path) for path in folder.iterdir()} == dict.fromkeys(files, 0o600)


def test_the_modes_of_an_existing_folder_are_corrected(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    secret = tmp_path / "secret"
    secret.write_text("s" * 64)
    secret.chmod(0o644)
    state = DemoState.prepare(URL, environ(tmp_path))
    assert (mode(tmp_path), mode(secret)) == (0o700, 0o600)
    assert state.read_secret() == b"s" * 64


def test_the_secret_is_long_and_is_kept(tmp_path: Path) -> None:
    first = DemoState.prepare(URL, environ(tmp_path)).read_secret()
    assert len(first) >= 43
    assert started(tmp_path, "http://127.0.0.1:9090/").read_secret() == first
    assert DemoState.find(environ(tmp_path)).url == "http://127.0.0.1:9090/"
    assert DemoState.prepare(URL, environ(tmp_path / "other")).read_secret() != first


def test_demos_that_start_together_agree_on_one_secret(tmp_path: Path) -> None:
    seen: list[bytes] = []
    starters = [
        threading.Thread(target=lambda: seen.append(DemoState.prepare(URL, environ(tmp_path)).read_secret()))
        for _ in range(8)
    ]
    for starter in starters:
        starter.start()
    for starter in starters:
        starter.join(10)
    assert len(seen) == 8
    assert len(set(seen)) == 1


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"XDG_STATE_HOME": "{tmp}/state"}, "state/callcenter-ws/demo"),
        ({"XDG_STATE_HOME": "relative", "HOME": "{tmp}/home"}, "home/.local/state/callcenter-ws/demo"),
        ({"HOME": "{tmp}/home"}, "home/.local/state/callcenter-ws/demo"),
        ({"CALLCENTER_WS_DEMO_DIR": "{tmp}/own", "XDG_STATE_HOME": "{tmp}/state"}, "own"),
    ],
)
def test_where_the_folder_is(tmp_path: Path, variables: dict[str, str], expected: str) -> None:
    given = {name: value.replace("{tmp}", str(tmp_path)) for name, value in variables.items()}
    assert DemoState.prepare(URL, given).directory == tmp_path / expected


def test_a_long_path_gets_a_short_socket_and_keeps_it(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 25)
    state = started(folder)
    try:
        assert len(str(state.amp_socket)) <= 107
        assert mode(state.amp_socket.parent) == 0o700
        assert DemoState.find(environ(folder)).amp_socket == state.amp_socket
        assert DemoState.prepare(URL, environ(folder)).amp_socket == state.amp_socket
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(state.amp_socket))
        state.amp_socket.unlink()
        state.amp_socket.parent.chmod(0o755)
        moved = DemoState.prepare(URL, environ(folder)).amp_socket
        assert moved != state.amp_socket
        moved.parent.rmdir()
    finally:
        state.amp_socket.parent.rmdir()


@pytest.mark.parametrize("name", ["plain", "with:colon", "with=equals", "with\\backslash"])
def test_the_endpoint_strings_name_the_socket(tmp_path: Path, name: str) -> None:
    state = DemoState.prepare(URL, environ(tmp_path / name))
    reactor = SimpleNamespace()
    assert clientFromString(reactor, state.amp_endpoint)._path == str(state.amp_socket)
    server = serverFromString(reactor, state.amp_listen)
    assert (server._address, server._mode) == (str(state.amp_socket), 0o660)


def test_without_a_record_the_error_says_how_to_start_a_demo(tmp_path: Path) -> None:
    with pytest.raises(DemoUnavailable, match=r"no demo has run yet.*twistd -n callcenter-ws --demo"):
        DemoState.find(environ(tmp_path))


@pytest.mark.parametrize(
    "record", ["", "{", "[]", "{}", "null", '{"url": "x"}', '{"url":"x","tenant":"t","amp_socket":3}']
)
def test_a_damaged_record_is_reported(tmp_path: Path, record: str) -> None:
    (tmp_path / "demo.json").write_text(record)
    with pytest.raises(DemoUnavailable, match=r"demo\.json is damaged"):
        DemoState.find(environ(tmp_path))


def test_a_damaged_record_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "demo.json").write_text("{")
    started(tmp_path)
    assert json.loads((tmp_path / "demo.json").read_text())["url"] == URL


def test_a_demo_that_did_not_start_does_not_replace_the_record(tmp_path: Path) -> None:
    first = started(tmp_path)
    DemoState.prepare("http://127.0.0.1:9090/", environ(tmp_path))
    assert DemoState.find(environ(tmp_path)) == first


def test_a_second_demo_is_refused_while_the_first_one_listens(tmp_path: Path) -> None:
    first = started(tmp_path)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(first.amp_socket))
        listening.listen(1)
        with pytest.raises(DemoUnavailable) as refused:
            DemoState.prepare("http://127.0.0.1:9090/", environ(tmp_path))
        text = (
            f"a demo of yours is already running at {URL} (pid {os.getpid()}): stop it, or set CALLCENTER_WS_DEMO_DIR"
        )
        assert str(refused.value).startswith(text)
        assert DemoState.prepare(URL, environ(tmp_path / "other"))
    # The pid exists, as it would in another process that has it now, but no process listens on the socket.
    assert DemoState.prepare(URL, environ(tmp_path)) == first


@pytest.mark.parametrize("pid", [None, "x", 2**22 + 1, 2**70])
def test_the_record_of_a_demo_that_has_ended_is_ignored(tmp_path: Path, pid: object) -> None:
    first = started(tmp_path)
    record = json.loads((tmp_path / "demo.json").read_text())
    (tmp_path / "demo.json").write_text(json.dumps({**record, "pid": pid}))
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(first.amp_socket))
        listening.listen(1)
        assert DemoState.prepare(URL, environ(tmp_path)) == first


def test_a_record_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    state = DemoState.prepare(URL, environ(tmp_path / "demo"))
    (tmp_path / "demo").rename(tmp_path / "moved")
    with pytest.raises(DemoUnavailable, match="CALLCENTER_WS_DEMO_DIR"):
        state.record()


def test_a_folder_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DemoUnavailable, match="CALLCENTER_WS_DEMO_DIR"):
        DemoState.prepare(URL, environ(tmp_path / "file" / "demo"))


def test_a_missing_secret_is_reported(tmp_path: Path) -> None:
    state = DemoState.prepare(URL, environ(tmp_path))
    state.secret_file.unlink()
    with pytest.raises(DemoUnavailable, match="cannot read the demo's secret"):
        state.read_secret()


def test_the_store_is_kept_from_one_simulator_to_the_next_only(tmp_path: Path) -> None:
    def prepare(sender: str) -> bool:
        state = DemoState.prepare(URL, environ(tmp_path), sender=sender)
        is_kept = state.store_file.exists()
        state.store_file.touch()
        state.record()
        return is_kept

    kept = [prepare(sender) for sender in ("simulator", "simulator", "exchange", "exchange", "simulator", "simulator")]
    assert kept == [False, True, False, False, False, True]
    (tmp_path / "demo.json").write_text("{}")
    assert not prepare("simulator"), "it is not known what has published"
