"""The Pythons that run the examples, and a gateway on a loopback port and on a unix socket."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_twisted
from amp_doubles import LoopbackGateway


def python27() -> str:
    """Return a Python 2.7 that has Twisted, or skip the test."""
    candidates = [os.environ.get("CALLCENTER_WS_PYTHON27"), shutil.which("python2.7"), shutil.which("python2")]
    for candidate in filter(None, candidates):
        probe = subprocess.run(
            [candidate, "-c", "import sys, twisted; assert sys.version_info[:2] == (2, 7)"],
            capture_output=True,
            check=False,
        )
        if probe.returncode == 0:
            return candidate
    return pytest.skip("no Python 2.7 with Twisted: set CALLCENTER_WS_PYTHON27 to one")


@pytest.fixture(params=["python3", "python2.7"])
def python(request: pytest.FixtureRequest) -> str:
    return sys.executable if request.param == "python3" else python27()


@pytest_twisted.async_yield_fixture
async def gateway(tmp_path: Path) -> AsyncIterator[LoopbackGateway]:
    from twisted.internet import reactor

    gateway = LoopbackGateway(reactor)
    gateway.listen()
    local = reactor.listenUNIX(str(tmp_path / "amp.sock"), gateway.factory, mode=0o660)
    yield gateway
    await local.stopListening()
    await gateway.close()
