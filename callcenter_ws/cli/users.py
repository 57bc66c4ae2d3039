"""``callcenter-ws online``, ``disconnect`` and ``revoke``: ask about a user, and end connections and tokens."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from callcenter_ws.amp.commands import DisconnectUser, RevokeToken, UserOnline
from callcenter_ws.auth.jws import parse
from callcenter_ws.cli.amp_call import call_amp
from callcenter_ws.cli.arguments import Commands, add_amp, add_command, add_settings
from callcenter_ws.cli.target import CommandFailed, read_token, target_of, tenant_of
from callcenter_ws.errors import Refusal


def add(commands: Commands) -> None:
    """Add the commands."""
    text = "ask whether a user is connected, at any node"
    online = add_command(commands, "online", print_online, text, "callcenter-ws online 1001 --tenant acme")
    online.add_argument("user", metavar="USER", help="id of the user")
    online.add_argument("--json", action="store_true", help="print a JSON object, for scripts")
    text = "close all connections of a user, at all nodes; the user may connect again"
    example = "callcenter-ws disconnect 1001 --tenant acme --reason 'stuck page, ticket 4711'"
    disconnect = add_command(commands, "disconnect", disconnect_user, text, example)
    disconnect.add_argument("user", metavar="USER", help="id of the user")
    disconnect.add_argument("--reason", metavar="TEXT", help="reason, for the log of the gateway")
    text = "refuse a token, or all tokens that were issued to a user until now, and close their connections"
    revoke = add_command(commands, "revoke", revoke_token, text, "callcenter-ws revoke --user 1001 --tenant acme")
    what = revoke.add_mutually_exclusive_group(required=True)
    what.add_argument("--user", metavar="ID", help="refuse all tokens issued to this user until now")
    what.add_argument("--jti", metavar="ID", help="refuse the token with this jti")
    text = "refuse the token in this file, by its jti and tenant; - to read it from standard input"
    what.add_argument("--token-file", metavar="FILE", type=Path, help=text)
    for command in (online, disconnect, revoke):
        command.add_argument("--tenant", metavar="ID", help="tenant of the user or the token")
        add_settings(command)
        add_amp(command)


def print_online(arguments: argparse.Namespace) -> int:
    """Print whether a user is online; the exit status is 0 in both cases."""
    target = target_of(arguments, arguments.amp)
    user = {"tenant_id": tenant_of(arguments, target), "user_id": arguments.user}
    answer = call_amp(arguments, target, UserOnline, user, "is the gateway running?")
    if arguments.json:
        print(json.dumps({**user, "online": answer["online"], "connections": answer["connections"]}))
    elif answer["online"]:
        print(f"{arguments.user} is online: {_connections(answer['connections'])}")
    else:
        print(f"{arguments.user} is offline")
    return 0


def disconnect_user(arguments: argparse.Namespace) -> int:
    """Close the connections of a user, and print how many were closed."""
    target = target_of(arguments, arguments.amp)
    values = {"tenant_id": tenant_of(arguments, target), "user_id": arguments.user, "reason": arguments.reason}
    without_answer = "the connections may still be closed"
    closed: int = call_amp(arguments, target, DisconnectUser, values, without_answer)["closed"]
    print(f"{arguments.user}: closed {_connections(closed)}")
    return 0


def revoke_token(arguments: argparse.Namespace) -> int:
    """Revoke a token or the tokens of a user, and print how many connections were closed."""
    target = target_of(arguments, arguments.amp)
    jti = arguments.jti
    if arguments.token_file is not None:
        tenant, jti = _identified(arguments.token_file)
        if arguments.tenant not in (None, tenant):
            raise CommandFailed(f"the token is for the tenant {tenant}, not for {arguments.tenant}")
    else:
        tenant = tenant_of(arguments, target)
    values = {"tenant_id": tenant, "user_id": arguments.user, "jti": jti}
    closed: int = call_amp(arguments, target, RevokeToken, values, "it may still be revoked")["closed"]
    what = f"the tokens of user {arguments.user}" if jti is None else f"the token {jti}"
    print(f"revoked {what} in tenant {tenant}; closed {_connections(closed)}")
    return 0


def _identified(path: Path) -> tuple[str, str]:
    """Return the tenant and the ``jti`` of a token, whose signature is not verified: it may be of an old key."""
    try:
        claims = json.loads(parse(read_token(path)).payload)
    except Refusal as refusal:
        raise CommandFailed(f"{path}: {refusal.message}") from None
    except (ValueError, RecursionError):
        claims = None
    tenant, jti = (claims.get("tenant_id"), claims.get("jti")) if isinstance(claims, dict) else (None, None)
    if not tenant:
        raise CommandFailed(f"{path}: the token has no tenant_id")
    if not jti:
        user = claims.get("sub", "ID")
        raise CommandFailed(f"{path}: the token has no jti; revoke all tokens of its user with --user {user}")
    return str(tenant), str(jti)


def _connections(count: int) -> str:
    return f"{count} connection{'' if count == 1 else 's'}"
