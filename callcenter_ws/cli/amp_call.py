"""Calls one command of a gateway over one AMP connection."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.endpoints import clientFromString
from twisted.internet.protocol import Factory

from callcenter_ws.amp.commands import Authenticate, GatewayCommand, PublishEvent
from callcenter_ws.cli.in_reactor import run_in_reactor
from callcenter_ws.cli.target import CommandFailed, Target, demo_hint, read_token
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.principal import EVERY_TENANT, Role
from callcenter_ws.remote.gateway_connection import CommandResponse, GatewayConnection
from callcenter_ws.remote.reasons import connection_reason
from callcenter_ws.runtime.reactor import Reactor

CLOSE_TIMEOUT_SECONDS = 1.0
"""How long to wait for the gateway's part in the end of a TLS connection."""


def call_amp(
    arguments: argparse.Namespace,
    target: Target,
    command: type[GatewayCommand],
    values: Mapping[str, object],
    without_answer: str,
) -> CommandResponse:
    """Call the gateway that the options of ``add_amp`` and ``add_settings`` name, and return its response.

    Args:
        values: the arguments of the command; see ``call_gateway``.
        without_answer: what is said when no answer has come in time.

    Raises:
        CommandFailed: the gateway refused it, could not be reached or did not answer.
    """
    endpoint: str | None = arguments.amp or target.amp_endpoint
    if endpoint is None:
        raise CommandFailed("no AMP listener known: give --amp ENDPOINT, such as tcp:host=gw.example.com:port=8081")
    for name, value in values.items():
        if isinstance(value, str) and not is_utf8(value):
            raise CommandFailed(f"{name}: not UTF-8")
    token = _token(arguments, target, endpoint)

    def call(reactor: Reactor) -> Deferred[CommandResponse]:
        calling = Deferred.fromCoroutine(call_gateway(reactor, endpoint, token, command, values))
        return calling.addTimeout(arguments.timeout, reactor)

    try:
        return run_in_reactor(call)
    except Refusal as refusal:
        if refusal.code is ErrorCode.INVALID_EVENT and command is not PublishEvent:
            # What AMP calls every argument that is refused: its name says nothing to an operator.
            raise CommandFailed(refusal.message) from None
        hint = demo_hint(target) if refusal.code is ErrorCode.UNAVAILABLE and not arguments.amp else ""
        raise CommandFailed(f"{refusal}{hint}") from None
    except TimeoutError:
        raise CommandFailed(f"no answer from {endpoint} within {arguments.timeout:g} s; {without_answer}") from None


def is_utf8(text: str) -> bool:
    """Return whether a text of the command line was UTF-8; Python has halves of surrogate pairs for other bytes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _token(arguments: argparse.Namespace, target: Target, endpoint: str) -> str | None:
    """Return the secret or token for ``Authenticate``; None for a unix socket, whose mode is enough."""
    token_file = arguments.amp_token_file or target.amp_token_file
    if token_file is not None:
        return read_token(token_file)
    if endpoint.startswith("unix:") or target.secret_file is None:
        return None
    claims = {"sub": f"callcenter-ws {arguments.command}", "tenant_id": EVERY_TENANT, "role": Role.SERVICE}
    return target.token(claims)


class _SingleConnectionOwner:
    """Records the end of the connection and does not reconnect, unlike a daemon's EventBroadcaster."""

    def __init__(self) -> None:
        self.closed: Deferred[None] = Deferred()

    async def connection_made(self, connection: GatewayConnection) -> None:
        """Do nothing: ``call_gateway`` authenticates."""

    def server_time(self, server_time_ms: int, sent_at: float) -> None:
        """Do nothing: a single command has no deadlines."""

    def waiting_events(self) -> None:
        """Return nothing: a single command is no sender."""

    def connection_lost(self, connection: GatewayConnection) -> None:
        """Record that the connection is closed."""
        self.closed.callback(None)

    async def client_event(self, *event: object) -> None:
        """Do nothing: without a subscription no client event is sent."""

    async def command(self, **arguments: object) -> None:
        """Do nothing: a peer that is no source gets no commands."""


async def call_gateway(
    reactor: Reactor, endpoint: str, token: str | None, command: type[GatewayCommand], arguments: Mapping[str, object]
) -> CommandResponse:
    """Call one command and return its response.

    Args:
        endpoint: a Twisted client endpoint description.
        token: the shared secret or a token with the role ``service``; None for a unix socket, whose mode is enough.
        arguments: those that are None are left out.

    Raises:
        Refusal: the gateway's error; ``unavailable`` if it cannot be reached.
    """
    owner = _SingleConnectionOwner()
    factory = Factory.forProtocol(lambda: GatewayConnection(owner, reactor))
    factory.noisy = False
    try:
        connection = await clientFromString(reactor, endpoint).connect(factory)
    except Exception as error:
        # Errors of the description and of the network are shown to the user without a traceback.
        raise Refusal(ErrorCode.UNAVAILABLE, f"cannot connect to {endpoint}: {connection_reason(error)}") from None
    try:
        if token is not None:
            await connection.call(Authenticate, token=token)
        given = {name: value for name, value in arguments.items() if value is not None}
        answer: CommandResponse = await connection.call(command, **given)
        return answer
    except Refusal:
        if connection.lost_reason:
            raise Refusal(ErrorCode.UNAVAILABLE, _lost(endpoint, connection.lost_reason)) from None
        raise
    finally:
        # Closed in order, so that the gateway does not log a connection that broke.
        if not owner.closed.called:
            connection.abort_after(CLOSE_TIMEOUT_SECONDS)
            connection.transport.loseConnection()
        await owner.closed


def _lost(endpoint: str, reason: str) -> str:
    """Return why there is no answer, with what may be done about it."""
    hint = ""
    if "certificate" in reason:
        hint = (
            ". Name the file of a private CA in the environment variable SSL_CERT_FILE, and connect to the name in the "
            "certificate"
        )
    elif "amp.listen" in reason:
        hint = " A port with TLS needs tls:HOST:PORT, a port without TLS tcp:HOST:PORT"
    return f"the connection to {endpoint} is lost: {reason}{hint}"
