"""What to say to the person who connects an exchange, given what the exchange has told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from callcenter_ws.bridge.asterisk.commands.capabilities import commands_of, missing, rights
from callcenter_ws.bridge.asterisk.devices import AsteriskDevices
from callcenter_ws.bridge.asterisk.filters import filter_lines, has_structured_filters
from callcenter_ws.bridge.asterisk.message import AmiMessage
from callcenter_ws.bridge.asterisk.probe import Facts
from callcenter_ws.bridge.directory import Directory
from callcenter_ws.bridge.patterns import compile_pattern, matches_whole
from callcenter_ws.bridge.settings import SourceSettings
from callcenter_ws.bridge.tenants import TenantRules

_SHOWN = 20
_CLASS_OF_USE = {
    "system": "the end of a boot and a shutdown are not told without it",
    "call": "there are no events of calls without it",
    "agent": "there are no events of queues and their members without it",
    "dialplan": "why a caller left a queue stays unknown in some cases without it, and queue.left has the reason other",
}
_DANGEROUS = ("command", "config", "originate", "system")
_INVALID, _UNAVAILABLE = "4", "5"


_TOGETHER = (
    ("AgentCalled", ("Newchannel", "DialBegin", "QueueMemberStatus")),
    ("AgentConnect", ("QueueCallerLeave", "DialEnd")),
    ("QueueCallerAbandon", ("QueueCallerLeave",)),
    ("HangupRequest", ("Hangup",)),
    ("DialBegin", ("Newchannel",)),
    ("Newchannel", ("Newstate",)),
)
"""Events, and those that come with each of them within a moment."""


class Level(StrEnum):
    """How serious a finding is: a problem needs a change."""

    OK = "ok"
    PROBLEM = "problem"
    NOTE = "note"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding."""

    level: Level
    text: str


def findings(facts: Facts, settings: SourceSettings) -> Iterator[Finding]:
    """Yield all findings."""
    yield from _exchange(facts)
    yield from _write_rights(facts, settings)
    yield from _commands(facts, settings)
    yield from _events(facts)
    yield from _queues(facts)
    yield from _devices(facts, settings)
    yield from _tenants(facts, settings)
    yield from _contexts(facts, settings)


def manager_section(facts: Facts, settings: SourceSettings, wanted: frozenset[str] | None) -> list[str]:
    """Return the lines to paste into ``manager.conf``."""
    rules = TenantRules(settings.tenants, settings.tenant)
    permit = f"permit = {facts.local_address}/{_mask(facts.local_address)}" if facts.local_address else "; permit = …"
    return [
        f"[{settings.username}]",
        "secret = …                      ; that of secret_file",
        "deny = 0.0.0.0/0.0.0.0",
        permit,
        "read = system,call,agent,dialplan",
        f"write = {','.join(['reporting', *rights(settings.commands)])}",
        "writetimeout = 10000",
        *filter_lines(facts.version, wanted, rules.variables),
    ]


def _mask(address: str) -> str:
    return "128" if ":" in address else "255.255.255.255"


def _exchange(facts: Facts) -> Iterator[Finding]:
    name = f" ({facts.system_name})" if facts.system_name else ""
    since = f", started {facts.started}" if facts.started else ""
    version = facts.version or "of a version that the user may not ask for"
    protocol = facts.ami_version or facts.banner.rpartition("/")[2]
    yield Finding(Level.OK, f"Asterisk {version}{name}, manager interface {protocol}{since}")
    if facts.used_challenge:
        yield Finding(Level.OK, "the login proves the secret by an MD5 challenge")
    else:
        yield Finding(Level.NOTE, "the exchange offers no MD5 challenge: the secret itself is sent at the login")
    major = facts.version.partition(".")[0]
    if major.isdecimal() and int(major) < 18:
        yield Finding(
            Level.NOTE, f"Asterisk {major} is older than the versions that the bridge is tested with (18, 22)"
        )


def _write_rights(facts: Facts, settings: SourceSettings) -> Iterator[Finding]:
    denied = [name for name, text in facts.refused.items() if text == "Permission denied"]
    if denied:
        yield Finding(Level.PROBLEM, f"write = reporting is missing: the user may not use {', '.join(denied)}")
    else:
        yield Finding(Level.OK, "the user may ask for the state of the exchange (write = reporting)")
    for name, text in facts.refused.items():
        if text != "Permission denied":
            hint = "; is app_queue loaded?" if name == "QueueStatus" else ""
            yield Finding(Level.PROBLEM, f"{name} is refused: {text}{hint}")
    needed = rights(settings.commands)
    excess = [right for right in _DANGEROUS if right in facts.write and right not in needed]
    if excess:
        text = f"the user has rights that the bridge does not need: write = {', '.join(excess)}"
        yield Finding(Level.NOTE, text)


def _commands(facts: Facts, settings: SourceSettings) -> Iterator[Finding]:
    """Say which of the commands that the settings allow can be carried out."""
    if not settings.commands.enabled:
        return
    if not facts.actions:
        yield Finding(Level.UNKNOWN, "the exchange does not tell which actions the user may use, and so no commands")
        return
    possible = sorted(commands_of(facts.actions, settings.commands, facts.version))
    if possible:
        yield Finding(Level.OK, f"commands that can be carried out: {_some(possible)}")
    for name, actions in missing(facts.actions, settings.commands, facts.version).items():
        text = f"{name} cannot be carried out, for the user may not use, or the exchange has not: {', '.join(actions)}"
        needed = ",".join(["reporting", *rights(settings.commands)])
        yield Finding(Level.PROBLEM, f"{text}. All commands of the settings need write = {needed}")
    for context in facts.missing_contexts:
        yield Finding(Level.PROBLEM, f"the dialplan has no context {context}, in which commands dial")
    unchecked = settings.commands.check_destinations and settings.commands.context
    if unchecked and "ShowDialPlan" not in facts.actions:
        text = "the user may not use ShowDialPlan: a call that is transferred to a number that does not exist is lost"
        yield Finding(Level.NOTE, text)


def _events(facts: Facts) -> Iterator[Finding]:
    """Say which classes of events the user reads, and whether events have times."""
    yield from (_exact_classes(facts, facts.read) if facts.read is not None else _seen_classes(facts))
    disabled = [name for name in facts.settings.get("Disabled events", "").replace(" ", "").split(",") if name]
    if disabled:
        yield Finding(Level.NOTE, f"the exchange makes no events of these kinds (disabledevents): {_some(disabled)}")
    timestamps = facts.settings.get("Timestamp events")
    if timestamps == "Yes" or any(event.get("Timestamp") for event in facts.events):
        yield Finding(Level.OK, "events carry the time of the exchange (timestampevents = yes)")
    elif timestamps or facts.events:
        text = "timestampevents = yes is missing in [general] of manager.conf: events get the time of their arrival"
        yield Finding(Level.PROBLEM, text)
    else:
        yield Finding(Level.UNKNOWN, "whether timestampevents = yes is set shows only when events come")
    if not facts.events:
        seconds = f"{facts.listened_seconds:g}"
        yield Finding(
            Level.NOTE, f"no event came in {seconds} s; to see some, call a queue during the check (--listen 60)"
        )
    yield from _hidden(facts)
    noise = sum(event.name in ("Newexten", "VarSet") for event in facts.events)
    if noise * 4 > len(facts.events):
        text = f"{noise} of {len(facts.events)} events are steps of the dialplan; the filters below save most of them"
        yield Finding(Level.NOTE, text)


def _hidden(facts: Facts) -> Iterator[Finding]:
    """Name events that must have come together with others, and did not."""
    names = {event.name for event in facts.events}
    hidden = sorted({name for seen, others in _TOGETHER if seen in names for name in others if name not in names})
    if hidden:
        missing = facts.read is None and "call" not in _classes(facts)
        cause = "because read = call is missing, or by" if missing else "by"
        text = (
            f"events of these kinds are hidden, {cause} eventfilter or disabledevents in manager.conf: {_some(hidden)}"
        )
        yield Finding(Level.PROBLEM, text)


def _classes(facts: Facts) -> set[str]:
    """Return the classes of which events came."""
    return {name for event in facts.events for name in event.get("Privilege").lower().split(",")}


def _exact_classes(facts: Facts, read: frozenset[str]) -> Iterator[Finding]:
    missing = [name for name in _CLASS_OF_USE if name not in read and "all" not in read]
    if not missing:
        yield Finding(Level.OK, f"the user reads the classes {', '.join(_CLASS_OF_USE)}")
    for name in missing:
        yield Finding(Level.PROBLEM, f"read = {name} is missing; {_CLASS_OF_USE[name]}")
    excess = sorted(read - {*_CLASS_OF_USE, "<none>"})
    if excess:
        yield Finding(Level.NOTE, f"the user reads classes that the bridge does not need: {', '.join(excess)}")


def _seen_classes(facts: Facts) -> Iterator[Finding]:
    """Say which classes are seen. A user without the right ``command`` cannot ask for them."""
    if facts.is_booted:
        yield Finding(Level.OK, "the exchange says that it is booted: read has system")
    else:
        text = "read = system is missing, or the exchange is still booting: it did not say that it is booted"
        yield Finding(Level.PROBLEM, text)
    seen = _classes(facts)
    for name, use in _CLASS_OF_USE.items():
        if name in seen:
            yield Finding(Level.OK, f"events of the class {name} come: read has {name}")
        elif name != "system":
            yield Finding(Level.UNKNOWN, f"no event of the class {name} came, and no other way shows the right; {use}")


def _queues(facts: Facts) -> Iterator[Finding]:
    if facts.queues:
        yield Finding(Level.OK, f"{len(facts.queues)} queues with {len(facts.members)} memberships")
    elif "QueueStatus" not in facts.refused:
        yield Finding(Level.NOTE, "the exchange has no queues")
    stateless = [_location(member) for member in facts.members if _is_stateless(member)]
    if stateless:
        text = (
            "members whose device is not known: of a Local channel the exchange sees no state. Give them a "
            f"state_interface in queues.conf, or in AddQueueMember or QueueAdd: {_some(stateless)}"
        )
        yield Finding(Level.PROBLEM, text)
    invalid = [_location(member) for member in facts.members if member.get("Status") == _INVALID]
    if invalid:
        yield Finding(Level.PROBLEM, f"members whose device the exchange does not have: {_some(invalid)}")
    away = [_location(member) for member in facts.members if member.get("Status") == _UNAVAILABLE]
    if away:
        yield Finding(Level.NOTE, f"members whose device is not registered now: {_some(away)}")
    empty = {queue.get("Queue") for queue in facts.queues} - {member.get("Queue") for member in facts.members}
    if empty:
        text = "queues without members now; with joinempty = no their callers are refused, without any event"
        yield Finding(Level.NOTE, f"{text}: {_some(sorted(empty))}")


def _is_stateless(member: AmiMessage) -> bool:
    device = member.get("StateInterface") or member.get("Location")
    return device.lower().startswith("local/")


def _location(member: AmiMessage) -> str:
    return f"{member.get('Location')} in {member.get('Queue')}"


def _device(member: AmiMessage) -> str:
    return member.get("StateInterface") or member.get("Location")


def _devices(facts: Facts, settings: SourceSettings) -> Iterator[Finding]:
    directory = Directory(settings.agents, settings.agent_pattern, AsteriskDevices())
    unmatched: dict[str, str] = {}
    users: set[str] = set()
    for member in facts.members:
        user = directory.user_of_member(member.get("Location"), member.get("StateInterface"))
        if user is None:
            unmatched[_device(member)] = member.get("Name")
        else:
            users.add(user.user_id)
    if facts.members:
        yield Finding(Level.OK if users else Level.PROBLEM, f"{len(users)} users are members of queues")
    if unmatched:
        shown = [device if name in ("", device) else f"{device} ({name})" for device, name in unmatched.items()]
        text = (
            f"devices of members that match no user (agents, agent_pattern), and have no agent.* events: {_some(shown)}"
        )
        yield Finding(Level.PROBLEM, text)
    idle = sorted(entry.user_id for entry in settings.agents.values() if entry.user_id not in users)
    if idle and facts.members:
        yield Finding(Level.NOTE, f"users of agents that are in no queue now: {_some(idle)}")


def _tenants(facts: Facts, settings: SourceSettings) -> Iterator[Finding]:
    rules = TenantRules(settings.tenants, settings.tenant)
    queues = sorted({queue.get("Queue") for queue in facts.queues if not rules.of_queue(queue.get("Queue"))})
    if queues:
        text = f"queues that match no tenant; their events are dropped: {_some(queues)}"
        yield Finding(Level.PROBLEM, text)
    devices = {_device(member) for member in facts.members if not rules.of_member(member.get("Queue"), _device(member))}
    if devices:
        yield Finding(Level.PROBLEM, f"devices of members that match no tenant: {_some(sorted(devices))}")
    if facts.queues and not queues:
        by_tenant: dict[str, int] = {}
        for queue in facts.queues:
            tenant = rules.of_queue(queue.get("Queue"))
            by_tenant[tenant] = by_tenant.get(tenant, 0) + 1
        counts = ", ".join(f"{tenant}: {count}" for tenant, count in sorted(by_tenant.items()))
        yield Finding(Level.OK, f"each queue has a tenant ({counts})")


def _contexts(facts: Facts, settings: SourceSettings) -> Iterator[Finding]:
    """Name the contexts of present calls that have no direction."""
    directions = settings.directions
    patterns = [compile_pattern(text) for text in (*directions.inbound, *directions.internal)]
    begun = [*facts.channels, *(event for event in facts.events if event.name == "Newchannel")]
    # A leg that the exchange dials is in the context of its device; only the first one of a call counts.
    contexts = {message.get("Context") for message in begun if message.get("Uniqueid") == message.get("Linkedid")}
    unnamed = sorted(name for name in contexts if name and not any(matches_whole(one, name) for one in patterns))
    if unnamed:
        text = "calls begin in contexts that directions do not name; they count as outbound if they dial a trunk"
        yield Finding(Level.NOTE, f"{text}: {_some(unnamed)}")


def _some(texts: list[str]) -> str:
    shown = ", ".join(texts[:_SHOWN])
    return f"{shown} and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else shown


def filter_form(version: str) -> str:
    """Return which form of event filters a version has."""
    if not version:
        return "the old form, as the version is not known"
    return (
        "structured filters" if has_structured_filters(version) else "the old form: this version has no structured ones"
    )
