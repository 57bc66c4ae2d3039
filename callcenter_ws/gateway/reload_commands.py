"""The steps of a reload for the settings of commands and of the audit log."""

from __future__ import annotations

from callcenter_ws.config.changes import changes_in_place
from callcenter_ws.config.settings import KEYS
from callcenter_ws.gateway.audit import audit_file
from callcenter_ws.gateway.commands import command_policy, command_rate
from callcenter_ws.gateway.reload_step import Commit, Reloading


def prepare_audit(reloading: Reloading) -> Commit:
    """Have the audit log written to another file; the lines that wait are written to the former one."""
    audit, file = reloading.parts.audit, audit_file(reloading.new.audit.file)
    if file is not None:
        file.check()
    return lambda: audit.use(file)


def prepare_commands(reloading: Reloading) -> Commit:
    """Replace the settings of commands: those of commands that are accepted or sent from now on."""
    rate, budgets = command_rate(reloading.new), reloading.parts.core.command_budgets
    use_policy = prepare_command_policy(reloading)

    def commit() -> None:
        budgets.rate.replace_with(rate)
        use_policy()

    return commit


def prepare_command_policy(reloading: Reloading) -> Commit:
    """Replace the rules for commands."""
    commands = reloading.parts.core.commands
    policy = command_policy(reloading.new, enabled=commands.policy.enabled)

    def commit() -> None:
        commands.policy = policy

    return commit


COMMAND_KEYS = tuple(key for key in KEYS if key.startswith("commands.") and changes_in_place(key))
