"""``callcenter-ws reload`` and ``status``: how they find the socket, and what they say without a gateway."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from callcenter_ws.cli.main import main
from callcenter_ws.config.changes import ReloadReport
from callcenter_ws.control.messages import (
    Answer,
    Failed,
    LastReload,
    NodeStatus,
    Refused,
    Reloaded,
    WorkerStatus,
    encode,
)

DEADLINE = 30.0


class Gateway:
    """Answers one request at a socket, in a thread."""

    def __init__(self, path: Path, answer: bytes) -> None:
        self._answer = answer
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen()
        self._listening.settimeout(DEADLINE)
        self.request = b""
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        peer, _ = self._listening.accept()
        with peer:
            self.request = peer.recv(4_096)
            peer.sendall(self._answer)

    def close(self) -> None:
        self._thread.join(DEADLINE)
        self._listening.close()


Answered = Callable[[str, Answer | bytes], tuple[int, str, str]]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A file of settings, whose control socket is the default."""
    file = tmp_path / "gw.toml"
    file.write_text("")
    return file


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Run a command; return its status, output and errors."""
    status = main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


@pytest.fixture
def answered(capsys: pytest.CaptureFixture[str], config: Path) -> Answered:
    """Runs a command with a gateway that gives this answer."""

    def with_answer(command: str, answer: Answer | bytes) -> tuple[int, str, str]:
        line = answer if isinstance(answer, bytes) else encode(answer)
        path = config.with_name("callcenter-ws.control")
        path.unlink(missing_ok=True)
        with closing(Gateway(path, line)):
            return run(capsys, command, "--config", config)

    return with_answer


def test_a_report_is_printed(answered: Answered) -> None:
    report = ReloadReport(applied=("log.level",), waiting=(("store.url", "after a restart"),), warnings=("w: is open",))
    assert answered("reload", Reloaded(report)) == (
        0,
        "in use now: log.level\nnot in use yet: store.url: after a restart\n",
        "warning: w: is open\n",
    )


def test_problems_are_printed(answered: Answered) -> None:
    status, output, errors = answered("reload", Refused(("a: is bad", "b: is bad")))
    assert (status, output) == (1, "")
    assert errors == (
        "callcenter-ws reload: refused, and the old settings stay in use; 2 problems:\n  - a: is bad\n  - b: is bad\n"
    )


WORKERS = (
    WorkerStatus(1, 11, serves=True, reason="", age=61.4),
    WorkerStatus(2, None, serves=False, reason="it has ended, and will be restarted", age=0.0),
)


@pytest.mark.parametrize(
    ("answer", "status", "lines"),
    [
        (NodeStatus(7, "1.0", (), (), False, None), 0, ["callcenter-ws 1.0 (pid 7) serves"]),
        (
            NodeStatus(7, "1.0", ("no Redis", "no keys"), (), False, None),
            1,
            ["callcenter-ws 1.0 (pid 7) does not serve: no Redis; no keys"],
        ),
        (
            NodeStatus(7, "1.0", (), WORKERS, False, LastReload(0.0, "refused: 1 problem")),
            0,
            [
                "callcenter-ws 1.0 (pid 7) serves",
                "  worker 1 (pid 11, for 61 s): serves",
                "  worker 2 (no process): it has ended, and will be restarted",
                "last reload: 1970-01-01",
            ],
        ),
        (NodeStatus(7, "1.0", (), WORKERS[:1], True, None), 1, ["callcenter-ws 1.0 (pid 7) stops"]),
    ],
)
def test_a_status_is_printed(answered: Answered, answer: NodeStatus, status: int, lines: list[str]) -> None:
    found, output, errors = answered("status", answer)
    assert (found, errors) == (status, "")
    assert all(line.startswith(start) for line, start in zip(output.splitlines(), lines, strict=False))
    assert len(output.splitlines()) >= len(lines)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Failed("the user 7 may not use this socket"), "the user 7 may not use this socket\n"),
        (b"", "that this version of callcenter-ws knows"),
        (b'{"answer":"new"}\n', "that this version of callcenter-ws knows"),
        (encode(NodeStatus(7, "1.0", (), (), False, None)), "the gateway gave the answer to another request"),
    ],
)
def test_an_answer_that_is_none_is_an_error(answered: Answered, answer: Answer | bytes, message: str) -> None:
    status, output, errors = answered("reload", answer)
    assert (status, output) == (1, "")
    assert message in errors


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("", "callcenter-ws.control"),
        ('[control]\nsocket = "run/s"\n', "run/s"),
        ("[control]\nsocket = '/run/gw.sock' # here\n", "/run/gw.sock"),
        ('control.socket = "other"\nnonsense = 1\n[web]\nlisten = 7\n', "other"),
        # Not TOML: the lines of the section are read.
        ('[web\nlisten = 7\n[control]\n# socket = "no"\nsocket = "other"\n[log]\nsocket = "wrong"\n', "other"),
        ('[web]\nsocket = "wrong"\noops\n[control]\n', "callcenter-ws.control"),
        ("oops", "callcenter-ws.control"),
    ],
)
def test_the_socket_is_found_in_a_file_with_errors(
    capsys: pytest.CaptureFixture[str], config: Path, text: str, path: str
) -> None:
    config.write_text(text)
    status, _, errors = run(capsys, "reload", "--config", config)
    assert status == 1
    first, *more = errors.splitlines()
    assert first == f"callcenter-ws reload: no gateway runs there: there is no socket {config.parent / path}"
    assert more[0] == "If control.socket was changed since the gateway started, give --socket PATH."
    assert ("Nor could a gateway start now" in errors) == ("oops" in text or "listen" in text)


def test_the_environment_and_the_command_line_are_stronger(
    capsys: pytest.CaptureFixture[str], config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text('[control]\nsocket = "a"\n')
    monkeypatch.setenv("CALLCENTER_WS_CONTROL__SOCKET", "b")
    assert f"no socket {config.parent}/b\n" in run(capsys, "reload", "--config", config)[2]
    assert f"no socket {config.parent}/c\n" in run(capsys, "reload", "--config", config, "--set", "control.socket=c")[2]
    monkeypatch.chdir(config.parent)
    assert f"no socket {config.parent}/d" in run(capsys, "reload", "--config", config, "--socket", "d")[2]


def test_without_a_socket_there_is_nothing_to_ask(capsys: pytest.CaptureFixture[str], config: Path) -> None:
    config.write_text('[control]\nsocket = ""\n')
    assert "control.socket is empty" in run(capsys, "reload", "--config", config)[2]


def test_a_file_that_cannot_be_read_needs_the_socket(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    errors = run(capsys, "status", "--config", tmp_path / "no.toml")[2]
    assert "no.toml: cannot read the file: No such file or directory" in errors
    assert "Give the control socket of the gateway with --socket PATH" in errors


def test_without_settings_the_demo_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert "no demo has run yet" in run(capsys, "status")[2]


def test_a_gateway_that_does_not_answer(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "s"))
        silent.listen()
        status, _, errors = run(capsys, "reload", "--socket", tmp_path / "s", "--timeout", 0.1)
    assert status == 1
    assert "no answer from" in errors and "it may still load the settings" in errors


def test_a_socket_of_another_user(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    errors = run(capsys, "status", "--socket", tmp_path / "s")[2]
    assert errors == f"callcenter-ws status: only the user of the gateway and root may use {tmp_path}/s\n"
