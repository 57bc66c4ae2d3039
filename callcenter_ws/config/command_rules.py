"""The rules of the settings of commands and of the audit log that concern several values, or the file system."""

from __future__ import annotations

from collections.abc import Iterator

from callcenter_ws.config.command_settings import (
    MAX_PAUSE_REASONS,
    destination_pattern,
    repeated_code,
    repeated_destination,
)
from callcenter_ws.config.findings import Finding
from callcenter_ws.config.settings import Settings
from callcenter_ws.config.tables import named, numbered
from callcenter_ws.config.tenant_settings import TenantSettings
from callcenter_ws.runtime.secret_files import readable_by_others
from callcenter_ws.runtime.setting_values import shown

UNSAFE_DESTINATIONS = ("1,2", "1&2", "${X}", "1 2", "1;2", "1|2", "1/2", "1@2", "a(b)", "1=2", '1"2')
"""Destinations with characters that have a meaning in a dialplan or in an address of an exchange."""


def check_commands(settings: Settings) -> Iterator[Finding]:
    """Require lists of reasons, dispositions and destinations that can be used."""
    commands = settings.commands
    if len(commands.pause_reasons) > MAX_PAUSE_REASONS:
        reason = f"has {len(commands.pause_reasons):,} entries; at most {MAX_PAUSE_REASONS:,} are allowed"
        yield Finding("commands.pause_reasons", reason)
    if text := repeated_code(commands.dispositions):
        yield Finding("commands.dispositions", text)
    if text := repeated_destination(commands.destinations):
        yield Finding("commands.destinations", text)


def check_destinations(settings: Settings) -> Iterator[Finding]:
    """Require listed destinations that a command may name."""
    pattern = destination_pattern(settings.commands.destination_pattern)
    lists = {"commands.destinations": settings.commands.destinations}
    for name, tenant in settings.tenants.by_name.items():
        lists[f"{named('tenants', name)}.commands.destinations"] = tenant.commands.destinations or ()
    for key, destinations in lists.items():
        for number, one in enumerate(destinations, 1):
            if not pattern.fullmatch(one.destination):
                reason = f"{shown(one.destination)} does not match commands.destination_pattern"
                yield Finding(
                    f"{numbered(key, number, one.name)}.destination", reason, ("commands.destination_pattern",)
                )


def check_audit_file(settings: Settings) -> Iterator[Finding]:
    """Require the folder of the audit log. The file itself is created if it does not exist."""
    file = settings.audit.file
    if file is None:
        return
    try:
        is_folder, has_folder = file.is_dir(), file.parent.is_dir()
        is_other = file.exists() and not file.is_file()
    except OSError as error:
        yield Finding("audit.file", f"{file} cannot be reached: {error.strerror}")
        return
    if is_folder:
        yield Finding("audit.file", f"{file} is a folder; name a file in it")
    elif is_other:
        yield Finding("audit.file", f"{file} is not a regular file")
    elif not has_folder:
        yield Finding("audit.file", f"there is no folder {file.parent}; make it, for the gateway's user only")


def warn_of_commands(settings: Settings) -> Iterator[Finding]:
    """Warn of settings without effect, of commands without an audit log, and of unsafe destinations."""
    commands = settings.commands
    for name, tenant in settings.tenants.by_name.items():
        if not commands.enabled and tenant.commands != TenantSettings().commands:
            reason = "have no effect: commands.enabled is false"
            yield Finding(f"{named('tenants', name)}.commands", reason, ("commands.enabled",))
    if not commands.enabled:
        return
    if settings.audit.file is None:
        yield Finding("audit.file", "is not set, so that no durable record is kept of who issued which commands")
    pattern = destination_pattern(commands.destination_pattern)
    if unsafe := [text for text in UNSAFE_DESTINATIONS if pattern.fullmatch(text)]:
        reason = f"accepts {shown(unsafe[0])}: such characters have a meaning for exchanges, which the bridge refuses"
        yield Finding("commands.destination_pattern", reason)


def warn_of_audit_mode(settings: Settings) -> Iterator[Finding]:
    """Warn of an audit log that every user can read. The gateway makes it with mode 600."""
    file = settings.audit.file
    if file is not None and file.exists() and readable_by_others(file):
        yield Finding("audit.file", f"every user of this machine can read {file}; run: chmod o-r {file}")
