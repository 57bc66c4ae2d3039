"""The commands of the wire between daemons and the gateway (PROTOCOL section 6).

Both ends use these definitions: ``amp.server`` answers them, ``remote`` calls them. A daemon on another version
of Python or Twisted needs nothing of this package; see ``examples/legacy_sender.py``.
"""

# mypy: allow-untyped-calls
# Twisted has no annotations on most of AMP.

from __future__ import annotations

from typing import ClassVar

from twisted.protocols import amp

from callcenter_ws.amp.arguments import JsonText
from callcenter_ws.errors import ErrorCode, Refusal

BATCH_EVENTS = 1_000
_DESCRIPTION_LENGTH = 1_024


class AmpRefusal(Exception):
    """An expected failure as it travels over AMP; its text names the field. One subclass per AMP error code."""

    amp_code: ClassVar[bytes]
    error_code: ClassVar[ErrorCode]


class Unauthenticated(AmpRefusal):
    """No valid token was presented."""

    amp_code = b"UNAUTHENTICATED"
    error_code = ErrorCode.UNAUTHORIZED


class Forbidden(AmpRefusal):
    """The token does not reach that far."""

    amp_code = b"FORBIDDEN"
    error_code = ErrorCode.FORBIDDEN


class InvalidEvent(AmpRefusal):
    """What was sent does not match its declaration. Sending it again is no use."""

    amp_code = b"INVALID_EVENT"
    error_code = ErrorCode.INVALID_EVENT


class TooLarge(AmpRefusal):
    """What was sent is over a limit of size. Sending it again is no use."""

    amp_code = b"TOO_LARGE"
    error_code = ErrorCode.TOO_LARGE


class Overloaded(AmpRefusal):
    """The gateway is busy: send it again later."""

    amp_code = b"OVERLOADED"
    error_code = ErrorCode.OVERLOADED


class Unavailable(AmpRefusal):
    """The gateway cannot do this now: send it again later."""

    amp_code = b"UNAVAILABLE"
    error_code = ErrorCode.UNAVAILABLE


REFUSALS: dict[bytes, type[AmpRefusal]] = {
    kind.amp_code: kind for kind in (Unauthenticated, Forbidden, InvalidEvent, TooLarge, Overloaded, Unavailable)
}


def wire_error(refusal: Refusal) -> amp.RemoteAmpError:
    """Return the AMP error that tells a peer of ``refusal``."""
    return amp.RemoteAmpError(refusal.entry.amp_code, refusal.message[:_DESCRIPTION_LENGTH])


def refusal_of(amp_code: bytes, message: str) -> Refusal:
    """Return what an AMP error code and its text stand for. A code that is not known counts as ``unavailable``."""
    return Refusal(REFUSALS.get(amp_code, Unavailable).error_code, message)


class GatewayCommand(amp.Command):
    """Base of all commands: every one may be refused in the same six ways."""

    errors: ClassVar[dict[type[Exception], bytes]] = {kind: code for code, kind in REFUSALS.items()}


class Authenticate(GatewayCommand):
    """Present the shared secret of ``amp.token_file`` or a JWT of role ``service``.

    ``principal`` is a JSON object: ``tenant_id`` (``*`` for all), ``user_id``, ``role``, ``expires_at``.
    """

    arguments: ClassVar = [(b"token", amp.Unicode())]
    response: ClassVar = [(b"principal", JsonText())]


class PublishEvent(GatewayCommand):
    """Publish one event. The answer means that it is durable."""

    arguments: ClassVar = [
        (b"tenant_id", amp.Unicode()),
        (b"type", amp.Unicode()),
        (b"payload", JsonText()),
        (b"user_id", amp.Unicode(optional=True)),
        (b"event_id", amp.Unicode(optional=True)),
        (b"timestamp", amp.Unicode(optional=True)),
        (b"persist", amp.Boolean(optional=True)),
    ]
    response: ClassVar = [(b"epoch", amp.Unicode()), (b"seq", amp.Integer()), (b"event_id", amp.Unicode())]


class PublishBatch(GatewayCommand):
    """Publish at most 1,000 events, in order. One bad event costs the others nothing.

    ``events`` is a JSON list of objects with the arguments of ``PublishEvent``, ``payload`` being an object.
    ``results`` is a JSON list with one entry per event, in order: its ``seq``, an integer, or
    ``{"code": AMP error code, "message": text}``. ``epoch`` is that of every event that was
    taken; it is empty when there is none, or when they do not share one, being of several tenants.
    """

    arguments: ClassVar = [(b"events", JsonText())]
    response: ClassVar = [(b"epoch", amp.Unicode()), (b"results", JsonText())]


class UserOnline(GatewayCommand):
    """Ask whether a user has open connections."""

    arguments: ClassVar = [(b"tenant_id", amp.Unicode()), (b"user_id", amp.Unicode())]
    response: ClassVar = [(b"online", amp.Boolean()), (b"connections", amp.Integer())]


class DisconnectUser(GatewayCommand):
    """Close all connections of a user; ``reason`` is for the gateway's log."""

    arguments: ClassVar = [
        (b"tenant_id", amp.Unicode()),
        (b"user_id", amp.Unicode()),
        (b"reason", amp.Unicode(optional=True)),
    ]
    response: ClassVar = [(b"closed", amp.Integer())]


class RevokeToken(GatewayCommand):
    """Refuse a token (``jti``), or all that ``user_id`` was issued until now, and close their connections."""

    arguments: ClassVar = [
        (b"tenant_id", amp.Unicode()),
        (b"jti", amp.Unicode(optional=True)),
        (b"user_id", amp.Unicode(optional=True)),
    ]
    response: ClassVar = [(b"closed", amp.Integer())]


class Subscribe(GatewayCommand):
    """Ask to be called with ``ClientEvent`` from now on.

    ``kinds`` is a JSON list of event names, prefixes as ``chat.*``, or ``*``. It takes the place of the list
    given before; an empty list ends the subscription.
    """

    arguments: ClassVar = [(b"kinds", JsonText())]
    response: ClassVar = []


class ClientEvent(GatewayCommand):
    """Called by the gateway: a visitor or an agent sent a message, or a presence changed.

    The peer's answer is the acknowledgement, and so is an error, except for ``OVERLOADED``, ``UNAVAILABLE`` and
    those that are not declared: then, as without any answer, the same ``event_id`` comes again.
    """

    arguments: ClassVar = [
        (b"tenant_id", amp.Unicode()),
        (b"type", amp.Unicode()),
        (b"payload", JsonText()),
        (b"user_id", amp.Unicode(optional=True)),
        (b"event_id", amp.Unicode()),
    ]
    response: ClassVar = []


class Ping(GatewayCommand):
    """Ask whether the gateway is there, and which one."""

    response: ClassVar = [(b"version", amp.Unicode()), (b"node", amp.Unicode())]
