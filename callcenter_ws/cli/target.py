"""The gateway that a command of ``callcenter-ws`` works with: its addresses, secret and tenant."""

from __future__ import annotations

import argparse
import os
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from twisted.internet.endpoints import quoteStringArgument

from callcenter_ws.auth.keys import MIN_HMAC_BYTES, UnusableKey, read_secret
from callcenter_ws.auth.signing import sign_token
from callcenter_ws.cli.arguments import TOKEN_VARIABLE
from callcenter_ws.config.load import load
from callcenter_ws.config.settings import Settings
from callcenter_ws.demo.state import DemoState
from callcenter_ws.runtime.endpoints import EndpointDescription
from callcenter_ws.runtime.setting_problems import ConfigError

DEFAULT_ALGORITHM = "HS256"
TOKEN_LIFETIME_SECONDS = 3_600


class CommandFailed(Exception):
    """A command failed; the text gives the reason."""


@dataclass(frozen=True, slots=True)
class Target:
    """Addresses, secret and tenant of a gateway; None if not known.

    Attributes:
        url: the URL of the WebSocket endpoint.
        amp_endpoint: the Twisted client endpoint description of the AMP listener.
        algorithm: the JWS algorithm of tokens that are signed with ``secret_file``.
        claims: the claims ``iss`` and ``aud`` that the gateway requires.
    """

    url: str | None = None
    amp_endpoint: str | None = None
    amp_token_file: Path | None = None
    secret_file: Path | None = None
    algorithm: str = DEFAULT_ALGORITHM
    tenant: str | None = None
    claims: Mapping[str, str] = field(default_factory=dict)
    is_demo: bool = False

    @classmethod
    def of_settings(cls, settings: Settings) -> Target:
        """Return the gateway that has these settings."""
        jwt = settings.jwt
        return cls(
            url=_first(_websocket_url, settings.web.listen),
            amp_endpoint=_first(_client_endpoint, settings.amp.listen),
            amp_token_file=settings.amp.token_file,
            secret_file=jwt.secret_file,
            algorithm=next((name for name in jwt.algorithms if name in MIN_HMAC_BYTES), DEFAULT_ALGORITHM),
            claims={name: text for name, text in (("iss", jwt.issuer), ("aud", jwt.audience)) if text},
        )

    @classmethod
    def of_demo(cls, demo: DemoState) -> Target:
        """Return the demo of this user."""
        return cls(
            url="ws" + demo.url.removeprefix("http").rstrip("/") + "/ws",
            amp_endpoint=demo.amp_endpoint,
            amp_token_file=demo.amp_token_file,
            secret_file=demo.secret_file,
            tenant=demo.tenant,
            is_demo=True,
        )

    def token(self, claims: Mapping[str, object], seconds: float = TOKEN_LIFETIME_SECONDS) -> str:
        """Return a signed token that this gateway accepts, valid for ``seconds``.

        Raises:
            CommandFailed: there is no secret to sign it with.
        """
        if self.secret_file is None:
            raise CommandFailed("there is no secret to sign a token with: jwt.secret_file is not set")
        now = int(time.time())
        times = {"iat": now, "exp": now + seconds, "jti": uuid.uuid4().hex}
        try:
            return sign_token(
                read_secret(self.secret_file), {**self.claims, **times, **claims}, algorithm=self.algorithm
            )
        except UnusableKey as error:
            raise CommandFailed(str(error)) from None


def settings_of(arguments: argparse.Namespace) -> Settings:
    """Return the settings that ``--config``, ``--set`` and the environment name.

    Raises:
        CommandFailed: they are not valid; the text has all problems.
    """
    try:
        return load(arguments.config, overrides=arguments.set, environ=os.environ)
    except ConfigError as error:
        raise CommandFailed(str(error)) from None


def target_of(arguments: argparse.Namespace, address: str | None = None) -> Target:
    """Return the gateway of the configuration, or the one at ``address``, or the demo."""
    if arguments.config is not None or arguments.set:
        return Target.of_settings(settings_of(arguments))
    return Target() if address else Target.of_demo(DemoState.find())


def tenant_of(arguments: argparse.Namespace, target: Target) -> str:
    """Return the tenant that the command is about."""
    tenant: str | None = arguments.tenant or target.tenant
    if tenant is None:
        raise CommandFailed("no tenant given: use --tenant ID")
    return tenant


def given_token(arguments: argparse.Namespace) -> str | None:
    """Return the token that the options of ``add_token`` or the environment hold; None without one."""
    if arguments.token_file is not None:
        return read_token(arguments.token_file)
    given: str | None = arguments.token or os.environ.get(TOKEN_VARIABLE) or None
    return given


def demo_hint(target: Target) -> str:
    """Return what to do if the gateway that cannot be reached is a demo."""
    return "\nIf the demo has ended, start it again: twistd -n callcenter-ws --demo" if target.is_demo else ""


def read_token(path: Path) -> str:
    """Return the token in a file, or in the standard input if the path is ``-``, without surrounding white space.

    Raises:
        CommandFailed: the file cannot be read.
    """
    try:
        return (sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()).decode("ascii").strip()
    except OSError as error:
        raise CommandFailed(f"cannot read {path}: {error.strerror}") from None
    except ValueError:
        raise CommandFailed(f"{path} does not hold a token: it is not ASCII text") from None


def _first(
    convert: Callable[[EndpointDescription], str | None], endpoints: Sequence[EndpointDescription]
) -> str | None:
    return next(filter(None, map(convert, endpoints)), None)


def _local_host(endpoint: EndpointDescription) -> str:
    """Return the host by which a ``tcp:`` listener is reached from this machine."""
    any_interface = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - not bound to
    return any_interface.get(endpoint.interface, endpoint.interface)


def _client_endpoint(endpoint: EndpointDescription) -> str | None:
    """Return the client endpoint description of an AMP listener; None if its kind does not contain the address."""
    if endpoint.kind == "tcp":
        return f"tcp:host={quoteStringArgument(_local_host(endpoint))}:port={endpoint.port}"
    if endpoint.kind == "unix":
        return f"unix:path={quoteStringArgument(str(endpoint.socket_path))}"
    return None


def _websocket_url(endpoint: EndpointDescription) -> str | None:
    """Return the URL of a listener without TLS. The URL of a TLS listener needs the name in its certificate."""
    if endpoint.kind != "tcp":
        return None
    host = _local_host(endpoint)
    return f"ws://[{host}]:{endpoint.port}/ws" if ":" in host else f"ws://{host}:{endpoint.port}/ws"
