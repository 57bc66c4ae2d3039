"""Checks of single settings of a bridge. Each returns the value in the form that the bridge uses.

All of them raise ``ValueError`` with a reason for the operator, which never contains the content of a secret's file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from callcenter_ws.bridge.patterns import compile_pattern
from callcenter_ws.bridge.settings import (
    AgentEntry,
    CommandSettings,
    Directions,
    GatewaySettings,
    MetricsSettings,
    SourceSettings,
    TenantRule,
)
from callcenter_ws.bridge.table_decoder import Check
from callcenter_ws.events.identifiers import identifier_problem
from callcenter_ws.events.principal import EVERY_TENANT
from callcenter_ws.runtime.client_endpoints import client_endpoint
from callcenter_ws.runtime.endpoints import EndpointDescription
from callcenter_ws.runtime.secret_files import checked_secret, readable_by_others
from callcenter_ws.runtime.setting_values import shown

_NAME = re.compile("[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", re.ASCII)
_VARIABLE = re.compile("[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_MAX_PATTERN_LENGTH = 1_000
_LISTENING = ("tcp", "unix")
_DIALPLAN_NAME = re.compile("[A-Za-z0-9_.-]{1,79}", re.ASCII)
_DEVICE = re.compile(r"[A-Za-z0-9]{1,16}[/:][A-Za-z0-9_.@/-]{0,40}\{extension\}[A-Za-z0-9_.@/-]{0,40}", re.ASCII)
_EXTENSION = re.compile("[A-Za-z0-9_.-]{1,64}", re.ASCII)
_FOLDER = re.compile("[A-Za-z0-9_./-]{1,200}", re.ASCII)


def source_name(text: str) -> str:
    """Check the name of a source, which is a part of ids of calls and events and the name of a file."""
    if not _NAME.fullmatch(text):
        raise ValueError(f"{shown(text)} is not a name of 1 to 64 letters, digits and _ . - that begins with no . or -")
    return text


def tenant(text: str) -> str:
    """Check the name of a tenant; empty means none."""
    if text == EVERY_TENANT:
        raise ValueError("'*' is all tenants; an event belongs to one")
    return identifier(text) if text else text


def required_tenant(text: str) -> str:
    """Check the name of the tenant of a rule."""
    if not text:
        raise ValueError("expected the name of a tenant, got an empty string")
    return tenant(text)


def identifier(text: str) -> str:
    """Check the id of a user."""
    problem = identifier_problem(text)
    if problem:
        raise ValueError(problem)
    return text


def single_line(text: str) -> str:
    """Check a text that becomes one line of an action or a payload."""
    return identifier(text) if text else text


def username(text: str) -> str:
    """Check the name of a user of the manager interface."""
    if not text:
        raise ValueError("expected the name of a section of manager.conf, got an empty string")
    return identifier(text)


def pattern(text: str) -> str:
    """Check a regular expression; empty means none."""
    compiled_pattern(text)
    return text


def compiled_pattern(text: str) -> re.Pattern[str]:
    """Return a regular expression.

    Raises:
        ValueError: it is too long, none, or can take long to match.
    """
    if len(text) > _MAX_PATTERN_LENGTH:
        raise ValueError(f"a pattern has at most {_MAX_PATTERN_LENGTH} characters, this one has {len(text)}")
    return compile_pattern(text)


def agent_pattern(text: str) -> str:
    """Check the pattern of devices: it needs the group ``user_id``."""
    groups = compiled_pattern(text).groupindex
    if text and "user_id" not in groups:
        raise ValueError(
            f"{shown(text)} has no group user_id; write the part of the device's name that is the user's id as "
            "(?P<user_id>…)"
        )
    return text


def variable(text: str) -> str:
    """Check ``NAME=PATTERN``, a rule for a variable of a channel; empty means none."""
    name, separator, value = text.partition("=")
    if text and not (separator and _VARIABLE.fullmatch(name)):
        raise ValueError(f"{shown(text)} is not NAME=PATTERN, as TENANT=acme")
    pattern(value)
    return text


def secret_file(path: Path) -> Path:
    """Check a file with a secret: no user but its owner and its group may read it.

    Raises:
        ValueError: it cannot be read, or other users can read or write it, or it holds no line of text.
    """
    secret = checked_secret(path)
    if readable_by_others(path):
        raise ValueError(f"every user of this machine can read {path}; run: chmod o-r {path}")
    if not secret:
        raise ValueError(f"{path} is empty")
    if b"\n" in secret or b"\r" in secret:
        raise ValueError(f"{path} has more than one line; it holds the secret only")
    try:
        secret.decode()
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text") from None
    return path


def spool_folder(path: Path) -> Path:
    """Check the folder of the spools, or that it can be made."""
    try:
        if path.is_dir():
            return path
        if path.exists():
            raise ValueError(f"{path} is no folder")
        if not path.parent.is_dir():
            raise ValueError(f"there is no folder {path.parent}; make it, for the user of the bridge only")
    except OSError as error:
        raise ValueError(f"{path} cannot be reached: {error.strerror}") from None
    return path


def listening_endpoint(text: str) -> EndpointDescription:
    """Check the endpoint of the metrics."""
    description = EndpointDescription.parse(text)
    if description.kind not in _LISTENING or not (description.positional or description.options):
        raise ValueError(f"{shown(text)} is not an endpoint; write tcp:9101:interface=127.0.0.1 or unix:PATH")
    if description.kind == "tcp":
        port = description.options.get("port") or (description.positional[0] if description.positional else "")
        if not (port.isascii() and port.isdecimal() and int(port) <= 65_535):
            raise ValueError(f"{shown(text)}: the port is not a number from 0 to 65535")
    return description


def dialplan_context(text: str) -> str:
    """Check the name of a context of the dialplan; empty means none."""
    if text and not _DIALPLAN_NAME.fullmatch(text):
        raise ValueError(f"{shown(text)} is not the name of a context: 1 to 79 letters, digits and _ . - are allowed")
    return text


def device_template(text: str) -> str:
    """Check the device of an extension; empty means none."""
    if text and not (_DEVICE.fullmatch(text) and text.count("{extension}") == 1):
        raise ValueError(f"{shown(text)} is not a device with {{extension}} in it, as PJSIP/{{extension}}")
    return text


def extension(text: str) -> str:
    """Check the extension of a phone."""
    if not _EXTENSION.fullmatch(text):
        raise ValueError(f"{shown(text)} is not an extension: 1 to 64 letters, digits and _ . - are allowed")
    return text


def queue_name(text: str) -> str:
    """Check the name of a queue."""
    if not text:
        raise ValueError("expected the name of a queue, got an empty string")
    return identifier(text)


def record_folder(text: str) -> str:
    """Check a folder on the exchange, which gets no other characters than the bridge's own file names; empty: none."""
    if text and (not _FOLDER.fullmatch(text) or ".." in text.split("/")):
        raise ValueError(f"{shown(text)} is not a folder on the exchange: letters, digits and _ . - / are allowed")
    return text


CHECKS: Mapping[tuple[type, str], Check] = {
    (GatewaySettings, "endpoint"): client_endpoint,
    (GatewaySettings, "token_file"): secret_file,
    (GatewaySettings, "spool"): spool_folder,
    (MetricsSettings, "listen"): listening_endpoint,
    (SourceSettings, "name"): source_name,
    (SourceSettings, "endpoint"): client_endpoint,
    (SourceSettings, "username"): username,
    (SourceSettings, "secret_file"): secret_file,
    (SourceSettings, "tenant"): tenant,
    (SourceSettings, "agent_pattern"): agent_pattern,
    (SourceSettings, "agents"): identifier,
    (Directions, "inbound"): pattern,
    (Directions, "internal"): pattern,
    (AgentEntry, "user_id"): identifier,
    (AgentEntry, "username"): single_line,
    (AgentEntry, "extension"): single_line,
    (TenantRule, "tenant"): required_tenant,
    (TenantRule, "variable"): variable,
    (TenantRule, "account_code"): pattern,
    (TenantRule, "context"): pattern,
    (TenantRule, "queue"): pattern,
    (TenantRule, "domain"): single_line,
    (TenantRule, "device"): pattern,
    (CommandSettings, "context"): dialplan_context,
    (CommandSettings, "originate_context"): dialplan_context,
    (CommandSettings, "monitor_context"): dialplan_context,
    (CommandSettings, "destinations"): pattern,
    (CommandSettings, "device"): device_template,
    (CommandSettings, "member"): device_template,
    (CommandSettings, "state_interface"): device_template,
    (CommandSettings, "hot_desks"): extension,
    (CommandSettings, "queues"): pattern,
    (CommandSettings, "login_queues"): queue_name,
    (CommandSettings, "record_folder"): record_folder,
}
"""The checks by table and field."""

NO_SECRETS: Mapping[tuple[type, str], Check] = {
    **CHECKS,
    (GatewaySettings, "token_file"): Path,
    (GatewaySettings, "spool"): Path,
    (SourceSettings, "secret_file"): Path,
}
"""The checks of a command that connects to nothing, as ``bridge replay``."""
