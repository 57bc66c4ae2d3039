"""callcenter-ws export from Redis: all pages of the log, in order, each event once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest_twisted
from broker_contract import A
from twisted.internet.threads import deferToThread

from callcenter_ws.cli.export import PAGE_EVENTS
from callcenter_ws.figures.archive_files import TenantFolder
from callcenter_ws.statistics.export_line import export_line

if TYPE_CHECKING:
    from redis_nodes import Nodes

MAIN = "import sys; from callcenter_ws.cli.main import main; sys.exit(main())"
EVENTS = 2 * PAGE_EVENTS + 7


def export(*arguments: str) -> list[bytes]:
    command = [sys.executable, "-c", MAIN, "export", "--tenant", A, *arguments]
    done = subprocess.run(command, capture_output=True, timeout=60, env=dict(os.environ), check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.splitlines()


@pytest_twisted.ensureDeferred
async def test_the_log_is_printed_page_by_page(nodes: Nodes, tmp_path: Path) -> None:
    node = await nodes.open(history_events=10_000)
    for first in range(0, EVENTS, 100):
        await node.publish(*[node.event() for _ in range(min(100, EVENTS - first))])
    await node.until(lambda: len(node.ids()) == EVENTS)
    epoch = (await node.broker.position(A)).epoch
    lines = [export_line(one, epoch) for one in node.delivered if one.event.tenant_id == A]
    redis = ("--set", f"store.url={node.url}", "--set", f"store.key_prefix={node.prefix}")
    assert await deferToThread(export, *redis) == lines
    folder = TenantFolder(tmp_path, A, "node")
    folder.append(folder.new_file(20_833), 0, lines[: PAGE_EVENTS + 3])
    assert await deferToThread(export, *redis, "--archive", str(tmp_path)) == lines
