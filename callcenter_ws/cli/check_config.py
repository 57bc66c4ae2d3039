"""``callcenter-ws check-config``: checks whether a gateway can start with a configuration."""

from __future__ import annotations

import argparse
import sys

from callcenter_ws.cli.arguments import Commands, add_command, add_settings
from callcenter_ws.cli.target import CommandFailed, settings_of
from callcenter_ws.config.access import check_access, check_control_socket, check_ports
from callcenter_ws.config.settings import Settings
from callcenter_ws.config.tenants import is_enabled
from callcenter_ws.runtime.web_origin import OWN_PAGES


def add(commands: Commands) -> None:
    """Add the command."""
    example = "callcenter-ws check-config --config /etc/callcenter-ws/callcenter-ws.toml"
    text = "check whether the gateway can start with a configuration, and print all problems with it"
    add_settings(add_command(commands, "check-config", check_config, text, example))


def check_config(arguments: argparse.Namespace) -> int:
    """Print a summary of the settings and their warnings; fail with all problems if the gateway cannot start."""
    settings = settings_of(arguments)
    limits = settings.limits
    denied = [f"  - {finding.key}: {finding.reason}" for finding in check_access(settings)]
    if denied:
        hint = "Run check-config as the user of the gateway, as in: sudo -u callcenter-ws callcenter-ws check-config …"
        raise CommandFailed("\n".join(["the gateway cannot start as this user:", *denied, hint]))
    verdict = "OK" if settings.jwt.has_keys else "starts, but refuses every connection"
    print(f"{verdict}: {arguments.config or 'the defaults and what overrides them'}")
    print(f"  WebSocket and HTTP  {', '.join(map(str, settings.web.listen))}")
    print(f"  metrics             {settings.web.metrics_listen or 'on the same ports'}")
    print(f"  AMP                 {', '.join(map(str, settings.amp.listen)) or 'none'}")
    print(f"  tokens              {', '.join(settings.jwt.algorithms)}")
    print(f"  origins             {', '.join([*settings.web.allowed_origins, OWN_PAGES])}")
    print(f"  visitors            {', '.join(settings.public.tenants) or 'only with a token'}")
    own, opened = settings.policy.agent_chats == "own", settings.public.open_sessions
    print(f"  agents' chats       {'own and waiting' if own else 'all'} (policy.agent_chats)")
    print(f"  unopened chats      {'accepted' if opened else 'refused'} (public.open_sessions)")
    print(f"  store               {settings.store_name}")
    print(f"  statistics          {_statistics(settings)}")
    print(f"  archive             {settings.archive.folder or 'none'}")
    print(f"  commands            {_commands(settings)}")
    print(f"  audit log           {settings.audit.file or 'none'}")
    connections = f"at most {limits.connections}" if limits.connections else "as many as file descriptors allow"
    print(f"  node                {settings.cluster.node_id}, connections: {connections}")
    more = (*check_ports(settings), *check_control_socket(settings))
    for warning in (*settings.warnings, *(f"{finding.key}: {finding.reason}" for finding in more)):
        print(f"warning: {warning}", file=sys.stderr)
    return 0


def _commands(settings: Settings) -> str:
    """Return whether commands are accepted, and for which roles the settings list those that it may issue."""
    if not settings.commands.enabled:
        return "not enabled"
    allow = settings.commands.allow
    listed = {"agents": allow.agent, "supervisors": allow.supervisor}
    changed = [f"{role}: {', '.join(names) or 'none'}" for role, names in listed.items() if names is not None]
    return "; ".join(["enabled", *changed])


def _statistics(settings: Settings) -> str:
    """Return for whom figures are derived."""
    common = settings.statistics
    tenants = settings.tenants.by_name
    others = sorted(name for name, one in tenants.items() if is_enabled(common, one) != common.enabled)
    names = ", ".join(others[:10]) + (f" and {len(others) - 10} more" if len(others) > 10 else "")
    if common.enabled:
        text = f"for all tenants but {names}" if others else "for all tenants"
    else:
        text = f"only for {names}" if others else "not enabled"
    enabled = [one for one in tenants.values() if is_enabled(common, one)]
    alerts, webhooks = sum(len(one.alerts) for one in enabled), sum(len(one.webhooks) for one in enabled)
    return f"{text} (zone {common.time_zone}); rules of alerts: {alerts}, webhooks: {webhooks}"
