"""``callcenter-ws bridge check``: what it says of an exchange, and the section of manager.conf that it prints."""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_twisted
from asterisk_captures import SETTINGS, capture, names
from exchange_world import SECRET, Exchange, PlayerUser
from msgspec.structs import replace
from twisted.internet import reactor, utils
from twisted.internet.protocol import Factory, Protocol

from callcenter_ws.bridge.asterisk.commands.capabilities import AVAILABLE, contexts_of
from callcenter_ws.bridge.asterisk.filters import filter_lines
from callcenter_ws.bridge.asterisk.findings import Level, findings, manager_section
from callcenter_ws.bridge.asterisk.message import AmiMessage
from callcenter_ws.bridge.asterisk.played_events import live_events
from callcenter_ws.bridge.asterisk.probe import Facts
from callcenter_ws.bridge.settings import CommandSettings, TenantRule

CLASSES = frozenset({"system", "call", "agent", "dialplan"})


def message(name: str, **headers: str) -> AmiMessage:
    return AmiMessage(headers, {}, name, "")


def member(location: str, **headers: str) -> AmiMessage:
    given = {
        "Queue": "support",
        "Name": "X",
        "Location": location,
        "StateInterface": location,
        "Status": "1",
        **headers,
    }
    return AmiMessage(given, {}, "QueueMember", "")


def queue(name: str) -> AmiMessage:
    return AmiMessage({"Queue": name}, {}, "QueueParams", "")


def facts(*, members: Sequence[AmiMessage] = (), queues: Sequence[str] = ("support",), **others: object) -> Facts:
    found = Facts(version="22.10.1", is_booted=True, read=CLASSES, settings={"Timestamp events": "Yes"})
    found.members, found.queues = list(members), [queue(name) for name in queues]
    for name, value in others.items():
        setattr(found, name, value)
    return found


def texts(given: Facts, level: Level) -> str:
    return "\n".join(found.text for found in findings(given, SETTINGS) if found.level is level)


def test_an_exchange_with_everything_has_no_problem() -> None:
    given = facts(members=[member("PJSIP/201")])
    assert texts(given, Level.PROBLEM) == ""
    assert "Asterisk 22.10.1" in texts(given, Level.OK)
    assert "1 users are members of queues" in texts(given, Level.OK)


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_a_missing_class_is_a_problem_where_it_can_be_known(name: str) -> None:
    assert f"read = {name} is missing" in texts(facts(read=CLASSES - {name}), Level.PROBLEM)


def test_a_class_that_does_not_show_is_unknown_until_its_events_come() -> None:
    silent = facts(read=None, settings={})
    assert "class agent" in texts(silent, Level.UNKNOWN)
    assert "timestampevents" in texts(silent, Level.UNKNOWN)
    events = [message("QueueCallerJoin", Privilege="agent,all", Timestamp="1.0")]
    seen = facts(read=None, settings={}, events=events)
    assert "events of the class agent come" in texts(seen, Level.OK)
    assert "timestampevents" in texts(seen, Level.OK)


def test_events_without_the_time_of_the_exchange_are_a_problem() -> None:
    events = [message("Newchannel", Privilege="call,all")]
    assert "timestampevents = yes is missing" in texts(facts(settings={}, events=events), Level.PROBLEM)
    assert "timestampevents = yes is missing" in texts(facts(settings={"Timestamp events": "No"}), Level.PROBLEM)


def test_commands_that_the_exchange_does_not_allow_are_named() -> None:
    settings = replace(SETTINGS, commands=CommandSettings(enabled=True, context="internal", record_folder="/rec"))
    given = facts(actions=frozenset({"QueuePause", "Hangup", "Redirect", "ListCommands"}), write={"agent", "call"})
    found = {level: "\n".join(one.text for one in findings(given, settings) if one.level is level) for level in Level}
    assert "can be carried out: agent.state.set, call.hangup, call.transfer, queue.member.pause" in found[Level.OK]
    assert (
        "call.originate cannot be carried out, for the user may not use, or the exchange has not: Originate. "
        "All commands of the settings need write = reporting,system,call,agent,originate"
    ) in found[Level.PROBLEM]
    assert (
        "call.record cannot be carried out, for the user may not use, or the exchange has not: MixMonitor"
        in found[Level.PROBLEM]
    )
    assert "may not use ShowDialPlan" in found[Level.NOTE]
    assert "write = reporting,system,call,agent,originate" in manager_section(given, settings, None)
    assert "write = reporting" in manager_section(given, SETTINGS, None)
    # Without commands nothing is said of them.
    assert "Originate" not in texts(given, Level.PROBLEM)


def test_contexts_that_commands_dial_in_and_the_dialplan_lacks_are_named() -> None:
    commands = CommandSettings(enabled=True, context="intern", originate_context="intern", monitor_context="listen")
    assert contexts_of(commands) == ["intern", "listen"]
    assert contexts_of(replace(commands, enabled=False)) == []
    given = facts(actions=AVAILABLE, missing_contexts=["intern"])
    problems = [one.text for one in findings(given, replace(SETTINGS, commands=commands)) if one.level is Level.PROBLEM]
    assert problems == ["the dialplan has no context intern, in which commands dial"]


def test_rights_that_commands_need_are_not_in_excess() -> None:
    settings = replace(SETTINGS, commands=CommandSettings(enabled=True, context="internal"))
    given = facts(write={"originate", "system"}, actions=frozenset({"Originate"}))
    (excess,) = [one.text for one in findings(given, settings) if "does not need: write" in one.text]
    assert excess.endswith("write = system")


def test_refused_lists_are_named() -> None:
    given = facts(refused={"CoreStatus": "Permission denied", "QueueStatus": "Invalid/unknown command: QueueStatus."})
    problems = texts(given, Level.PROBLEM)
    assert "write = reporting is missing: the user may not use CoreStatus" in problems
    assert "is app_queue loaded?" in problems


def test_members_that_cannot_be_followed_are_named() -> None:
    members = [
        member("Local/201@agents/n"),
        member("PJSIP/999", Status="4"),
        member("SIP/door", Name="Door"),
        member("Local/202@agents/n", StateInterface="PJSIP/202"),
    ]
    problems = texts(facts(members=members), Level.PROBLEM)
    assert "state_interface in queues.conf, or in AddQueueMember or QueueAdd: Local/201@agents/n in support" in problems
    assert "does not have: PJSIP/999 in support" in problems
    assert "SIP/door (Door)" in problems
    assert "202" not in problems


def test_queues_and_devices_without_a_tenant_are_named() -> None:
    settings = replace(SETTINGS, tenant="", tenants=(TenantRule(tenant="globex", queue="globex-"),))
    given = facts(members=[member("PJSIP/201")], queues=["support", "globex-desk"])
    problems = "\n".join(found.text for found in findings(given, settings) if found.level is Level.PROBLEM)
    assert "queues that match no tenant; their events are dropped: support" in problems
    assert "devices of members that match no tenant: PJSIP/201" in problems


def test_events_that_a_filter_hides_are_named() -> None:
    events = [message(name, Privilege="call,all") for name in ("Newchannel", "Newstate", "AgentCalled", "DialBegin")]
    assert "are hidden, by eventfilter or disabledevents in manager.conf: QueueMemberStatus" in texts(
        facts(events=events), Level.PROBLEM
    )


def test_hidden_events_of_calls_may_be_a_missing_class() -> None:
    events = [message("AgentCalled", Privilege="agent,all")]
    hidden = "are hidden, because read = call is missing, or by eventfilter"
    assert hidden in texts(facts(read=None, events=events), Level.PROBLEM)
    assert "because" not in texts(facts(read=CLASSES, events=events), Level.PROBLEM)


@pytest.mark.parametrize("name", [name for name in names() if not name.endswith(".filtered")])
def test_a_user_without_filters_misses_no_events(name: str) -> None:
    events = [event.message for event in live_events(capture(name))]
    assert "are hidden" not in texts(facts(events=events), Level.PROBLEM)


def test_contexts_without_a_direction_are_named() -> None:
    def channel(context: str, linkedid: str) -> AmiMessage:
        return message("Newchannel", Context=context, Uniqueid="1.1", Linkedid=linkedid, Privilege="call,all")

    events = [channel("from-trunk-acme", "1.1"), channel("from-isdn", "1.1"), channel("phones", "1.0")]
    notes = texts(facts(events=events), Level.NOTE)
    assert "directions do not name; they count as outbound if they dial a trunk: from-isdn" in notes
    assert "phones" not in notes


def test_the_section_names_the_user_the_address_and_the_rights() -> None:
    lines = manager_section(facts(local_address="10.0.0.5"), SETTINGS, None)
    assert lines[0] == "[callcenter]"
    assert "permit = 10.0.0.5/255.255.255.255" in lines
    assert "read = system,call,agent,dialplan" in lines
    assert "write = reporting" in lines


# Filters


def excluded(line: str, payload: str) -> bool:
    """Return whether Asterisk excludes an event by a line ``eventfilter``."""
    criteria, _, pattern = line.removeprefix("eventfilter").partition("=")
    name = payload.partition("\r\n")[0].removeprefix("Event: ")
    expression = pattern.strip().removeprefix("!").replace("[:space:]]", "\\s]").replace("[\\s]", "\\s")
    if not criteria.startswith("("):
        return re.search(expression, payload, re.DOTALL) is not None
    if f"name({name})" not in criteria:
        return False
    header = re.search(r"header\((\w+)\)", criteria)
    if header is None:
        return True
    value = re.search(rf"^{header[1]}: *(.*?)\r$", payload, re.MULTILINE)
    return value is not None and re.search(expression, value[1]) is not None


@pytest.mark.parametrize("version", ["22.10.1", "18.20.0", ""])
@pytest.mark.parametrize(
    ("lines", "is_excluded"),
    [
        (("Event: VarSet", "Variable: QUEUESTATUS", "Value: TIMEOUT"), False),
        (("Event: VarSet", "Variable: TENANT", "Value: acme"), False),
        (("Event: VarSet", "Variable: QUEUESTATUSX", "Value: 1"), True),
        (("Event: VarSet", "Variable: QUEUESTATU", "Value: 1"), True),
        (("Event: VarSet", "Variable: TENAN_", "Value: 1"), True),
        (("Event: VarSet", "Variable: DIALSTATUS", "Value: 1"), True),
        (("Event: VarSet", "Variable: T", "Value: 1"), True),
        (("Event: Newexten", "Exten: 1"), True),
        (("Event: Newchannel", "Uniqueid: 1.1"), False),
        (("Event: QueueCallerJoin", "Queue: Newexten "), False),
        (("Event: UserEvent", "UserEvent: a", "Event: Newexten "), False),
        (("Event: Newstate", "Uniqueid: 1.1"), False),
    ],
)
def test_filters_exclude_what_is_not_wanted_and_nothing_else(
    version: str, lines: Sequence[str], is_excluded: bool
) -> None:
    payload = "\r\n".join((lines[0], "Privilege: all", *lines[1:], "", ""))
    filters = filter_lines(version, frozenset({"Newstate"}), ["TENANT"])
    assert any(excluded(line, payload) for line in filters) is is_excluded


def test_lines_of_filters_are_short_enough_for_a_configuration_file() -> None:
    for version in ("22.10.1", "18.20.0"):
        lines = filter_lines(version, frozenset(), [f"TENANT_{number}" for number in range(20)])
        assert max(map(len, lines)) < 8_000


# The command


@pytest_twisted.async_yield_fixture
async def exchange() -> AsyncIterator[Exchange]:
    exchange = Exchange(PlayerUser("callcenter", SECRET), PlayerUser("poor", SECRET, write=frozenset()))
    exchange.listen()
    exchange.player.send_text("Event: QueueParams\nQueue: support\nStrategy: ringall")
    exchange.player.send_text(
        "Event: QueueMemberAdded\nQueue: support\nMemberName: Door\nInterface: SIP/door\nStateInterface: SIP/door"
    )
    yield exchange
    await exchange.close()


def write_config(folder: Path, port: int, *users: str, secret: str = SECRET) -> Path:
    (folder / "ami.secret").write_text(secret + "\n")
    (folder / "ami.secret").chmod(0o600)
    sources = [
        f'[[sources]]\nname = "{user}"\nkind = "asterisk"\nendpoint = "tcp:127.0.0.1:{port}"\nusername = "{user}"\n'
        'secret_file = "ami.secret"\ntenant = "acme"\nagent_pattern = "PJSIP/(?P<user_id>[0-9]+)"\n'
        for user in users
    ]
    config = folder / "bridge.toml"
    config.write_text('[gateway]\nendpoint = "unix:path=/nowhere/amp.sock"\nspool = "spool"\n' + "".join(sources))
    return config


async def run(*arguments: str) -> tuple[int, str]:
    """Run the command; return its status and all that it printed."""
    code = "import sys; from callcenter_ws.cli.main import main; sys.exit(main())"
    command = ("-c", code, "bridge", "check", *arguments)
    out, errors, status = await utils.getProcessOutputAndValue(sys.executable, command, reactor=reactor)
    return status, (out + errors).decode()


@pytest_twisted.ensureDeferred
async def test_the_command_says_what_the_exchange_is_and_what_is_missing(exchange: Exchange, tmp_path: Path) -> None:
    config = write_config(tmp_path, exchange.port, "callcenter", "poor")
    status, printed = await run("--config", str(config), "--listen", "0")
    assert status == 1
    first, second = printed.split("poor: ")
    assert "ok       Asterisk 22.10.1" in first
    assert "problem  devices of members that match no user" in first
    assert "SIP/door (Door)" in first
    assert "permit = 127.0.0.1/255.255.255.255" in first
    assert "eventfilter(action(exclude),name(Newexten)) =" in first
    assert "problem  write = reporting is missing" in second
    assert SECRET not in printed


@pytest_twisted.ensureDeferred
async def test_the_command_names_why_the_login_is_refused(exchange: Exchange, tmp_path: Path) -> None:
    config = write_config(tmp_path, exchange.port, "callcenter", secret="wrong-secret")
    status, printed = await run("--config", str(config), "--source", "callcenter")
    assert status == 1
    assert "no user 'callcenter' with this secret" in printed
    assert "[callcenter]" in printed
    assert "wrong-secret" not in printed


@pytest_twisted.ensureDeferred
async def test_the_command_names_an_exchange_that_is_not_there(exchange: Exchange, tmp_path: Path) -> None:
    await exchange.close()
    config = write_config(tmp_path, exchange.port, "callcenter")
    status, printed = await run("--config", str(config))
    assert status == 1
    assert "problem  cannot connect: connection refused" in printed
    assert "Traceback" not in printed


@pytest_twisted.ensureDeferred
async def test_the_command_names_a_port_that_is_not_that_of_an_exchange(tmp_path: Path) -> None:
    peer = reactor.listenTCP(0, Factory.forProtocol(_Closing), interface="127.0.0.1")
    config = write_config(tmp_path, peer.getHost().port, "callcenter")
    status, printed = await run("--config", str(config))
    await peer.stopListening()
    assert status == 1
    assert "before it greeted; is this the port of its manager interface?" in printed


class _Closing(Protocol):
    """Closes each connection."""

    def connectionMade(self) -> None:
        self.transport.loseConnection()
