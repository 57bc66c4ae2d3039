"""callcenter-ws completion: the scripts in real shells."""

from __future__ import annotations

import os
import pty
import re
import select
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from processes import CALLCENTER_WS, DEADLINE

from callcenter_ws.cli.described import commands_of
from callcenter_ws.cli.main import make_parser
from callcenter_ws.events.catalogue import CATALOGUE
from callcenter_ws.events.principal import Role

TOP_LEVEL = list(dict.fromkeys(command.name.split()[0] for command in commands_of(make_parser())))


def script(shell: str, folder: Path, name: str) -> Path:
    done = subprocess.run(
        [*CALLCENTER_WS, "completion", shell], capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    file = folder / name
    file.write_text(done.stdout)
    return file


Complete = Callable[[str], set[str]]


@pytest.fixture(scope="module")
def bash(tmp_path_factory: pytest.TempPathFactory) -> Complete:
    """Returns what bash offers for the last word of a line."""
    file = script("bash", tmp_path_factory.mktemp("bash"), "callcenter-ws")

    def complete(line: str) -> set[str]:
        words = line.split(" ")
        function = "$(complete -p callcenter-ws | grep -o -- '-F [^ ]*' | cut -c4-)"
        code = (
            f"source {shlex.quote(str(file))}; COMP_WORDS=({' '.join(map(shlex.quote, words))}); "
            f"COMP_CWORD={len(words) - 1}; {function}; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        )
        done = subprocess.run(
            ["bash", "--norc", "-c", code], capture_output=True, text=True, timeout=DEADLINE, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        return set(done.stdout.split())

    return complete


@pytest.fixture(scope="module")
def fish(tmp_path_factory: pytest.TempPathFactory) -> Complete:
    """Returns what fish offers for the last word of a line."""
    folder = tmp_path_factory.mktemp("fish")
    file = script("fish", folder, "callcenter-ws.fish")

    def complete(line: str) -> set[str]:
        code = f"source {shlex.quote(str(file))}; complete -C {shlex.quote(line)}"
        done = subprocess.run(
            ["fish", "--no-config", "-c", code],
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
            env={**os.environ, "HOME": str(folder)},
        )
        assert (done.returncode, done.stderr) == (0, "")
        return {offered.partition("\t")[0] for offered in done.stdout.splitlines()}

    return complete


class Zsh:
    """An interactive zsh on a pseudo-terminal, which prints what it offers."""

    _SETUP = """PROMPT=; fpath=({folder} $fpath); autoload -Uz compinit; compinit -u -D; LISTMAX=9999
compadd() {{
  local -a offered; builtin compadd -O offered "$@"; print -r -- "OFFER $offered END"; builtin compadd "$@"
}}
drop() {{ BUFFER=; print -r -- DROPPED }}; zle -N drop; bindkey '^X' drop; print RE''ADY
"""

    def __init__(self, folder: Path) -> None:
        self._master, slave = pty.openpty()
        environment = {**os.environ, "HOME": str(folder), "TERM": "dumb", "COLUMNS": "200"}
        self._process = subprocess.Popen(
            ["zsh", "-f", "-i"], stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True
        )
        os.close(slave)
        self._write(self._SETUP.format(folder=shlex.quote(str(folder))))
        self._read_until(b"READY")

    def complete(self, line: str) -> set[str]:
        """Return what is offered for the last word of a line."""
        self._write(f"{line}\t\x18")
        shown = self._read_until(b"DROPPED").decode(errors="replace").replace("\r", "")
        return {word for found in re.findall(r"OFFER (.*?) ?END", shown, re.DOTALL) for word in found.split()}

    def stop(self) -> None:
        self._process.kill()
        self._process.wait(DEADLINE)
        os.close(self._master)

    def _write(self, text: str) -> None:
        os.write(self._master, text.encode())

    def _read_until(self, end: bytes) -> bytes:
        data, deadline = b"", time.monotonic() + DEADLINE
        while end not in data:
            assert select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))[0], data
            data += os.read(self._master, 65_536)
        return data


@pytest.fixture(scope="module")
def zsh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Complete]:
    """Returns what zsh offers for the last word of a line."""
    folder = tmp_path_factory.mktemp("zsh")
    script("zsh", folder, "_callcenter-ws")
    shell = Zsh(folder)
    yield shell.complete
    shell.stop()


@pytest.fixture(params=["bash", "fish", "zsh"])
def complete(request: pytest.FixtureRequest) -> Complete:
    found: Complete = request.getfixturevalue(request.param)
    return found


def test_commands_are_completed(complete: Complete) -> None:
    assert complete("callcenter-ws che") == {"check-config", "check-token", "check-store"}
    assert complete("callcenter-ws ") >= set(TOP_LEVEL)
    assert complete("callcenter-ws source f") == {"forget"}


def test_options_are_completed(complete: Complete) -> None:
    assert complete("callcenter-ws emit --ten") == {"--tenant"}
    assert complete("callcenter-ws stats --t") == {"--tenant", "--token", "--token-file", "--timeout"}


def test_roles_and_event_types_are_completed(complete: Complete) -> None:
    assert complete("callcenter-ws token --role s") == {"supervisor", "service"}
    assert complete("callcenter-ws token --role ") >= {role.value for role in Role}
    assert complete("callcenter-ws emit call.in") == {"call.incoming"}
    assert complete("callcenter-ws events queue.m") == {name for name in CATALOGUE if name.startswith("queue.m")}
    assert complete("callcenter-ws tail --events agent.l") == {"agent.login", "agent.logout"}


def test_commands_of_agents_and_their_fields_are_completed(complete: Complete) -> None:
    assert complete("callcenter-ws command call.h") == {"call.hold", "call.hangup"}
    assert {name.rstrip("=") for name in complete("callcenter-ws command call.hangup call_")} == {"call_id"}


def test_files_are_completed(complete: Complete, tmp_path: Path) -> None:
    (tmp_path / "gateway.toml").touch()
    offered = complete(f"callcenter-ws check-config --config {tmp_path}/gatew")
    assert {Path(name).name for name in offered if name.startswith(("/", "gateway"))} == {"gateway.toml"}


def test_an_unknown_shell_is_refused() -> None:
    done = subprocess.run([*CALLCENTER_WS, "completion", "bsh"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Did you mean bash?" in done.stderr
