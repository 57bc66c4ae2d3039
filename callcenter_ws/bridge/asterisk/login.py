"""The login to the manager interface: by an MD5 challenge, or with the secret itself where that is allowed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from callcenter_ws.bridge.asterisk.actions import challenge_key, encode_action
from callcenter_ws.bridge.asterisk.filters import EVENT_CLASSES
from callcenter_ws.bridge.asterisk.message import AmiMessage
from callcenter_ws.bridge.loss import Loss, LostReason
from callcenter_ws.bridge.settings import SourceSettings
from callcenter_ws.runtime.endpoints import EndpointDescription

_IN_USE = "Login Already In Use"

Send = Callable[..., str]
"""Sends an action, given its name and its headers as pairs; returns its ActionID."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """With what to log in.

    Attributes:
        allow_plain_login: whether the secret may be sent as it is where no challenge is offered.
    """

    username: str
    secret: str
    allow_plain_login: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be sent; raises ``InvalidValueError``."""
        encode_action("Login", "", (("Username", self.username), ("Secret", self.secret)))

    def __repr__(self) -> str:
        # The secret must not get into a log.
        return f"Credentials({self.username!r})"


def credentials_of(settings: SourceSettings, secret: str) -> Credentials:
    """Return with what to log in at a source. The secret itself may be sent where others cannot listen.

    Raises:
        InvalidValueError: the username or the secret cannot be sent.
    """
    is_plain_allowed = settings.allow_plain_login or is_private(settings.endpoint)
    return Credentials(settings.username, secret, is_plain_allowed)


def is_private(endpoint: EndpointDescription) -> bool:
    """Return whether others cannot listen to a client endpoint: TLS, or this machine."""
    if endpoint.kind in ("tls", "unix"):
        return True
    host = endpoint.options.get("host") or (endpoint.positional[0] if endpoint.positional else "")
    return host in ("localhost", "::1") or host.startswith("127.")


class Login:
    """One login.

    Attributes:
        is_accepted: whether the exchange has accepted it.
        waits_for: the action that is not answered yet.
    """

    def __init__(self, credentials: Credentials, send: Send) -> None:
        self._credentials = credentials
        self._send = send
        self._action_id = send("Challenge", ("AuthType", "MD5"))
        self.waits_for = "Challenge"
        self.is_accepted = False

    def receive(self, response: AmiMessage) -> Loss | None:
        """Take a response; return why the login failed, if it did."""
        # A response without an ActionID can only be that of a peer which returns none.
        if response.get("ActionID") not in ("", self._action_id):
            return None
        if self.waits_for == "Login":
            self.is_accepted = response.response == "Success"
            return None if self.is_accepted else self._refused(response)
        if response.get("Challenge"):
            key = challenge_key(response.get("Challenge"), self._credentials.secret)
            self._log_in(("AuthType", "MD5"), ("Key", key))
        elif response.get("Message") == _IN_USE:
            return self._refused(response)
        elif not self._credentials.allow_plain_login:
            return Loss(
                LostReason.LOGIN_REFUSED,
                "the exchange offers no MD5 challenge, and the secret is sent without one only over TLS, to this "
                "machine, or with allow_plain_login = true",
            )
        else:
            self._log_in(("Secret", self._credentials.secret))
        return None

    def _log_in(self, *proof: tuple[str, str]) -> None:
        headers = (("Username", self._credentials.username), *proof, ("Events", EVENT_CLASSES))
        self._action_id = self._send("Login", *headers)
        self.waits_for = "Login"

    def _refused(self, response: AmiMessage) -> Loss:
        user, text = self._credentials.username, response.get("Message") or response.response
        if text == "Authentication failed":
            # The exchange does not say which of these it is.
            why = f"no user {user!r} with this secret may log in from this address (secret, permit and deny, acl)"
        elif text == _IN_USE:
            why = f"{user!r} is logged in already, and allowmultiplelogin is off"
        else:
            why = text[:200]
        return Loss(LostReason.LOGIN_REFUSED, f"the exchange refuses the login: {why}")
