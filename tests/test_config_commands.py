"""The settings of commands and of the audit log: every problem with its path, and warnings of what is unwise."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from callcenter_ws.config.changes import EFFECTS, Effect
from callcenter_ws.config.command_rules import UNSAFE_DESTINATIONS
from callcenter_ws.config.command_settings import (
    AllowedCommands,
    Destination,
    Disposition,
    TenantCommands,
    destination_pattern,
)
from callcenter_ws.config.load import load
from callcenter_ws.config.settings import Settings
from callcenter_ws.runtime.setting_problems import ConfigError

FULL = """
    [commands]
    enabled = true
    allow = { agent = ["agent.state.set", "call.hangup"], supervisor = [] }
    rate = 2
    burst = 3
    destination_pattern = '^[0-9]{2,5}$'
    pause_reasons = ["break"]
    dispositions = [{ code = "sold", label = "Sold" }]
    destinations = [{ name = "Sales", destination = "600", queue_name = "sales" }]
    [audit]
    file = "audit.jsonl"
    [tenants.acme.commands]
    pause_reasons = []
    dispositions = [{ code = "a", label = "A" }, { code = "b", label = "B" }]
    destinations = [{ name = "Night desk", destination = "00" }]
    route = { "agent.state.set" = "pbx1", "call.*" = "pbx2" }
"""


def read(folder: Path, text: str) -> Settings:
    (folder / "gw.toml").write_text(text)
    return load(folder / "gw.toml", demo=True)


def test_all_keys_are_read(tmp_path: Path) -> None:
    settings = read(tmp_path, FULL)
    commands = settings.commands
    assert commands.allow == AllowedCommands(agent=("agent.state.set", "call.hangup"), supervisor=())
    assert (commands.rate, commands.burst, commands.pause_reasons) == (2, 3, ("break",))
    assert commands.dispositions == (Disposition(code="sold", label="Sold"),)
    assert commands.destinations == (Destination(name="Sales", destination="600", queue_name="sales"),)
    assert settings.audit.file == tmp_path / "audit.jsonl"
    acme = settings.tenants.by_name["acme"].commands
    assert acme.pause_reasons == ()
    assert [one.code for one in acme.dispositions or ()] == ["a", "b"]
    assert acme.destinations == (Destination(name="Night desk", destination="00", queue_name=None),)
    assert acme.route == {"agent.state.set": "pbx1", "call.*": "pbx2"}
    assert settings.warnings == ()


def test_commands_are_off_and_a_tenant_has_nothing_of_its_own_by_default() -> None:
    assert not Settings().commands.enabled
    assert Settings().audit.file is None
    assert TenantCommands() == TenantCommands(pause_reasons=None, dispositions=None, destinations=None, route={})


def test_tables_can_be_set_on_the_command_line() -> None:
    overrides = [
        'commands.allow={agent = ["call.hangup"]}',
        'commands.dispositions=[{code = "x", label = "X"}]',
        "commands.pause_reasons=one,two",
    ]
    commands = load(None, overrides=overrides, demo=True).commands
    assert commands.allow == AllowedCommands(agent=("call.hangup",))
    assert commands.dispositions == (Disposition(code="x", label="X"),)
    assert commands.pause_reasons == ("one", "two")


@pytest.mark.parametrize(
    ("text", "key", "reason"),
    [
        ("commands.enable = true", "commands.enable", "did you mean commands.enabled?"),
        ("commands.allow = []", "commands.allow", "expected a table"),
        ('commands.allow.agent = ["call.hangupp"]', "commands.allow.agent", "did you mean call.hangup?"),
        ("commands.allow.agents = []", "commands.allow.agents", "did you mean agent?"),
        ("commands.rate = 0", "commands.rate", "out of range"),
        ("commands.burst = 1.5", "commands.burst", "expected a whole number"),
        ("commands.pause_reasons = [1]", "commands.pause_reasons", "item 1: expected a string"),
        (r'commands.pause_reasons = ["a\r\nb"]', "commands.pause_reasons", "item 1: 'a\\r\\nb' is not a reason"),
        ('commands.pause_reasons = [""]', "commands.pause_reasons", "item 1: '' is not a reason"),
        (f"commands.pause_reasons = {[str(i) for i in range(101)]}", "commands.pause_reasons", "at most 100"),
        ("commands.dispositions = {}", "commands.dispositions", "expected a list"),
        ('commands.dispositions = [{ code = "a" }]', "commands.dispositions[1].label", "is missing"),
        ('commands.dispositions = [{ code = "a b", label = "" }]', "commands.dispositions[1].code", "is not a code"),
        (
            'commands.dispositions = [{ code = "a", label = "A" }, { code = "a", label = "B" }]',
            "commands.dispositions",
            "2 of them have the code 'a'",
        ),
        ('commands.destinations = [{ name = "A" }]', 'commands.destinations[1] "A".destination', "is missing"),
        (
            'commands.destinations = [{ name = "\\n", destination = "1" }]',
            r'commands.destinations[1] "\n".name',
            "is not a text",
        ),
        (
            'commands.destinations = [{ name = "A", destination = "1", queue_name = "" }]',
            'commands.destinations[1] "A".queue_name',
            "is not the name of a queue",
        ),
        (
            r'commands.destinations = [{ name = "A", destination = "1", queue_name = "a\u202Eb" }]',
            'commands.destinations[1] "A".queue_name',
            "is not the name of a queue",
        ),
        (
            'commands.destinations = [{ name = " ", destination = "1" }]',
            'commands.destinations[1] " ".name',
            "is not a",
        ),
        (
            f"""commands.destination_pattern = '[0-9]+'
            commands.destinations = [{{ name = "A", destination = "{"1" * 65}" }}]""",
            'commands.destinations[1] "A".destination',
            "has more than 64 characters",
        ),
        (
            'commands.destinations = [{ name = "A", destination = "1" }, { name = "A", destination = "2" }]',
            "commands.destinations",
            "2 of them have the name 'A'",
        ),
        (
            'tenants.a.commands.destinations = [{ name = "A", destination = "1" }, { name = "B", destination = "1" }]',
            "tenants.a.commands.destinations",
            "2 of them have the destination '1'",
        ),
        (
            'commands.destinations = [{ name = "A", destination = "1,2" }]',
            'commands.destinations[1] "A".destination',
            "'1,2' does not match commands.destination_pattern",
        ),
        (
            'tenants.acme.commands.destinations = [{ name = "A", destination = "x" }]',
            'tenants.acme.commands.destinations[1] "A".destination',
            "'x' does not match commands.destination_pattern",
        ),
        ('audit.file = "."', "audit.file", "is a folder"),
        ('audit.file = "/dev/null"', "audit.file", "is not a regular file"),
        ('audit.file = "none/audit.jsonl"', "audit.file", "there is no folder"),
        ("tenants.acme.commands.enabled = true", "tenants.acme.commands.enabled", "no such field"),
        (r'tenants.acme.commands.pause_reasons = ["\n"]', "tenants.acme.commands.pause_reasons[1]", "not a reason"),
        ('tenants.acme.commands.route = { "call.foo" = "a" }', "tenants.acme.commands.route", "no such command"),
        ('tenants.acme.commands.route = { "cal*" = "a" }', "tenants.acme.commands.route", "no such command"),
        ('tenants.acme.commands.route = { "call.*" = "" }', "tenants.acme.commands.route", "not the name of a source"),
        ('tenants.acme.commands.route = "pbx1"', "tenants.acme.commands.route", "expected tables"),
    ],
)
def test_wrong_values(tmp_path: Path, text: str, key: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    problems = caught.value.problems
    assert any(problem.key == key and reason in problem.reason for problem in problems), problems


@pytest.mark.parametrize(
    "pattern",
    [
        "^([0-9]+)+$",
        "(a|a)*b",
        "[0-9]*[0-9]*[0-9]*[0-9]*[0-9]*x",
        "[",
        "",
        "(?=1)1",
        "(?P<a>1)",
        "1*",
        "1{99999999999}",
    ],
)
def test_patterns_that_are_slow_or_accept_nothing_are_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"matches an empty|is not a|must not|has more|only"):
        destination_pattern(pattern)


@pytest.mark.parametrize("pattern", [r"^\+?[0-9*#]{1,32}$", r"(?:\+49|0)[0-9]{2,20}", "[0-9]+", r"[]*+{]\(x", "1|2"])
def test_ordinary_patterns_are_accepted(pattern: str) -> None:
    assert re.compile(pattern) == destination_pattern(pattern)


def test_no_unsafe_destination_matches_the_default() -> None:
    default = destination_pattern(Settings().commands.destination_pattern)
    assert not any(default.fullmatch(text) for text in UNSAFE_DESTINATIONS)
    assert not default.fullmatch("12\n")
    assert default.fullmatch("+4930123")


@pytest.mark.parametrize(
    ("text", "key", "reason"),
    [
        ("commands.enabled = true", "audit.file", "no durable record"),
        ("tenants.acme.commands.pause_reasons = []", "tenants.acme.commands", "commands.enabled is false"),
        (
            "commands.enabled = true\ncommands.destination_pattern = '.+'",
            "commands.destination_pattern",
            "accepts '1,2'",
        ),
    ],
)
def test_warnings(tmp_path: Path, text: str, key: str, reason: str) -> None:
    warnings = read(tmp_path, text).warnings
    assert any(f": {key}: " in warning and reason in warning for warning in warnings), warnings


def test_an_audit_log_that_every_user_can_read_is_warned_of(tmp_path: Path) -> None:
    (tmp_path / "audit.jsonl").touch(mode=0o600)
    text = "commands.enabled = true\naudit.file = 'audit.jsonl'"
    assert read(tmp_path, text).warnings == ()
    (tmp_path / "audit.jsonl").chmod(0o644)
    (warning,) = read(tmp_path, text).warnings
    assert "every user of this machine can read" in warning


def test_a_reload_takes_all_but_whether_commands_are_enabled() -> None:
    effects = {key: effect for key, effect in EFFECTS.items() if key.startswith(("commands.", "audit."))}
    assert effects.pop("commands.enabled") is Effect.PROCESS
    assert set(effects.values()) == {Effect.RELOAD}
