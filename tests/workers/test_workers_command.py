"""The command line of ``--workers``: valid numbers and settings, and the command that starts a worker."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from processes import DEADLINE, TWISTD

from callcenter_ws.config.settings import Settings, StoreSettings
from callcenter_ws.workers.worker_options import WorkersRefused, check_settings, worker_command, worker_count


def test_auto_is_one_for_each_usable_processor() -> None:
    assert worker_count("auto") == len(os.sched_getaffinity(0))


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "many", "", "٣"])
def test_an_invalid_number_of_workers_is_refused(text: str) -> None:
    with pytest.raises(WorkersRefused, match="--workers"):
        worker_count(text)


def test_one_worker_is_allowed() -> None:
    assert worker_count("1") == 1


@pytest.mark.parametrize("url", ["redis://somewhere/0", "rediss+sentinel://somewhere/master", "unix:/run/redis.sock"])
def test_shared_stores_are_allowed(url: str) -> None:
    check_settings(Settings(store=StoreSettings(url=url)), demo=False)


@pytest.mark.parametrize("url", ["memory:", "sqlite:redis:"])
def test_stores_of_one_process_are_refused(url: str) -> None:
    with pytest.raises(WorkersRefused, match="belongs to one process"):
        check_settings(Settings(store=StoreSettings(url=url)), demo=False)


def refused(tmp_path: Path, *arguments: str) -> str:
    """Start twistd, which must fail, and return its error output."""
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


def test_the_error_names_the_store(tmp_path: Path) -> None:
    errors = refused(tmp_path, "--workers", "2", "--set", "store.url=sqlite:events.sqlite")
    assert "sqlite: belongs to one process" in errors
    assert "redis://" in errors


def test_the_demo_is_refused(tmp_path: Path) -> None:
    assert "leave out either --workers or --demo" in refused(tmp_path, "--workers", "2", "--demo")


def test_zero_workers_are_refused(tmp_path: Path) -> None:
    assert "'0' is not a number from 1 on, nor auto" in refused(tmp_path, "--workers", "0")


def test_a_worker_is_started_with_the_same_settings() -> None:
    arguments = worker_command("a file.toml", ["web.listen=tcp:1", "jwt.issuer=x y"])
    assert arguments[0] == sys.executable
    plugin = arguments.index("callcenter-ws")
    assert arguments[plugin + 1 :] == [
        "--config", "a file.toml", "--set", "web.listen=tcp:1", "--set", "jwt.issuer=x y",
    ]  # fmt: skip
    assert "--nodaemon" in arguments[:plugin]
    assert worker_command(None, [])[-1] == "callcenter-ws"
