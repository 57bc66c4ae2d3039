"""The assembled gateway uses the configured values."""

from __future__ import annotations

from pathlib import Path

import pytest
from twisted.internet import reactor

from callcenter_ws.config.load import load
from callcenter_ws.config.settings import Settings
from callcenter_ws.gateway.assembly import assemble
from callcenter_ws.gateway.service import GatewayService

TEXT = """
[web]
listen = ["tcp:0:interface=127.0.0.1"]
[amp]
listen = ["unix:{folder}/amp.sock"]
[jwt]
secret_file = "{folder}/jwt.secret"
[store]
url = "memory:"
[policy]
agent_calls = "own"
[limits]
outbox = 16
slow_timeout = 3
ping_interval = 20
rate = 7
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    secret = tmp_path / "jwt.secret"
    secret.write_text("x" * 48)
    secret.chmod(0o600)
    path = tmp_path / "gateway.toml"
    path.write_text(TEXT.format(folder=tmp_path))
    return load(path)


def test_without_a_limit_there_are_as_many_websockets_as_descriptors_allow(settings: Settings) -> None:
    assert settings.limits.connections == 0
    parts = assemble(reactor, settings, None)
    assert parts.admission.limits.connections == parts.descriptors.websockets > 0


def test_every_part_has_the_configured_limits(settings: Settings) -> None:
    assert (settings.limits.outbox, settings.limits.slow_timeout) == (16, 3)
    parts = assemble(reactor, settings, None)
    assert parts.core.hub.limits is settings.limits
    assert parts.websocket_factory.context.limits is settings.limits
    assert parts.websocket_factory.context.requests.limits is settings.limits
    assert parts.websocket_factory.context.requests.hub is parts.core.hub


def test_the_service_has_a_listener_for_each_endpoint(settings: Settings) -> None:
    service = GatewayService(reactor, settings)
    assert (len(service.web_listeners), len(service.amp_listeners)) == (1, 1)
    assert service.parts.core.hub.limits is settings.limits


@pytest.mark.logs_errors
def test_a_bug_in_the_drain_does_not_keep_the_store_open(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    service, closed = GatewayService(reactor, settings), []

    async def fail(drain_timeout: float) -> None:
        raise ZeroDivisionError

    async def close() -> None:
        closed.append(True)

    monkeypatch.setattr(service._drain, "run", fail)
    monkeypatch.setattr(service.parts.core.store, "close", close)
    ended: list[None] = []
    service.stopService().addCallback(ended.append)
    assert (closed, ended) == ([True], [None])
