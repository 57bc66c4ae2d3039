"""The command line of ``--workers``: what is allowed, and what a worker is started with."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from processes import DEADLINE, TWISTD

from callcenter_ws.config.settings import Settings, Store
from callcenter_ws.workers import options as command
from callcenter_ws.workers.options import WorkersRefused


def test_auto_is_one_for_each_usable_processor() -> None:
    assert command.count("auto") == len(os.sched_getaffinity(0))


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "many", "", "٣"])
def test_what_is_no_number_of_workers_is_refused(text: str) -> None:
    with pytest.raises(WorkersRefused, match="--workers"):
        command.count(text)


def test_one_worker_is_allowed() -> None:
    assert command.count("1") == 1


@pytest.mark.parametrize("url", ["redis://somewhere/0", "rediss+sentinel://somewhere/master", "unix:/run/redis.sock"])
def test_stores_that_processes_share(url: str) -> None:
    command.check(Settings(store=Store(url=url)), demo=False)


@pytest.mark.parametrize("url", ["memory:", "sqlite:redis:"])
def test_stores_that_they_do_not(url: str) -> None:
    with pytest.raises(WorkersRefused, match="belongs to one process alone"):
        command.check(Settings(store=Store(url=url)), demo=False)


def refused(tmp_path: Path, *arguments: str) -> str:
    """Start in vain, and return what was said."""
    ended = subprocess.run(
        [str(TWISTD), "-n", "--pidfile=", "callcenter-ws", *arguments],
        cwd=tmp_path,
        env={**os.environ, "CALLCENTER_WS_DEMO_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert ended.returncode == 1
    assert os.listdir(tmp_path) == []
    return ended.stderr


def test_a_store_of_one_process_is_refused(tmp_path: Path) -> None:
    said = refused(tmp_path, "--workers", "2", "--set", "store.url=sqlite:events.sqlite")
    assert "sqlite: belongs to one process alone" in said
    assert "redis://" in said


def test_the_demo_is_refused(tmp_path: Path) -> None:
    assert "leave out either --workers or --demo" in refused(tmp_path, "--workers", "2", "--demo")


def test_none_at_all_is_refused(tmp_path: Path) -> None:
    assert "'0' is not a number from 1 on, nor auto" in refused(tmp_path, "--workers", "0")


def test_a_worker_is_started_with_the_same_settings() -> None:
    words = command.command("a file.toml", ["web.listen=tcp:1", "jwt.issuer=x y"])
    assert words[0] == sys.executable
    plugin = words.index("callcenter-ws")
    assert words[plugin + 1 :] == [
        "--config", "a file.toml", "--set", "web.listen=tcp:1", "--set", "jwt.issuer=x y",
    ]  # fmt: skip
    assert "--nodaemon" in words[:plugin]
    assert command.command(None, [])[-1] == "callcenter-ws"
