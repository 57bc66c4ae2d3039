"""Target: what the commands of ``callcenter-ws`` know of the gateway that they are for."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from twisted.internet.endpoints import quoteStringArgument

from callcenter_ws.auth.keys import HMAC_BYTES, UnusableKey, read_secret
from callcenter_ws.auth.signing import sign_token
from callcenter_ws.config.settings import Settings
from callcenter_ws.demo.state import DemoState
from callcenter_ws.runtime.endpoints import endpoint_arguments

DEFAULT_ALGORITHM = "HS256"
TOKEN_SECONDS = 3_600


class Failure(Exception):
    """A command cannot do what it was asked; the text says why, for the person who asked."""


@dataclass(frozen=True, slots=True)
class Target:
    """The gateway that a command is for, as far as it is known.

    Attributes:
        claims: what ``iss`` and ``aud`` of a token must be.
        algorithm: of the tokens that ``secret_file`` signs.
    """

    url: str | None = None
    amp_endpoint: str | None = None
    amp_token_file: Path | None = None
    secret_file: Path | None = None
    algorithm: str = DEFAULT_ALGORITHM
    tenant: str | None = None
    claims: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_settings(cls, settings: Settings) -> Target:
        """The gateway that runs, or will, with these settings."""
        jwt = settings.jwt
        return cls(
            url=_first(_websocket_url, settings.web.listen),
            amp_endpoint=_first(_client_endpoint, settings.amp.listen),
            amp_token_file=settings.amp.token_file,
            secret_file=jwt.secret_file,
            algorithm=next((name for name in jwt.algorithms if name in HMAC_BYTES), DEFAULT_ALGORITHM),
            claims={name: text for name, text in (("iss", jwt.issuer), ("aud", jwt.audience)) if text},
        )

    @classmethod
    def of_demo(cls, demo: DemoState) -> Target:
        """The demo of this user."""
        return cls(
            url="ws" + demo.url.removeprefix("http").rstrip("/") + "/ws",
            amp_endpoint=demo.amp_endpoint,
            amp_token_file=demo.amp_token_file,
            secret_file=demo.secret_file,
            tenant=demo.tenant,
        )

    def token(self, claims: Mapping[str, Any], seconds: float = TOKEN_SECONDS) -> str:
        """Mint a token that this gateway accepts.

        Raises:
            Failure: there is no secret to sign it with.
        """
        if self.secret_file is None:
            raise Failure("there is no secret to sign a token with: jwt.secret_file is not set")
        now = int(time.time())
        times = {"iat": now, "exp": now + seconds, "jti": uuid.uuid4().hex}
        try:
            return sign_token(
                read_secret(self.secret_file), {**self.claims, **times, **claims}, algorithm=self.algorithm
            )
        except UnusableKey as error:
            raise Failure(str(error)) from None


def read_token(path: Path) -> str:
    """The token in a file, without white space around it.

    Raises:
        Failure: it cannot be read.
    """
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise Failure(f"cannot read {path}: {error.strerror}") from None
    except ValueError:
        raise Failure(f"{path} does not hold a token: it is not ASCII text") from None


def _first(convert: Callable[[str], str | None], descriptions: Sequence[str]) -> str | None:
    return next(filter(None, map(convert, descriptions)), None)


def _address(description: str) -> tuple[str, str]:
    """Host and port that reach a ``tcp:`` listener of this machine."""
    positional, named = endpoint_arguments(description)
    interface = named.get("interface", "")
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(interface, interface)  # noqa: S104 - any
    return host, named.get("port") or positional[0]


def _client_endpoint(description: str) -> str | None:
    """How to reach an AMP listener; None for kinds that do not tell their address."""
    if description.startswith("tcp:"):
        host, port = _address(description)
        return f"tcp:host={quoteStringArgument(host)}:port={port}"
    if description.startswith("unix:"):
        positional, named = endpoint_arguments(description)
        return f"unix:path={quoteStringArgument(named.get('address') or positional[0])}"
    return None


def _websocket_url(description: str) -> str | None:
    """The URL of a plain listener. That of a TLS listener needs the name in its certificate."""
    if not description.startswith("tcp:"):
        return None
    host, port = _address(description)
    return f"ws://[{host}]:{port}/ws" if ":" in host else f"ws://{host}:{port}/ws"
