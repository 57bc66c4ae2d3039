"""The outcome of the last reload is in the metrics of a process, and of each worker."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest
from monitored_gateway import Gateway, gateway_on_redis
from processes import run

SINCE = r"^callcenter_ws_last_reload_success_timestamp_seconds(?:\{.*\})? (\S+)$"


def applied_at(exposition: str) -> list[float]:
    return [float(value) for value in re.findall(SINCE, exposition, re.MULTILINE)]


def of_both_workers(*, successful: bool) -> str:
    """Return a pattern. A worker that starts, or stands still for a second, is left out of an exposition."""
    lines = [f'callcenter_ws_last_reload_successful{{worker="{n}"}} {int(successful)}.0' for n in (1, 2)]
    return "^" + re.escape("\n".join(lines)) + "$"


def test_of_one_process(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, "")
    try:
        gateway.expect("callcenter-ws serves")
        before = applied_at(gateway.exposition("^callcenter_ws_last_reload_successful 1.0$"))
        text = gateway.config.read_text()
        gateway.config.write_text(text + '[log]\nlevel = "loud"\n')
        gateway.process.send_signal(signal.SIGHUP)
        assert applied_at(gateway.exposition("^callcenter_ws_last_reload_successful 0.0$")) == before
        gateway.config.write_text(text + '[log]\nlevel = "debug"\n')
        gateway.process.send_signal(signal.SIGHUP)
        assert applied_at(gateway.exposition("^callcenter_ws_last_reload_successful 1.0$")) > before
    finally:
        gateway.stop()


@pytest.mark.parametrize("is_refused", [True, False])
def test_of_workers(is_refused: bool, tmp_path: Path) -> None:
    """The supervisor refuses a file that it cannot read, and no worker sees it."""
    with gateway_on_redis(tmp_path) as node:
        before = applied_at(node.exposition(of_both_workers(successful=True)))
        level = "loud" if is_refused else "debug"
        node.config.write_text(f'{node.config.read_text()}[log]\nlevel = "{level}"\n')
        reloaded = run("reload", "--config", str(node.config))
        assert reloaded.returncode == int(is_refused), reloaded
        after = applied_at(node.exposition(of_both_workers(successful=not is_refused)))
        assert [now == then for now, then in zip(after, before, strict=True)] == [is_refused] * 2
