"""Settings of a bridge: read with their types, and all mistakes reported at once."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from callcenter_ws.bridge.load import SECTIONS, load
from callcenter_ws.bridge.settings import (
    AgentEntry,
    BridgeSettings,
    CommandSettings,
    Directions,
    GatewaySettings,
    LogSettings,
    MetricsSettings,
    SourceSettings,
    TenantRule,
)
from callcenter_ws.bridge.table_decoder import fields_of
from callcenter_ws.runtime.setting_problems import ConfigError

ETC_FILE = Path(__file__).parents[2] / "etc" / "bridge.toml"

EXAMPLE = """
[gateway]
endpoint = "unix:path=/run/callcenter-ws/amp.sock"
token_file = "amp.token"
spool = "spool"

[[sources]]
name = "pbx1"
kind = "asterisk"
endpoint = "tcp:127.0.0.1:5038"
username = "callcenter"
secret_file = "ami.secret"
tenant = "acme"
agent_pattern = "(?:PJSIP|SIP)/(?P<user_id>[0-9]+)"
agents = { "PJSIP/201" = { user_id = "201", username = "Alice Adams", extension = "201" } }
directions = { inbound = ["from-trunk-.*"], internal = ["internal", "agents"] }

[[sources.tenants]]
tenant = "globex"
account_code = "globex"
"""
"""That of the design, as an operator would begin with."""

SOURCE = EXAMPLE[EXAMPLE.index("[[sources]]") : EXAMPLE.index("[[sources.tenants]]")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("ami.secret", "amp.token"):
        (tmp_path / name).write_text("correct horse battery\n")
        (tmp_path / name).chmod(0o600)
    return tmp_path


def loaded(folder: Path, content: str = EXAMPLE, *overrides: str, **environ: str) -> BridgeSettings:
    (folder / "bridge.toml").write_text(content)
    return load(folder / "bridge.toml", overrides=overrides, environ=environ, folder=folder)


def problems(folder: Path, content: str = EXAMPLE, *overrides: str, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        loaded(folder, content, *overrides, **environ)
    return [str(problem).replace(f"{folder}/", "") for problem in raised.value.problems]


def test_the_example_is_read(folder: Path) -> None:
    settings = loaded(folder)
    (source,) = settings.sources
    assert settings.gateway.endpoint.text == "unix:path=/run/callcenter-ws/amp.sock"
    assert (settings.gateway.token_file, settings.gateway.spool) == (folder / "amp.token", folder / "spool")
    assert (source.name, source.tenant, source.secret_file) == ("pbx1", "acme", folder / "ami.secret")
    assert source.agents == {"PJSIP/201": AgentEntry(user_id="201", username="Alice Adams", extension="201")}
    assert source.directions == Directions(inbound=("from-trunk-.*",), internal=("internal", "agents"))
    assert source.tenants == (TenantRule(tenant="globex", account_code="globex"),)
    assert settings.warnings == ()


def test_all_problems_are_reported_at_once(folder: Path) -> None:
    content = """
        [gatway]
        [gateway]
        endpoint = "tcp:gateway"
        spool = "missing/spool"
        bufer = 5
        [[sources]]
        name = "pbx1"
        kind = "asterisc"
        endpoint = "ssl:pbx:5039"
        username = ""
        secret_file = "no.secret"
        tenant = "*"
        agent_pattern = "(?P<user>[0-9]+)"
        ping_interval = 0
        agents = { "PJSIP/201" = { username = "Alice", extensoin = "201" } }
        directions = { inbound = ["from-(", "ok"], outbound = [] }
        [[sources]]
        name = "pbx 2"
        kind = "freeswitch"
        agent_patern = ""
        [[sources.tenants]]
        tenant = "globex"
        [[sources.tenants]]
        account_code = "["
        variable = "TENANT"
    """
    found = problems(folder, content)
    assert [problem.removeprefix("bridge.toml: ") for problem in found] == [
        "gatway: there is no such section; did you mean gateway?",
        "gateway.endpoint: 'tcp:gateway': the port is not a number from 1 to 65535; write tcp:HOST:PORT",
        "gateway.spool: there is no folder missing; make it, for the user of the bridge only",
        "gateway.bufer: there is no such key; did you mean buffer?",
        'sources.pbx1.kind: expected "asterisk", got a string: \'asterisc\'; did you mean "asterisk"?',
        "sources.pbx1.endpoint: 'ssl:pbx:5039': ssl: does not verify the name of the server; write tls:HOST:PORT",
        "sources.pbx1.username: expected the name of a section of manager.conf, got an empty string",
        "sources.pbx1.secret_file: cannot read the file with the secret: No such file or directory; looked in "
        + str(folder),
        "sources.pbx1.tenant: '*' is all tenants; an event belongs to one",
        (
            "sources.pbx1.agent_pattern: '(?P<user>[0-9]+)' has no group user_id; write the part of the device's name "
            "that is the user's id as (?P<user_id>…)"
        ),
        "sources.pbx1.ping_interval: 0.0 is out of range: 1 to 600",
        'sources.pbx1.agents."PJSIP/201".extensoin: there is no such key; did you mean extension?',
        'sources.pbx1.agents."PJSIP/201".user_id: is missing',
        (
            "sources.pbx1.directions.inbound: item 1: 'from-(' is not a regular expression: missing ), unterminated "
            "subpattern at position 5"
        ),
        "sources.pbx1.directions.outbound: there is no such key; did you mean inbound?",
        'sources."pbx 2".kind: FreeSWITCH is not supported yet; the kind of an Asterisk is asterisk',
        "sources.\"pbx 2\".name: 'pbx 2' is not a name of 1 to 64 letters, digits and _ . - that begins with no . or -",
        'sources."pbx 2".agent_patern: there is no such key; did you mean agent_pattern?',
        (
            "sources.\"pbx 2\".tenants[2].account_code: '[' is not a regular expression: unterminated character set at "
            "position 0"
        ),
        "sources.\"pbx 2\".tenants[2].variable: 'TENANT' is not NAME=PATTERN, as TENANT=acme",
        'sources."pbx 2".tenants[2].tenant: is missing',
        'sources."pbx 2".endpoint: is missing',
        'sources."pbx 2".username: is missing',
        'sources."pbx 2".secret_file: is missing',
        "gateway.token_file: is missing: at an endpoint of the network, senders must authenticate",
    ]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("[gateway", "bridge.toml: is not TOML: "),
        ("sources = 3\n[gateway]\nendpoint = 'unix:x'", "bridge.toml: sources: expected tables, each written as [["),
        ("[gateway]\nendpoint = 'unix:x'", "bridge.toml: sources: lists no exchange; write a table [[sources]] for"),
        ("[sources]\nname = 'x'\n[gateway]\nendpoint = 'unix:x'", "each written as [[sources]], with two brackets"),
        ("gateway = 3\n" + SOURCE, "bridge.toml: gateway: expected a table, got a whole number"),
        (EXAMPLE.replace('account_code = "globex"\n', ""), "sources.pbx1.tenants[1]: matches everything"),
        (EXAMPLE + SOURCE, "sources[2].name: 'pbx1' is the name of another source"),
        (EXAMPLE + SOURCE.replace('name = "pbx1"', ""), "sources[2].name: is missing"),
        (EXAMPLE.replace("[gateway]", "[log]\nlevel='loud'\n[gateway]"), "bridge.toml: log.level: expected "),
        (EXAMPLE.replace("[gateway]", "[metrics]\nlisten='9101'\n[gateway]"), "bridge.toml: metrics.listen: '9101' is"),
        (EXAMPLE.replace("tcp:127.0.0.1:5038", "tls:pbx:5039:trustRoots=/none"), "trustRoots: there is no /none"),
        (EXAMPLE.replace("tcp:127.0.0.1:5038", "tcp:pbx:5038:tiemout=3"), "tiemout is no option of it"),
        (EXAMPLE.replace("unix:path=/run/callcenter-ws/amp.sock", "unix:"), "write tcp:HOST:PORT, tls:HOST:PORT or"),
        (EXAMPLE.replace('token_file = "amp.token"\n', "").replace("unix:path=/run/x", "tcp:"), None),
    ],
)
def test_a_problem_is_described(folder: Path, content: str, problem: str | None) -> None:
    if problem is None:
        assert loaded(folder, content).gateway.token_file is None
    else:
        assert [found for found in problems(folder, content) if problem in found] != []


def test_a_network_endpoint_needs_a_token(folder: Path) -> None:
    content = EXAMPLE.replace('token_file = "amp.token"\n', "")
    assert problems(folder, content, "gateway.endpoint=tcp:gateway:8081") == [
        "bridge.toml: gateway.token_file: is missing: at an endpoint of the network, senders must authenticate"
    ]


@pytest.mark.parametrize("name", ["ami.secret", "amp.token"])
@pytest.mark.parametrize(
    ("mode", "problem"),
    [(0o644, "every user of this machine can read"), (0o620, "users other than its owner may write to")],
)
def test_a_secret_that_others_can_read_or_write_stops_the_start(
    folder: Path, name: str, mode: int, problem: str
) -> None:
    (folder / name).chmod(mode)
    (found,) = problems(folder)
    assert problem in found
    assert "chmod " in found


def test_the_group_may_read_a_secret(folder: Path) -> None:
    (folder / "ami.secret").chmod(0o640)
    assert loaded(folder).sources


@pytest.mark.parametrize(("secret", "problem"), [("", "is empty"), ("a\nb\n", "more than one line")])
def test_a_secret_is_one_line(folder: Path, secret: str, problem: str) -> None:
    (folder / "ami.secret").write_text(secret)
    (found,) = problems(folder)
    assert problem in found


def test_credentials_of_systemd(folder: Path) -> None:
    credentials = folder / "credentials"
    credentials.mkdir()
    (folder / "ami.secret").rename(credentials / "ami.secret")
    content = EXAMPLE.replace('"ami.secret"', '"$CREDENTIALS_DIRECTORY/ami.secret"')
    settings = loaded(folder, content, CREDENTIALS_DIRECTORY=str(credentials))
    assert settings.sources[0].secret_file == credentials / "ami.secret"
    (found,) = problems(folder, content)
    assert "sources.pbx1.secret_file: $CREDENTIALS_DIRECTORY is not set" in found


def test_overrides(folder: Path) -> None:
    settings = loaded(
        folder,
        EXAMPLE,
        "gateway.endpoint=tcp:gateway:8081",
        "sources.pbx1.endpoint=tls:pbx:5039",
        "sources.pbx1.directions.inbound=from-a,from-b",
        "sources.pbx1.ping_interval=5",
        CALLCENTER_BRIDGE_GATEWAY__ENDPOINT="unix:path=other",
        CALLCENTER_BRIDGE_LOG__LEVEL="debug",
    )
    (source,) = settings.sources
    assert settings.gateway.endpoint.text == "tcp:gateway:8081"
    assert settings.log.level == "debug"
    assert (source.endpoint.text, source.ping_interval) == ("tls:pbx:5039", 5)
    assert source.directions.inbound == ("from-a", "from-b")


def test_relative_paths_start_in_the_folder_of_the_file_and_those_of_overrides_in_the_current_one(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    current = tmp_path_factory.mktemp("current")
    (folder / "bridge.toml").write_text(EXAMPLE)
    settings = load(folder / "bridge.toml", overrides=["gateway.spool=events"], folder=current)
    assert settings.gateway.spool == current / "events"
    assert settings.sources[0].secret_file == folder / "ami.secret"


def test_mistakes_in_overrides_name_where_they_were_made(folder: Path) -> None:
    assert problems(
        folder,
        EXAMPLE,
        "nothing",
        "gateway.endpoin=x",
        "sources.pbx2.endpoint=x",
        "sources.pbx1.endpont=x",
        "sources.pbx1.name=x",
        "sources.pbx1.ping_interval=often",
        CALLCENTER_BRIDGE_GATEWAY__SPOL="x",
        CALLCENTER_BRIDGE_SOURCES__PBX1="x",
    ) == [
        "CALLCENTER_BRIDGE_GATEWAY__SPOL: gateway.spol: there is no such key; did you mean gateway.spool?",
        (
            "CALLCENTER_BRIDGE_SOURCES__PBX1: sources.pbx1: the settings of sources are set in the file, or by --set "
            "sources.NAME.KEY=VALUE"
        ),
        "--set: nothing: expected section.key=value",
        "--set: gateway.endpoin: there is no such key; did you mean gateway.endpoint?",
        "--set: sources.pbx2.endpoint: there is no such source; the file has: pbx1",
        "--set: sources.pbx1.endpont: there is no such key; did you mean endpoint?",
        "--set: sources.pbx1.name: is set in the file only: it is the key of the other settings",
        "--set: sources.pbx1.ping_interval: expected a number, got a string: 'often'",
    ]


def test_warnings(folder: Path) -> None:
    content = "".join(line for line in EXAMPLE.splitlines(keepends=True) if not line.startswith("agent"))
    assert [
        text.replace(f"{folder}/", "") for text in loaded(folder, content, CALLCENTER_BRIDGE_LOG_LEVEL="x").warnings
    ] == [
        "CALLCENTER_BRIDGE_LOG_LEVEL: is not a setting, and is not read; did you mean CALLCENTER_BRIDGE_LOG__LEVEL?",
        (
            "bridge.toml: sources.pbx1.agent_pattern: is not set, and so is agents: no device has a user, and there "
            "are no events of agents"
        ),
    ]


def test_a_source_without_tenants_is_warned_of(folder: Path) -> None:
    content = EXAMPLE.replace('tenant = "acme"\n', "", 1).partition("[[sources.t")[0]
    (warning,) = loaded(folder, content).warnings
    assert warning.endswith("sources.pbx1.tenant: is not set, and so is [[sources.tenants]]: everything is dropped")


def test_a_command_that_connects_to_nothing_needs_no_secret_and_no_gateway(folder: Path) -> None:
    (folder / "bridge.toml").write_text(
        '[[sources]]\nname = "pbx1"\ntenant = "acme"\nagent_pattern = "(?P<user_id>.)"\n'
    )
    settings = load(folder / "bridge.toml", offline=True)
    assert settings.sources[0].tenant == "acme"
    (folder / "bridge.toml").write_text(EXAMPLE)
    os.unlink(folder / "ami.secret")
    assert load(folder / "bridge.toml", offline=True).sources[0].username == "callcenter"


def test_a_missing_file(folder: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the file: No such file"):
        load(folder / "none.toml")


# The file etc/bridge.toml


def settings_in(text: str) -> set[str]:
    """The keys that the file sets, or has in a comment, by the class of their table."""
    section, found = "", set()
    for line in text.splitlines():
        text = line.removeprefix("# ")
        if header := re.fullmatch(r"\[+([\w.]+)\]+", text):
            section = header[1]
        elif key := re.match(r"(\w+) = ", text):
            found.add(f"{section}.{key[1]}")
    return found


def test_the_file_in_etc_has_every_setting() -> None:
    tables = {
        **SECTIONS,
        "sources": SourceSettings,
        "sources.commands": CommandSettings,
        "sources.tenants": TenantRule,
    }
    expected = {f"{section}.{name}" for section, cls in tables.items() for name in fields_of(cls)}
    expected -= {"sources.tenants", "sources.commands"}
    assert settings_in(ETC_FILE.read_text()) == expected


def test_the_file_in_etc_has_the_defaults(folder: Path) -> None:
    text = ETC_FILE.read_text().replace("/var/lib/callcenter-bridge", str(folder))
    settings = loaded(folder, text, CREDENTIALS_DIRECTORY=str(folder))
    (source,) = settings.sources
    assert settings.log == LogSettings()
    assert settings.metrics == MetricsSettings()
    assert settings.gateway == GatewaySettings(endpoint=settings.gateway.endpoint, spool=settings.gateway.spool)
    plain = SourceSettings(
        name="pbx1",
        kind="asterisk",
        endpoint=source.endpoint,
        username="callcenter",
        secret_file=source.secret_file,
        tenant="acme",
        agent_pattern=source.agent_pattern,
    )
    assert source == plain


def test_the_examples_in_its_comments_are_valid(folder: Path) -> None:
    lines = [re.sub(r"^# (?=\[|\w+ = )", "", line) for line in ETC_FILE.read_text().splitlines()]
    text = "\n".join(lines).replace("/var/lib/callcenter-bridge", str(folder))
    (folder / "amp.secret").touch(0o600)
    (folder / "amp.secret").write_text("another secret")
    settings = loaded(folder, text, CREDENTIALS_DIRECTORY=str(folder))
    assert settings.sources[0].tenants[0].domain == r"globex\.example"
    assert settings.sources[0].agents["PJSIP/201"].user_id == "alice"
    assert settings.metrics.listen is not None
