"""A reload says truly which settings are in use, and which wait for a restart."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from callcenter_ws.bridge.reload import BridgeReload
from callcenter_ws.bridge.service import BridgeService
from callcenter_ws.bridge.settings import BridgeSettings, GatewaySettings, SourceSettings
from callcenter_ws.runtime.endpoints import EndpointDescription

LATER = "not in use yet: gateway.token_file: after a restart"


@pytest.fixture
def settings(tmp_path: Path) -> BridgeSettings:
    """Settings without a token."""
    for name in ("secret", "token"):
        (tmp_path / name).write_text(f"the {name}")
    source = SourceSettings(
        name="pbx1",
        kind="asterisk",
        endpoint=EndpointDescription.parse("tcp:127.0.0.1:1"),
        username="callcenter",
        secret_file=tmp_path / "secret",
        tenant="acme",
    )
    gateway = GatewaySettings(endpoint=EndpointDescription.parse(f"unix:{tmp_path}/amp"), spool=tmp_path / "spool")
    return BridgeSettings(gateway=gateway, sources=(source,))


def with_token(settings: BridgeSettings, path: Path | None) -> BridgeSettings:
    return replace(settings, gateway=replace(settings.gateway, token_file=path))


def reloaded(service: BridgeService, new: BridgeSettings) -> str:
    """Return what the log says of a reload."""
    with capturedLogs() as events:
        BridgeReload(service, lambda: new, lambda level: None, lambda: 0.0).run()
    (text,) = (formatEvent(event) for event in events)
    return text.removeprefix("the settings were loaded again: ")


def test_the_first_token_waits_for_a_restart(settings: BridgeSettings, tmp_path: Path) -> None:
    service = BridgeService(settings, Clock())
    new = with_token(settings, tmp_path / "token")
    assert reloaded(service, new) == LATER
    assert reloaded(service, new) == LATER
    assert service.secrets.token is None
    assert service.settings == settings
    assert reloaded(service, settings) == "no setting has changed"


def test_no_token_any_more_waits_for_a_restart(settings: BridgeSettings, tmp_path: Path) -> None:
    service = BridgeService(with_token(settings, tmp_path / "token"), Clock())
    assert reloaded(service, settings) == LATER
    assert service.secrets.token == "the token"


def test_another_token_is_used_at_once(settings: BridgeSettings, tmp_path: Path) -> None:
    service = BridgeService(with_token(settings, tmp_path / "token"), Clock())
    (tmp_path / "token").write_text("another one")
    assert reloaded(service, service.settings) == "files with new contents: gateway.token_file"
    assert service.secrets.token == "another one"
    (tmp_path / "elsewhere").write_text("another one")
    assert reloaded(service, with_token(settings, tmp_path / "elsewhere")) == "in use now: gateway.token_file"
    assert service.settings.gateway.token_file == tmp_path / "elsewhere"
