"""The ``callcenter-ws`` command, for operators and developers: checks, tokens, events and stores."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, TimeoutError

from callcenter_ws import __version__
from callcenter_ws.cli.emit import emit
from callcenter_ws.cli.source import forget_source, list_sources
from callcenter_ws.cli.store import back_up_store, check_store, store_file
from callcenter_ws.cli.tail import TailOptions, tail
from callcenter_ws.cli.target import CommandFailed, Target, read_token
from callcenter_ws.config.access import check_access, check_ports
from callcenter_ws.config.load import ConfigError, load
from callcenter_ws.config.settings import Settings
from callcenter_ws.demo.state import DemoState, DemoUnavailable
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.principal import EVERY_TENANT, Role
from callcenter_ws.runtime.reactor import Reactor
from callcenter_ws.runtime.web_origin import OWN_PAGES

Commands = Any  # the subparsers of argparse, whose class is private

TOKEN_VARIABLE = "CALLCENTER_WS_TOKEN"  # noqa: S105 - the name of a variable


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status: 0 success, 1 failure, 2 invalid arguments, 130 interrupted."""
    try:
        arguments = _parser().parse_args(argv)
    except SystemExit as end:
        return int(end.code or 0)
    try:
        status: int = arguments.run(arguments)
        sys.stdout.flush()
    except (CommandFailed, DemoUnavailable) as failure:
        print(f"callcenter-ws {arguments.command}: {failure}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader of the output has ended, as in "callcenter-ws tail | head". Without this Python logs an error at
        # exit, when it flushes the standard output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    return status


# The commands


def check_config(arguments: argparse.Namespace) -> int:
    """Print a summary of the settings and their warnings; fail with all problems if the gateway cannot start."""
    settings = _load(arguments)
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
    connections = f"at most {limits.connections}" if limits.connections else "as many as file descriptors allow"
    print(f"  node                {settings.cluster.node_id}, connections: {connections}")
    ports = (f"{finding.key}: {finding.reason}" for finding in check_ports(settings))
    for warning in (*settings.warnings, *ports):
        print(f"warning: {warning}", file=sys.stderr)
    return 0


def print_token(arguments: argparse.Namespace) -> int:
    """Print a signed token, for tests."""
    target = Target(secret_file=arguments.secret_file) if arguments.secret_file else _target(arguments)
    tenant = _tenant(arguments, target)
    if tenant == EVERY_TENANT and arguments.role not in (Role.ADMIN, Role.SERVICE):
        raise CommandFailed(
            f"the tenant {EVERY_TENANT} is for the roles admin and service only, not for {arguments.role}"
        )
    if arguments.role == Role.VISITOR and not arguments.session:
        raise CommandFailed("a visitor needs a chat session: give --session ID")
    claims = {
        "sub": arguments.user or f"test-{arguments.role}",
        "tenant_id": tenant,
        "role": arguments.role,
        "name": arguments.name,
        "queues": arguments.queues,
        "session_id": arguments.session,
    }
    print(target.token({name: value for name, value in claims.items() if value is not None}, arguments.ttl))
    return 0


def _target(arguments: argparse.Namespace, address: str | None = None) -> Target:
    """Return the gateway of the configuration, or the one at ``address``, or the demo."""
    if arguments.config is not None or arguments.set:
        return Target.of_settings(_load(arguments))
    return Target() if address else Target.of_demo(DemoState.find())


def _load(arguments: argparse.Namespace) -> Settings:
    try:
        return load(arguments.config, overrides=arguments.set, environ=os.environ)
    except ConfigError as error:
        raise CommandFailed(str(error)) from None


def _tenant(arguments: argparse.Namespace, target: Target) -> str:
    tenant: str | None = arguments.tenant or target.tenant
    if tenant is None:
        raise CommandFailed("no tenant given: use --tenant ID")
    return tenant


def check_the_store(arguments: argparse.Namespace) -> int:
    """Print what a store contains and whether it is damaged."""
    return check_store(_store_file(arguments))


def back_up_the_store(arguments: argparse.Namespace) -> int:
    """Copy a store while it is in use."""
    return back_up_store(_store_file(arguments), arguments.copy)


def _store_file(arguments: argparse.Namespace) -> Path:
    if arguments.file is not None:
        return store_file(arguments, None, None)
    if arguments.config is not None or arguments.set:
        return store_file(arguments, _load(arguments), None)
    return store_file(arguments, None, DemoState.find().store_file)


def version(arguments: argparse.Namespace) -> int:
    """Print the versions, for bug reports."""
    print(_versions())
    return 0


def _versions() -> str:
    parts = ", ".join(f"{name} {version_of(name)}" for name in ("Twisted", "autobahn", "msgspec"))
    return f"callcenter-ws {__version__} (Python {platform.python_version()}, {parts})"


def emit_event(arguments: argparse.Namespace) -> int:
    """Publish one event over AMP and print its position in the stream."""
    payload = _payload(sys.stdin.read() if arguments.payload == "-" else arguments.payload)
    target = _target(arguments, arguments.amp)
    endpoint = _amp_endpoint(arguments, target)
    event = {
        "tenant_id": _tenant(arguments, target),
        "type": arguments.type,
        "payload": payload,
        "user_id": arguments.user_id,
        "event_id": arguments.event_id,
        "persist": arguments.persist,
    }
    published = _call(
        arguments,
        target,
        endpoint,
        lambda reactor, token: emit(reactor, endpoint, token, event),
        "it may still be published",
    )
    print(json.dumps({"epoch": published.epoch, "seq": published.seq, "event_id": published.event_id}))
    return 0


def _amp_endpoint(arguments: argparse.Namespace, target: Target) -> str:
    endpoint: str | None = arguments.amp or target.amp_endpoint
    if endpoint is None:
        raise CommandFailed("no AMP listener known: give --amp ENDPOINT, such as tcp:host=gw.example.com:port=8081")
    return endpoint


def _call(
    arguments: argparse.Namespace,
    target: Target,
    endpoint: str,
    call: Callable[[Reactor, str | None], Coroutine[Deferred[object], object, T]],
    without_answer: str,
) -> T:
    """Call a gateway over AMP.

    Args:
        call: called with the reactor and the token.
        without_answer: what is said when no answer has come in time.
    """
    token = _amp_token(arguments, target, endpoint)
    try:
        return _run(lambda reactor: Deferred.fromCoroutine(call(reactor, token)).addTimeout(arguments.timeout, reactor))
    except Refusal as refusal:
        hint = _demo_hint(target) if refusal.code is ErrorCode.UNAVAILABLE and not arguments.amp else ""
        raise CommandFailed(f"{refusal}{hint}") from None
    except TimeoutError:
        raise CommandFailed(f"no answer from {endpoint} within {arguments.timeout:g} s; {without_answer}") from None


def print_sources(arguments: argparse.Namespace) -> int:
    """Print the registered sources of events."""
    target = _target(arguments, arguments.amp)
    endpoint = _amp_endpoint(arguments, target)
    lines = _call(
        arguments,
        target,
        endpoint,
        lambda reactor, token: list_sources(reactor, endpoint, token, arguments.tenant),
        "is the gateway running?",
    )
    print("\n".join(lines))
    return 0


def forget_a_source(arguments: argparse.Namespace) -> int:
    """Release the name of a source, so that another owner may use it."""
    target = _target(arguments, arguments.amp)
    endpoint = _amp_endpoint(arguments, target)
    released = _call(
        arguments,
        target,
        endpoint,
        lambda reactor, token: forget_source(reactor, endpoint, token, arguments.name, arguments.tenant),
        "it may still be released",
    )
    if not released:
        where = f"in tenant {arguments.tenant}" if arguments.tenant else "of the installation: give --tenant ID"
        raise CommandFailed(f"there is no source {arguments.name!r} {where}")
    print(f"{arguments.name}: released in {released} tenant{'s' if released > 1 else ''}")
    return 0


def _payload(text: str) -> bytes:
    try:
        payload = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CommandFailed(f"the payload is not JSON: {error}") from None
    if not isinstance(payload, dict):
        raise CommandFailed('the payload is not a JSON object, such as {"title": …}')
    return text.encode(errors="replace")


def _amp_token(arguments: argparse.Namespace, target: Target, endpoint: str) -> str | None:
    """Return the secret or token for ``Authenticate``; None for a unix socket, whose mode is enough."""
    token_file = arguments.amp_token_file or target.amp_token_file
    if token_file is not None:
        return read_token(token_file)
    if endpoint.startswith("unix:") or target.secret_file is None:
        return None
    return target.token({"sub": "callcenter-ws emit", "tenant_id": EVERY_TENANT, "role": Role.SERVICE})


def tail_stream(arguments: argparse.Namespace) -> int:
    """Connect as a client and print the messages, one JSON object per line."""
    target = _target(arguments, arguments.url)
    url = arguments.url or target.url
    if url is None:
        raise CommandFailed("no URL known: give --url wss://gw.example.com/ws, with the name in the certificate")
    token = _given_token(arguments)
    if token is None and (arguments.tenant or not arguments.url):
        token = _signed_token(target, arguments.tenant or target.tenant)
    options = TailOptions(
        url=url,
        token=token,
        events=tuple(arguments.events),
        count=arguments.count,
        resume=arguments.resume,
        snapshot=arguments.snapshot,
        pretty=arguments.pretty,
    )
    reason = _run(lambda reactor: tail(reactor, options, lambda line: print(line, flush=True)))
    if reason is not None:
        raise CommandFailed(reason + (_demo_hint(target) if "cannot connect" in reason and not arguments.url else ""))
    return 0


def _demo_hint(target: Target) -> str:
    """Return what to do if the gateway that cannot be reached is a demo."""
    return "\nIf the demo has ended, start it again: twistd -n callcenter-ws --demo" if target.is_demo else ""


def _given_token(arguments: argparse.Namespace) -> str | None:
    if arguments.token_file is not None:
        return read_token(arguments.token_file)
    given: str | None = arguments.token or os.environ.get(TOKEN_VARIABLE)
    return given


def _signed_token(target: Target, tenant: str | None) -> str:
    """Return a new token with the role supervisor for the tenant that was given, or that of the demo."""
    if tenant is None:
        raise CommandFailed(f"no tenant given: use --tenant ID, or a token in --token-file FILE or in {TOKEN_VARIABLE}")
    if tenant == EVERY_TENANT:
        raise CommandFailed("a stream belongs to one tenant: give --tenant ID")
    return target.token({"sub": "tail", "name": "tail", "tenant_id": tenant, "role": Role.SUPERVISOR})


T = TypeVar("T")


def _run(work: Callable[[Reactor], Awaitable[T]]) -> T:
    """Run ``work`` in the reactor and return its result or raise its exception.

    Raises:
        KeyboardInterrupt: a signal ended it.
    """
    # This import installs the reactor, which only the commands that use the network need.
    from twisted.internet.task import react

    results: list[T] = []
    errors: list[Exception] = []

    async def finish(reactor: Reactor) -> None:
        interrupted: list[bool] = []
        reactor.addSystemEventTrigger("before", "shutdown", interrupted.append, True)
        try:
            result = await work(reactor)
        except Exception as error:
            # react would log it as an unhandled error. After an interrupt, errors of the teardown are expected.
            if not interrupted:
                errors.append(error)
        else:
            if not interrupted:
                results.append(result)

    with suppress(SystemExit):
        react(lambda reactor: Deferred.fromCoroutine(finish(reactor)))
    if errors:
        raise errors[0]
    if not results:
        raise KeyboardInterrupt
    return results[0]


# The arguments


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="callcenter-ws",
        description="Work with a callcenter-ws gateway. The gateway itself is started with:\n"
        "  twistd -n --pidfile= callcenter-ws --config FILE",
        epilog="Without --config, all commands but check-config and version use the demo\nthat this user started last.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=_versions(), help="print the versions")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_check_config(commands)
    _add_token(commands)
    _add_emit(commands)
    _add_tail(commands)
    _add_source(commands)
    _add_stores(commands)
    _add(commands, "version", version, "print the versions", "callcenter-ws version")
    return parser


def _add(
    commands: Commands, name: str, run: Callable[[argparse.Namespace], int], text: str, example: str
) -> argparse.ArgumentParser:
    description = f"{text[0].upper()}{text[1:]}."
    command: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=description,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(run=run)
    return command


def _add_settings(command: argparse.ArgumentParser) -> None:
    command.add_argument("--config", metavar="FILE", type=Path, help="the gateway's TOML file")
    command.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="override one setting, such as web.demo=true"
    )


def _add_check_config(commands: Commands) -> None:
    example = "callcenter-ws check-config --config /etc/callcenter-ws/callcenter-ws.toml"
    text = "check whether the gateway can start with a configuration, and print all problems with it"
    _add_settings(_add(commands, "check-config", check_config, text, example))


def _add_stores(commands: Commands) -> None:
    example = "callcenter-ws check-store --config /etc/callcenter-ws/callcenter-ws.toml"
    text = "print what the store on disk contains and whether it is damaged; it may be in use"
    checking = _add(commands, "check-store", check_the_store, text, example)
    example = "callcenter-ws backup-store --config gw.toml /var/backups/events-monday.sqlite"
    text = "copy the store on disk into a new file while it is in use"
    copying = _add(commands, "backup-store", back_up_the_store, text, example)
    copying.add_argument("copy", metavar="COPY", type=Path, help="the new file")
    for command in (checking, copying):
        _add_settings(command)
        command.add_argument("--file", metavar="PATH", type=Path, help="the store (default: that of the configuration)")


def _add_token(commands: Commands) -> None:
    example = "callcenter-ws token --config gw.toml --tenant acme --user 1001 --role supervisor --ttl 600"
    command = _add(commands, "token", print_token, "print a signed token, for tests", example)
    _add_settings(command)
    command.add_argument("--secret-file", metavar="FILE", type=Path, help="sign with this secret (HS256)")
    command.add_argument("--tenant", metavar="ID", help="tenant; * for all tenants, with the roles admin and service")
    command.add_argument("--user", metavar="ID", help="user (default: test-ROLE)")
    command.add_argument("--role", choices=[role.value for role in Role], default=Role.AGENT.value)
    command.add_argument("--name", help="display name")
    command.add_argument("--queues", metavar="A,B", type=_names, help="restrict the token to these queues")
    command.add_argument("--session", metavar="ID", help="a visitor's chat session")
    command.add_argument("--ttl", metavar="SECONDS", type=_positive, default=3_600, help="(default: 3600)")


def _add_emit(commands: Commands) -> None:
    example = """callcenter-ws emit alert '{"title": "Fire drill", "message": "Leave by door B"}' --tenant acme"""
    command = _add(commands, "emit", emit_event, "publish one event over AMP", example)
    _add_settings(command)
    command.add_argument("type", metavar="TYPE", help="type of the event, such as call.incoming")
    command.add_argument("payload", metavar="PAYLOAD", help="JSON object; - to read it from standard input")
    command.add_argument("--tenant", metavar="ID", help="tenant of the event")
    command.add_argument("--user-id", metavar="ID", help="deliver the event to this user only")
    command.add_argument(
        "--event-id", metavar="ID", help="id of the event; an event with the same id is published once only"
    )
    command.add_argument(
        "--persist", action="store_true", help="keep the event in the user's mailbox while the user is offline"
    )
    _add_amp(command)


def _add_source(commands: Commands) -> None:
    text = "list the daemons that send events under a name, or release a name"
    source = _add(commands, "source", print_sources, text, "callcenter-ws source list --config gw.toml")
    actions = source.add_subparsers(metavar="ACTION", required=True)
    example = "callcenter-ws source list --config gw.toml --tenant acme"
    listing = _add(actions, "list", print_sources, "list the sources and their states", example)
    listing.add_argument("--tenant", metavar="ID", help="list those of this tenant only")
    example = "callcenter-ws source forget pbx1 --config gw.toml --tenant acme"
    text = "release the name of a source that is not connected, so that another owner may use it"
    forgetting = _add(actions, "forget", forget_a_source, text, example)
    forgetting.add_argument("name", metavar="NAME", help="name of the source")
    text = "release it in this tenant (default: the installation's source of this name, in all tenants)"
    forgetting.add_argument("--tenant", metavar="ID", help=text)
    for command in (listing, forgetting):
        _add_settings(command)
        _add_amp(command)


def _add_amp(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--amp",
        metavar="ENDPOINT",
        help="AMP listener, such as tcp:host=127.0.0.1:port=8081 or unix:path=/run/amp.sock",
    )
    command.add_argument("--amp-token-file", metavar="FILE", type=Path, help="file with the shared secret or a token")
    command.add_argument("--timeout", metavar="SECONDS", type=_positive, default=10, help="(default: 10)")


def _add_tail(commands: Commands) -> None:
    example = "callcenter-ws tail --url wss://gw.example.com/ws --token-file my.token --events 'call.*' agent.login"
    command = _add(
        commands, "tail", tail_stream, "connect as a client and print the messages, one JSON object per line", example
    )
    _add_settings(command)
    command.add_argument(
        "--url", help="ws:// or wss:// (SSL_CERT_FILE: file with the CAs to trust, if not the system's)"
    )
    command.add_argument("--token", help=f"token; visible in the list of processes, so prefer {TOKEN_VARIABLE}")
    command.add_argument("--token-file", metavar="FILE", type=Path, help="file with the token")
    command.add_argument(
        "--tenant", metavar="ID", help="connect as a supervisor of this tenant, with a token signed by this command"
    )
    command.add_argument(
        "--events",
        metavar="NAME",
        nargs="+",
        action="extend",
        default=[],
        help="print these events only, such as call.* or agent.login",
    )
    command.add_argument(
        "--count", metavar="N", type=_count, help="stop after N events; control messages are not counted"
    )
    command.add_argument(
        "--resume", metavar="EPOCH:SEQ", type=_position, help="start with the events after this position"
    )
    command.add_argument("--snapshot", action="store_true", help="start with the current state")
    command.add_argument("--pretty", action="store_true", help="print lines for people in place of JSON")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError("must be more than 0")
    return number


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _position(text: str) -> tuple[str, int]:
    epoch, _, seq = text.rpartition(":")
    if not epoch or not seq.isdecimal():
        raise argparse.ArgumentTypeError("must be EPOCH:SEQ, both as in the welcome message")
    return epoch, int(seq)
