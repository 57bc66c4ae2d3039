"""``callcenter-ws user``: the users who sign in at the gateway's pages, and their sessions."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from callcenter_ws.amp.commands import AddUser, ChangeUser, EndSessions, ListSessions, ListUsers, RemoveUser
from callcenter_ws.auth.account_rules import check_rights, normal_name
from callcenter_ws.auth.page_tokens import PAGE_ROLES
from callcenter_ws.auth.passwords import hash_password, password_problem
from callcenter_ws.cli.amp_call import call_amp
from callcenter_ws.cli.arguments import Commands, add_amp, add_command, add_settings, names
from callcenter_ws.cli.spans import instant
from callcenter_ws.cli.table import table
from callcenter_ws.cli.target import CommandFailed, target_of, tenant_of
from callcenter_ws.errors import Refusal
from callcenter_ws.runtime.json import JsonObject

_STILL = "it may still be done"
_RUNNING = "is the gateway running?"
_UNKNOWN = "the gateway answers with a list that this version of callcenter-ws does not know"


def add(commands: Commands) -> None:
    """Add the command and its actions."""
    text = "manage the users who sign in at the gateway's pages, and their sessions"
    user = add_command(commands, "user", print_users, text, "callcenter-ws user list --config gw.toml")
    actions = user.add_subparsers(metavar="ACTION", required=True)
    for build in (_add_adding, _add_changing, _add_password, _add_removing, _add_listing, _add_sessions, _add_sign_out):
        command = build(actions)
        add_settings(command)
        add_amp(command)


def _add_adding(actions: Commands) -> argparse.ArgumentParser:
    text = "add a user; the password is asked for, or read from a file"
    example = "callcenter-ws user add anna --tenant acme --role supervisor --queues sales,support"
    command = add_command(actions, "add", add_user, text, example)
    _add_name(command)
    command.add_argument("--tenant", metavar="ID", help="tenant of the user")
    command.add_argument("--role", required=True, choices=PAGE_ROLES, help="what the user may see and do")
    command.add_argument("--queues", metavar="A,B", type=names, help="the only queues that the user may see")
    command.add_argument("--display-name", metavar="TEXT", default="", help="name that others see")
    command.add_argument("--user-id", metavar="ID", help="id of the user in events, such as 1001 (default: NAME)")
    _add_password_file(command)
    return command


def _add_changing(actions: Commands) -> argparse.ArgumentParser:
    text = "change a user, who has to sign in again"
    command = add_command(actions, "change", change_user, text, "callcenter-ws user change anna --role admin")
    _add_name(command)
    command.add_argument("--role", choices=PAGE_ROLES, help="what the user may see and do")
    queues = command.add_mutually_exclusive_group()
    queues.add_argument("--queues", metavar="A,B", type=names, help="the only queues that the user may see")
    queues.add_argument("--all-queues", action="store_true", help="let the user see all queues")
    command.add_argument("--display-name", metavar="TEXT", help="name that others see")
    return command


def _add_password(actions: Commands) -> argparse.ArgumentParser:
    text = "give a user another password, and end the user's sessions"
    command = add_command(actions, "password", change_password, text, "callcenter-ws user password anna")
    _add_name(command)
    _add_password_file(command)
    return command


def _add_removing(actions: Commands) -> argparse.ArgumentParser:
    text = "remove a user, end the sessions and close the connections"
    command = add_command(actions, "remove", remove_user, text, "callcenter-ws user remove anna")
    _add_name(command)
    return command


def _add_listing(actions: Commands) -> argparse.ArgumentParser:
    command = add_command(actions, "list", print_users, "list the users", "callcenter-ws user list --tenant acme")
    command.add_argument("--tenant", metavar="ID", help="list those of this tenant only")
    command.add_argument("--json", action="store_true", help="print a JSON list, for scripts")
    return command


def _add_sessions(actions: Commands) -> argparse.ArgumentParser:
    text = "list the sessions: of people, of paired screens, and of the demo"
    command = add_command(actions, "sessions", print_sessions, text, "callcenter-ws user sessions anna")
    command.add_argument("name", metavar="NAME", nargs="?", help="list those of this user only")
    command.add_argument("--tenant", metavar="ID", help="list those of this tenant only")
    command.add_argument("--json", action="store_true", help="print a JSON list, for scripts")
    return command


def _add_sign_out(actions: Commands) -> argparse.ArgumentParser:
    text = "end the sessions of a user, or one session, and close the user's connections"
    example = "callcenter-ws user sign-out --session 6c89544ffca7b527"
    command = add_command(actions, "sign-out", sign_out, text, example)
    which = command.add_mutually_exclusive_group(required=True)
    which.add_argument("name", metavar="NAME", nargs="?", help="end all sessions of this user")
    which.add_argument("--session", metavar="ID", help="end this session, as of a screen that was stolen")
    return command


def _add_name(command: argparse.ArgumentParser) -> None:
    command.add_argument("name", metavar="NAME", help="what the user types to sign in")


def _add_password_file(command: argparse.ArgumentParser) -> None:
    text = "read the password from the first line of a file; - for standard input"
    command.add_argument("--password-file", metavar="FILE", type=Path, help=text)


def add_user(arguments: argparse.Namespace) -> int:
    """Add a user."""
    target = target_of(arguments, arguments.amp)
    rights = {
        "tenant_id": tenant_of(arguments, target),
        "user_id": arguments.user_id or arguments.name,
        "role": arguments.role,
        "display_name": arguments.display_name,
        "queues": arguments.queues,
    }
    try:
        # Before the password is asked for. The gateway checks it again.
        name = normal_name(arguments.name)
        check_rights(**rights)
    except Refusal as refusal:
        raise CommandFailed(refusal.message) from None
    user = {"name": name, **rights, "password": _password_record(arguments)}
    call_amp(arguments, target, AddUser, {"user": json.dumps(user).encode()}, _STILL)
    print(f"{arguments.name}: added to tenant {user['tenant_id']} as {arguments.role}")
    return 0


def change_user(arguments: argparse.Namespace) -> int:
    """Change what a user may see and do."""
    given = {"role": arguments.role, "queues": arguments.queues, "display_name": arguments.display_name}
    change: dict[str, object] = {field: value for field, value in given.items() if value is not None}
    if arguments.all_queues:
        change["queues"] = None
    if not change:
        raise CommandFailed("nothing to change: give --role, --queues, --all-queues or --display-name")
    return _change(arguments, change, "changed")


def change_password(arguments: argparse.Namespace) -> int:
    """Give a user another password."""
    return _change(arguments, {"password": _password_record(arguments)}, "has another password")


def _change(arguments: argparse.Namespace, change: dict[str, object], done: str) -> int:
    values = {"name": arguments.name, "change": json.dumps(change).encode()}
    answer = call_amp(arguments, target_of(arguments, arguments.amp), ChangeUser, values, _STILL)
    print(f"{arguments.name}: {done}, and must sign in again; closed {_connections(answer['closed'])}")
    return 0


def remove_user(arguments: argparse.Namespace) -> int:
    """Remove a user."""
    target = target_of(arguments, arguments.amp)
    answer = call_amp(arguments, target, RemoveUser, {"name": arguments.name}, _STILL)
    print(f"{arguments.name}: removed; closed {_connections(answer['closed'])}")
    return 0


def print_users(arguments: argparse.Namespace) -> int:
    """Print the users."""
    users = list(_listed(arguments, "users", "name", {"tenant_id": arguments.tenant}))
    if arguments.json:
        print(json.dumps(users))
        return 0
    columns = ("name", "tenant", "user id", "role", "queues", "display name")
    fields = ("name", "tenant_id", "user_id", "role", "queues", "display_name")
    return _print_table(columns, [[_shown(user, field) for field in fields] for user in users])


def print_sessions(arguments: argparse.Namespace) -> int:
    """Print the sessions."""
    wanted = {"tenant_id": arguments.tenant, "name": arguments.name}
    sessions = list(_listed(arguments, "sessions", "session", wanted))
    if arguments.json:
        print(json.dumps(sessions))
        return 0
    columns = ("session", "kind", "name", "tenant", "role", "queues", "since", "last used", "ends")
    fields = ("session", "kind", "name", "tenant_id", "role", "queues", "created_at", "used_at", "expires_at")
    return _print_table(columns, [[_shown(session, field) for field in fields] for session in sessions])


def sign_out(arguments: argparse.Namespace) -> int:
    """End sessions."""
    values = {"name": arguments.name, "session": arguments.session}
    answer = call_amp(arguments, target_of(arguments, arguments.amp), EndSessions, values, _STILL)
    ended = answer["sessions"]
    if arguments.session is not None and not ended:
        raise CommandFailed(f"there is no session {arguments.session!r}; list them with: callcenter-ws user sessions")
    closed = _connections(answer["closed"])
    print(f"{arguments.name or arguments.session}: ended {ended} session{'' if ended == 1 else 's'}; closed {closed}")
    return 0


def _listed(arguments: argparse.Namespace, what: str, key: str, wanted: dict[str, str | None]) -> Iterator[JsonObject]:
    """Yield all users, or all sessions: page after page."""
    target, command = target_of(arguments, arguments.amp), ListUsers if what == "users" else ListSessions
    after = None
    while True:
        answer = call_amp(arguments, target, command, {**wanted, "after": after}, _RUNNING)
        try:
            page = json.loads(answer[what])
            later = page[-1][key] if page else None
        except (LookupError, TypeError, ValueError, RecursionError):
            raise CommandFailed(_UNKNOWN) from None
        yield from page
        if not answer["more"] or later is None or later == after:
            return
        after = later


def _print_table(columns: tuple[str, ...], rows: list[list[str]]) -> int:
    for line in table([columns, *rows]):
        print(line)
    return 0


def _shown(record: JsonObject, field: str) -> str:
    try:
        value = record[field]
        if field == "queues":
            return "all" if value is None else ",".join(value) or "none"
        if field == "name" and not value:
            value = record["display_name"] or record["user_id"]
        return instant(value) if field.endswith("_at") else str(value) or "-"
    except (LookupError, TypeError, ValueError, OverflowError):
        raise CommandFailed(_UNKNOWN) from None


def _connections(count: int) -> str:
    return f"{count} connection{'' if count == 1 else 's'}"


def _password_record(arguments: argparse.Namespace) -> str:
    """Return the record of a new password: the password itself does not leave this process."""
    password = _asked() if arguments.password_file is None else _read(arguments.password_file)
    if problem := password_problem(arguments.name, password):
        raise CommandFailed(problem)
    return hash_password(password)


def _asked() -> str:
    if not sys.stdin.isatty():
        raise CommandFailed("no password given: use --password-file FILE (- for standard input)")
    password = getpass.getpass("Password: ")
    if getpass.getpass("Once more: ") != password:
        raise CommandFailed("these are two different passwords")
    return password


def _read(path: Path) -> str:
    try:
        text = sys.stdin.readline() if str(path) == "-" else path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise CommandFailed(f"cannot read the file with the password: {reason}") from None
    return text.split("\n", 1)[0].removesuffix("\r")
