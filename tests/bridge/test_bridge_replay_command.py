"""callcenter-ws bridge replay."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from asterisk_captures import capture, replayed

from callcenter_ws.cli.main import main

CONFIG = """
[gateway]
endpoint = "unix:path=/run/callcenter-ws/amp.sock"
token_file = "there-is-none.token"

[[sources]]
name = "pbx1"
kind = "asterisk"
endpoint = "tcp:127.0.0.1:5038"
username = "callcenter"
secret_file = "there-is-none.secret"
tenant = "acme"
agent_pattern = "(?:PJSIP|SIP)/(?P<user_id>[0-9]+)"
directions = { inbound = ["from-trunk-.*"], internal = ["internal", "agents"] }
"""


@pytest.fixture
def config(tmp_path: Path) -> str:
    file = tmp_path / "bridge.toml"
    file.write_text(CONFIG)
    return str(file)


def write(folder: Path, name: str) -> str:
    """Write a capture of the archive with the files beside it; return the name of its file."""
    played = capture(name)
    (folder / f"{name}.txt").write_bytes(played.content)
    (folder / f"{name}.sent").write_bytes(played.sent)
    times = "".join(f"{time!r}\t{offset}\n" for time, offset in played.times)
    (folder / f"{name}.times").write_text(times)
    return str(folder / f"{name}.txt")


def test_events_are_printed_without_a_gateway_and_a_secret(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path, "01-answered-caller-hangs-up")
    assert main(["bridge", "replay", "--config", config, "--source", "pbx1", "--check", file]) == 0
    output = capsys.readouterr()
    events = [json.loads(line) for line in output.out.splitlines()]
    expected = replayed("01-answered-caller-hangs-up")
    assert [event["type"] for event in events] == [event.type for event in expected]
    for event in events:
        assert list(event)[:5] == ["type", "tenant_id", "timestamp", "event_id", "payload"]
        assert event["tenant_id"] == "acme" and event["timestamp"].endswith("Z")
    assert output.err == f"OK: {len(events)} events keep the laws\n"


def test_without_a_name_the_only_source_is_meant(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [write(tmp_path, f"46-reconnect.{part}") for part in "abc"]
    assert main(["bridge", "replay", "--config", config, *files]) == 0
    assert capsys.readouterr().err == ""


def test_a_capture_that_was_cut_off(config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = Path(write(tmp_path, "02-answered-agent-hangs-up"))
    file.write_bytes(file.read_bytes()[:-20])
    assert main(["bridge", "replay", "--config", config, str(file)]) == 0
    assert capsys.readouterr().err == f"{file}: it ends in the middle of a message, which is not read\n"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"root:x:0:0:root:/root:/bin/bash\n", "is not a capture of the manager interface"),
        (b"", "is not a capture of the manager interface: it holds no message"),
        (None, "cannot read the file: No such file or directory"),
    ],
)
def test_what_is_no_capture(
    content: bytes | None, reason: str, config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "capture.txt"
    if content is not None:
        file.write_bytes(content)
    assert main(["bridge", "replay", "--config", config, str(file)]) == 1
    assert capsys.readouterr().err.startswith(f"callcenter-ws bridge: {file}: {reason}")


def test_times_of_another_capture(config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = Path(write(tmp_path, "26-direct-caller-cancels"))
    file.with_suffix(".times").write_text("1795953790.0\t99999999\n")
    assert main(["bridge", "replay", "--config", config, str(file)]) == 1
    assert "belongs to a longer capture" in capsys.readouterr().err


def test_an_unknown_source(config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path, "26-direct-caller-cancels")
    assert main(["bridge", "replay", "--config", config, "--source", "pbx2", file]) == 1
    assert "has no source 'pbx2'; did you mean pbx1?" in capsys.readouterr().err


def test_several_sources_need_a_name(config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    second = CONFIG[CONFIG.index("[[sources]]") :].replace("pbx1", "pbx2")
    Path(config).write_text(CONFIG + second)
    file = write(tmp_path, "26-direct-caller-cancels")
    assert main(["bridge", "replay", "--config", config, file]) == 1
    assert "use --source NAME (pbx1, pbx2)" in capsys.readouterr().err


def test_a_file_of_settings_that_cannot_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "bridge.toml"
    config.write_text("[gatway]\n")
    assert main(["bridge", "replay", "--config", str(config), "x.txt"]) == 1
    assert "the configuration has" in capsys.readouterr().err
