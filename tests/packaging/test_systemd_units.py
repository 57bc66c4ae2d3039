"""The units in etc/, as systemd's own tools judge them. tests/integration/test_under_systemd.py runs the gateway."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest

from callcenter_ws.bridge.load import load as load_bridge
from callcenter_ws.bridge.settings import GatewaySettings
from callcenter_ws.bridge.table_decoder import fields_of
from callcenter_ws.bridge.tap import STOP_MARGIN_SECONDS as BRIDGE_STOP_MARGIN_SECONDS
from callcenter_ws.config.load import load
from callcenter_ws.config.settings import Settings
from callcenter_ws.gateway.service import STOP_MARGIN_SECONDS
from callcenter_ws.runtime.setting_values import range_of

ETC = Path(__file__).parents[2] / "etc"
INSTALLED_IN = "/opt/callcenter-ws/bin/"
BRIDGE = "callcenter-bridge.service"
UNITS = ("callcenter-ws.service", "callcenter-ws-web.socket", "callcenter-ws-amp.socket", BRIDGE)
MAX_EXPOSURE = 2.0


def run(command: Sequence[str], **environment: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "SYSTEMD_COLORS": "0", "LANG": "C.UTF-8", **environment}
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """A folder with all units, whose commands are those of this environment: systemd checks that they exist."""
    for name in (*UNITS, "callcenter-ws.service.d/workers.conf"):
        text = (ETC / name).read_text()
        unit = tmp_path / name
        unit.parent.mkdir(exist_ok=True)
        unit.write_text(text.replace(INSTALLED_IN, f"{Path(sys.executable).parent}/"))
    return tmp_path


def values(name: str, key: str) -> list[str]:
    """Return the values of a key in a unit."""
    lines = (ETC / name).read_text().splitlines()
    return [line.partition("=")[2] for line in lines if line.startswith(f"{key}=")]


@pytest.mark.parametrize("name", UNITS)
@pytest.mark.parametrize("drop_in", [False, True], ids=["one process", "workers"])
def test_systemd_accepts_the_units(units: Path, name: str, drop_in: bool) -> None:
    if not drop_in:
        (units / "callcenter-ws.service.d" / "workers.conf").unlink()
    verified = run(["systemd-analyze", "verify", "--man=no", str(units / name)], SYSTEMD_UNIT_PATH=f"{units}:")
    assert (verified.returncode, verified.stderr) == (0, "")


def test_a_mistake_would_be_found(units: Path) -> None:
    unit = units / "callcenter-ws.service"
    unit.write_text(unit.read_text().replace("WatchdogSec=30", "WatchdogSec=soon"))
    verified = run(["systemd-analyze", "verify", "--man=no", str(unit)], SYSTEMD_UNIT_PATH=f"{units}:")
    assert "Failed to parse sec value" in verified.stderr


@pytest.mark.parametrize("name", ["callcenter-ws.service", BRIDGE])
def test_the_unit_is_confined(units: Path, name: str) -> None:
    command = ["systemd-analyze", "security", "--offline=true", f"--threshold={MAX_EXPOSURE * 10:g}"]
    judged = run([*command, str(units / name)])
    assert judged.returncode == 0, judged.stdout


@pytest.mark.parametrize("name", ["callcenter-ws", "callcenter-bridge"])
def test_the_user(tmp_path: Path, name: str) -> None:
    made = run(["systemd-sysusers", "--dry-run", f"--root={tmp_path}", str(ETC / "sysusers.d" / f"{name}.conf")])
    assert made.returncode == 0, made.stderr
    assert name in made.stdout + made.stderr
    assert values(f"{name}.service", "User") == [name]


def test_the_settings_of_a_bridge_fit_its_unit(tmp_path: Path) -> None:
    """Its spools are in the folder that the unit makes, and its credential is one that the unit loads."""
    text = (ETC / "bridge.toml").read_text()
    (state,) = values(BRIDGE, "StateDirectory")
    table = tomllib.loads(text)
    assert table["gateway"]["spool"].startswith(f"/var/lib/{state}/")
    for name in [credential.partition(":")[0] for credential in values(BRIDGE, "LoadCredential")]:
        (tmp_path / name).write_text("0123456789" * 4)
        (tmp_path / name).chmod(0o400)
    config = tmp_path / "bridge.toml"
    token = '# token_file = "$CREDENTIALS_DIRECTORY/amp.secret"'
    assert token in text
    config.write_text(text.replace(f"/var/lib/{state}", str(tmp_path)).replace(token, token[2:]))
    settings = load_bridge(config, environ={"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert settings.warnings == ()
    assert settings.sources[0].secret_file == tmp_path / "ami.secret"
    (timeout,) = values(BRIDGE, "TimeoutStopSec")
    assert int(timeout) > range_of(fields_of(GatewaySettings)["stop_timeout"]).largest + BRIDGE_STOP_MARGIN_SECONDS


def test_the_settings_fit_the_unit(tmp_path: Path) -> None:
    """Their paths are in the folders that the unit makes, and its credential is one that the unit loads."""
    text = (ETC / "callcenter-ws.service.toml").read_text()
    table = tomllib.loads(text)
    (state,), (runtime,) = (values("callcenter-ws.service", key) for key in ("StateDirectory", "RuntimeDirectory"))
    assert table["store"]["url"].startswith(f"sqlite:/var/lib/{state}/")
    assert table["control"]["socket"].startswith(f"/run/{runtime}/")
    assert table["amp"]["listen"][0].startswith(f"unix:/run/{runtime}/")
    names = [credential.partition(":")[0] for credential in values("callcenter-ws.service", "LoadCredential")]
    for name in names:
        (tmp_path / name).write_text("0123456789" * 4)
        (tmp_path / name).chmod(0o400)
    config = tmp_path / "callcenter-ws.toml"
    config.write_text(text.replace(f"/var/lib/{state}", str(tmp_path)).replace(f"/run/{runtime}", str(tmp_path)))
    settings = load(config, environ={"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert settings.warnings == ()
    assert settings.jwt.secret_file == tmp_path / "jwt.secret"


def test_the_commented_endpoints_are_valid(tmp_path: Path) -> None:
    """The endpoints that the units' comments propose are accepted."""
    for name, endpoint in (("web", "systemd:domain=INET6:name=web"), ("amp", "systemd:domain=UNIX:name=amp")):
        assert endpoint in (ETC / f"callcenter-ws-{name}.socket").read_text()
        assert values(f"callcenter-ws-{name}.socket", "FileDescriptorName") == [name]
        load(None, overrides=[f"{name}.listen={endpoint}"])


def test_the_time_of_a_stop() -> None:
    """systemd waits for a drain with the default settings even if the gateway could not ask for more time."""
    (timeout,) = values("callcenter-ws.service", "TimeoutStopSec")
    assert int(timeout) > Settings().limits.drain_timeout + STOP_MARGIN_SECONDS
