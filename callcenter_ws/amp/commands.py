"""The AMP commands between daemons and the gateway, and their errors.

Both ends use these definitions: ``amp.responders`` answers the commands, ``remote`` calls them. They are described for
daemon authors in ``docs/senders.rst``, "The commands". A daemon on another version of Python or Twisted needs nothing
of this package; see ``examples/legacy_sender.py``.
"""

# mypy: allow-untyped-calls
# Twisted has no annotations on most of AMP.

from __future__ import annotations

from typing import ClassVar

from twisted.protocols import amp

from callcenter_ws.amp.arguments import JsonText
from callcenter_ws.errors import ErrorCode, Refusal

MAX_BATCH_EVENTS = 1_000
_MAX_DESCRIPTION_LENGTH = 1_024


class AmpRefusal(Exception):
    """An expected failure as AMP carries it; its text names the field. One subclass per AMP error code."""

    amp_code: ClassVar[bytes]
    error_code: ClassVar[ErrorCode]


class Unauthenticated(AmpRefusal):
    """No valid token was presented."""

    amp_code = b"UNAUTHENTICATED"
    error_code = ErrorCode.UNAUTHORIZED


class Forbidden(AmpRefusal):
    """The token does not authorize this, or not for this tenant."""

    amp_code = b"FORBIDDEN"
    error_code = ErrorCode.FORBIDDEN


class InvalidEvent(AmpRefusal):
    """The arguments do not match their declaration. Do not send them again."""

    amp_code = b"INVALID_EVENT"
    error_code = ErrorCode.INVALID_EVENT


class TooLarge(AmpRefusal):
    """The arguments exceed a size limit. Do not send them again."""

    amp_code = b"TOO_LARGE"
    error_code = ErrorCode.TOO_LARGE


class Overloaded(AmpRefusal):
    """The gateway is busy. Send the same again later."""

    amp_code = b"OVERLOADED"
    error_code = ErrorCode.OVERLOADED


class Unavailable(AmpRefusal):
    """The gateway cannot do this now. Send the same again later."""

    amp_code = b"UNAVAILABLE"
    error_code = ErrorCode.UNAVAILABLE


class SourceInUse(AmpRefusal):
    """Another instance of the source is connected, or its lease has not ended. Try again later."""

    amp_code = b"SOURCE_IN_USE"
    error_code = ErrorCode.SOURCE_IN_USE


class StaleGeneration(AmpRefusal):
    """The source has been started in a later generation. Do not send the same again."""

    amp_code = b"STALE_GENERATION"
    error_code = ErrorCode.STALE_GENERATION


REFUSALS: dict[bytes, type[AmpRefusal]] = {
    kind.amp_code: kind
    for kind in (
        Unauthenticated,
        Forbidden,
        InvalidEvent,
        TooLarge,
        Overloaded,
        Unavailable,
        SourceInUse,
        StaleGeneration,
    )
}


def wire_error(refusal: Refusal) -> amp.RemoteAmpError:
    """Return the AMP error that carries ``refusal`` to a peer; its text is cut to 1,024 characters."""
    return amp.RemoteAmpError(refusal.entry.amp_code, refusal.message[:_MAX_DESCRIPTION_LENGTH])


def refusal_of(amp_code: bytes, message: str) -> Refusal:
    """Return the Refusal that an AMP error code and its text stand for; an unknown code means ``unavailable``."""
    return Refusal(REFUSALS.get(amp_code, Unavailable).error_code, message)


class GatewayCommand(amp.Command):
    """Base class of all commands. Each may fail with any of the errors in ``REFUSALS``."""

    errors: ClassVar[dict[type[Exception], bytes]] = {kind: code for code, kind in REFUSALS.items()}


class Authenticate(GatewayCommand):
    """Present the shared secret of ``amp.token_file`` or a JWT of role ``service``.

    ``principal`` is a JSON object: ``tenant_id`` (``*`` for all), ``user_id``, ``role``, ``expires_at`` (Unix time in
    seconds, or null).
    """

    arguments: ClassVar = [(b"token", amp.Unicode())]
    response: ClassVar = [(b"principal", JsonText())]


class Hello(GatewayCommand):
    """Name the source that sends the events of this connection; once for each connection, after ``Authenticate``.

    A source is a daemon, or one exchange that a daemon is connected to. From then on the events of the connection carry
    a ``source_seq`` that grows with every event of the source, over all of its tenants.

    Args of the wire:
        source: its name, unique within a tenant.
        kind: what it is, as ``asterisk``; for people.
        instance: identifies the process; the same instance replaces its own older connection.
        generation: of the sender's spool; without one the gateway assigns the next. A lower one is refused with
            ``STALE_GENERATION``.
        tenants: JSON list of the tenants that it sends events of; required with a credential of all tenants.
        capabilities: JSON list; ``health``: it publishes ``source.up`` and ``source.down`` itself.
        version: of the software; for people.

    Response:
        lease: seconds for which the source may be disconnected before ``source.down`` is published.
        generation: the generation of this connection: the one that was given, or assigned.
        source_seq: the highest number of that generation that the gateway has, over all tenants of the source; else 0.
            Events without an answer must be sent again even if their number is lower: it may be another tenant's.
        server_time_ms: Unix time of the gateway in milliseconds.
    """

    arguments: ClassVar = [
        (b"source", amp.Unicode()),
        (b"kind", amp.Unicode()),
        (b"instance", amp.Unicode()),
        (b"generation", amp.Integer(optional=True)),
        (b"tenants", JsonText(optional=True)),
        (b"capabilities", JsonText(optional=True)),
        (b"version", amp.Unicode(optional=True)),
    ]
    response: ClassVar = [
        (b"lease", amp.Float()),
        (b"generation", amp.Integer()),
        (b"source_seq", amp.Integer()),
        (b"server_time_ms", amp.Integer()),
    ]


class PublishEvent(GatewayCommand):
    """Publish one event. The answer means that the event is durable.

    ``timestamp`` is an RFC 3339 text with offset. ``event_id`` is the idempotency key: published again within
    5 minutes, the event is answered with its first position and delivered once. ``source_seq`` is the number of the
    event within its source, after ``Hello``: an event that was stored before is answered, however long ago, and
    delivered once.
    """

    arguments: ClassVar = [
        (b"tenant_id", amp.Unicode()),
        (b"type", amp.Unicode()),
        (b"payload", JsonText()),
        (b"user_id", amp.Unicode(optional=True)),
        (b"event_id", amp.Unicode(optional=True)),
        (b"timestamp", amp.Unicode(optional=True)),
        (b"persist", amp.Boolean(optional=True)),
        (b"source_seq", amp.Integer(optional=True)),
    ]
    response: ClassVar = [(b"epoch", amp.Unicode()), (b"seq", amp.Integer()), (b"event_id", amp.Unicode())]


class PublishBatch(GatewayCommand):
    """Publish at most 1,000 events, in order. An invalid event does not affect the others.

    ``events`` is a JSON list of objects with the arguments of ``PublishEvent``, in which ``payload`` is an object.
    ``results`` is a JSON list with one entry per event, in the same order: its ``seq``, an integer, or
    ``{"code": AMP error code, "message": text}``. ``epoch`` is the epoch of every published event; it is empty when
    none was published, or when the events, being of several tenants, do not share one.
    """

    arguments: ClassVar = [(b"events", JsonText())]
    response: ClassVar = [(b"epoch", amp.Unicode()), (b"results", JsonText())]


class SyncState(GatewayCommand):
    """Tell all entities of the source in a tenant and scope; the gateway publishes the events of the difference.

    It is sent in parts, one after the other, each with the same ``source_seq``. It takes effect with the last one,
    after every event with a lower number and before any with a higher one.

    Args of the wire:
        scope: ``agents``, ``calls``, ``queues``, ``members`` or ``chats``.
        part: from 1; ``last``: whether it is the last one.
        entities: JSON list of at most 1,000 entities; their fields are in ``docs/senders.rst``.
        timestamp: RFC 3339; that of the events; by default when the last part arrives.

    Response:
        epoch, seq: the position of the last event that was published; 0 if there was none, or if the sync was known.
        published: the number of events; all three are empty or 0 for a part that is not the last one.
    """

    arguments: ClassVar = [
        (b"tenant_id", amp.Unicode()),
        (b"scope", amp.Unicode()),
        (b"source_seq", amp.Integer()),
        (b"part", amp.Integer()),
        (b"last", amp.Boolean()),
        (b"entities", JsonText()),
        (b"timestamp", amp.Unicode(optional=True)),
    ]
    response: ClassVar = [(b"epoch", amp.Unicode()), (b"seq", amp.Integer()), (b"published", amp.Integer())]


class ListSources(GatewayCommand):
    """Return the registered sources of a tenant; without ``tenant_id`` of all, with a credential for all tenants.

    ``sources`` is a JSON list of at most 500 objects: ``source``, ``kind``, ``version``, ``owner``, ``tenants`` (at
    most 20 of ``tenant_count``), ``capabilities``, ``generation``, and ``state``: ``connected``, ``waiting`` (its lease
    has not ended) or ``down``. ``left_out`` is the number of sources that are not in the list.
    """

    arguments: ClassVar = [(b"tenant_id", amp.Unicode(optional=True))]
    response: ClassVar = [(b"sources", JsonText()), (b"left_out", amp.Integer())]


class ForgetSource(GatewayCommand):
    """Release the name of a source in a tenant; without ``tenant_id`` that of a source of the installation.

    Requires a credential for all tenants. ``released`` is the number of tenants in which the name was released. Fails
    with ``SOURCE_IN_USE`` until the lease of the source has ended.
    """

    arguments: ClassVar = [(b"source", amp.Unicode()), (b"tenant_id", amp.Unicode(optional=True))]
    response: ClassVar = [(b"released", amp.Integer())]


class AddUser(GatewayCommand):
    """Add a user who signs in at the gateway's pages.

    Requires a credential for all tenants, as all commands about users, sessions and screens.

    ``user`` is a JSON object: ``name``, ``tenant_id``, ``user_id``, ``role``, ``password`` (a record of
    ``auth.passwords``, never a password), and optionally ``display_name`` and ``queues`` (null: all).
    """

    arguments: ClassVar = [(b"user", JsonText())]
    response: ClassVar = []


class ChangeUser(GatewayCommand):
    """Change a user. The user's sessions end, the tokens are refused, and the connections are closed.

    ``change`` is a JSON object with any of ``role``, ``queues``, ``display_name`` and ``password``.
    """

    arguments: ClassVar = [(b"name", amp.Unicode()), (b"change", JsonText())]
    response: ClassVar = [(b"closed", amp.Integer())]


class RemoveUser(GatewayCommand):
    """Remove a user; what ends is as with ``ChangeUser``."""

    arguments: ClassVar = [(b"name", amp.Unicode())]
    response: ClassVar = [(b"closed", amp.Integer())]


class ListUsers(GatewayCommand):
    """Return users as a JSON list, by name, without their passwords; at most 200 whose names follow ``after``."""

    arguments: ClassVar = [(b"tenant_id", amp.Unicode(optional=True)), (b"after", amp.Unicode(optional=True))]
    response: ClassVar = [(b"users", JsonText()), (b"more", amp.Boolean())]


class ListSessions(GatewayCommand):
    """Return sessions as a JSON list, by ``session``, their public identifier; at most 200 that follow ``after``."""

    arguments: ClassVar = [
        (b"tenant_id", amp.Unicode(optional=True)),
        (b"name", amp.Unicode(optional=True)),
        (b"after", amp.Unicode(optional=True)),
    ]
    response: ClassVar = [(b"sessions", JsonText()), (b"more", amp.Boolean())]


class EndSessions(GatewayCommand):
    """End the sessions of the user ``name``, or ``session``; what else ends is as with ``ChangeUser``."""

    arguments: ClassVar = [(b"name", amp.Unicode(optional=True)), (b"session", amp.Unicode(optional=True))]
    response: ClassVar = [(b"sessions", amp.Integer()), (b"closed", amp.Integer())]


class ApprovePairing(GatewayCommand):
    """Let the screen that shows ``code`` sign in, with these claims; ``queues`` is a JSON list. Return its network."""

    arguments: ClassVar = [
        (b"code", amp.Unicode()),
        (b"tenant_id", amp.Unicode()),
        (b"role", amp.Unicode()),
        (b"queues", JsonText(optional=True)),
        (b"name", amp.Unicode(optional=True)),
    ]
    response: ClassVar = [(b"network", amp.Unicode())]


class UserOnline(GatewayCommand):
    """Return whether a user has open connections, and how many."""

    arguments: ClassVar = [(b"tenant_id", amp.Unicode()), (b"user_id", amp.Unicode())]
    response: ClassVar = [(b"online", amp.Boolean()), (b"connections", amp.Integer())]


class DisconnectUser(GatewayCommand):
    """Close all connections of a user with code 4503 and return how many; ``reason`` goes to the gateway's log."""

    arguments: ClassVar = [
        (b"tenant_id", amp.Unicode()),
        (b"user_id", amp.Unicode()),
        (b"reason", amp.Unicode(optional=True)),
    ]
    response: ClassVar = [(b"closed", amp.Integer())]


class RevokeToken(GatewayCommand):
    """Refuse a token (``jti``), or all tokens issued to ``user_id`` until now, and close their connections.

    At least one of ``jti`` and ``user_id`` is required.
    """

    arguments: ClassVar = [
        (b"tenant_id", amp.Unicode()),
        (b"jti", amp.Unicode(optional=True)),
        (b"user_id", amp.Unicode(optional=True)),
    ]
    response: ClassVar = [(b"closed", amp.Integer())]


class Subscribe(GatewayCommand):
    """Have the gateway call ``ClientEvent`` on this connection from now on.

    ``kinds`` is a JSON list of event names, prefixes as ``chat.*``, or ``*``. It replaces the previous list; an empty
    list ends the subscription. With ``command`` among them, which no prefix includes, the gateway also calls
    ``Command`` for the source that the peer has named in ``Hello``.
    """

    arguments: ClassVar = [(b"kinds", JsonText())]
    response: ClassVar = []


class ClientEvent(GatewayCommand):
    """Called by the gateway: a visitor or an agent sent a message, or a presence changed.

    The peer's answer acknowledges the event, and so does an error, except for ``OVERLOADED``, ``UNAVAILABLE`` and
    errors that are not declared: after these, and without any answer, the event is sent again with the same
    ``event_id``.
    """

    arguments: ClassVar = [
        (b"tenant_id", amp.Unicode()),
        (b"type", amp.Unicode()),
        (b"payload", JsonText()),
        (b"user_id", amp.Unicode(optional=True)),
        (b"event_id", amp.Unicode()),
    ]
    response: ClassVar = []


class Command(GatewayCommand):
    """Called by the gateway, on a connection whose ``kinds`` include ``command``: the source is to carry this out.

    The answer means that the source has taken the command: it will send ``CommandOutcome``, and carries the command out
    once at most. An error means that it was not taken, and is not carried out; ``OVERLOADED``: the source is busy.

    ``payload`` is a JSON object with the fields of the command ``name``. ``user_id`` and ``role`` are those of the
    person or service that asks. ``extension`` is the claim of its token, if the token has one: its own device, which
    the source need not look for among its hot desks. Nothing may be begun after ``deadline_ms``, Unix milliseconds of
    the gateway; ``Hello`` and ``Ping`` answer its time.
    """

    arguments: ClassVar = [
        (b"command_id", amp.Unicode()),
        (b"tenant_id", amp.Unicode()),
        (b"name", amp.Unicode()),
        (b"payload", JsonText()),
        (b"user_id", amp.Unicode()),
        (b"role", amp.Unicode()),
        (b"extension", amp.Unicode(optional=True)),
        (b"deadline_ms", amp.Integer()),
    ]
    response: ClassVar = []


class CommandOutcome(GatewayCommand):
    """Tell how a command of the source ended, after ``Hello``, in the order of the source's events.

    ``tenant_id``, ``user_id`` and ``command_id`` are those of ``Command``; ``source_seq`` is of the same numbering as
    that of events. ``state`` is ``done`` or ``failed``. ``code`` says why it failed, ``message`` says it for the person
    who asked, and ``data`` is a JSON text of at most 4,096 bytes. ``timestamp`` is when it ended (RFC 3339).

    ``accepted`` is false if the command had its outcome already, or is not known any more: this one is dropped, and its
    number counts as used.
    """

    arguments: ClassVar = [
        (b"tenant_id", amp.Unicode()),
        (b"user_id", amp.Unicode()),
        (b"command_id", amp.Unicode()),
        (b"source_seq", amp.Integer(optional=True)),
        (b"state", amp.Unicode()),
        (b"code", amp.Unicode(optional=True)),
        (b"message", amp.Unicode(optional=True)),
        (b"data", JsonText(optional=True)),
        (b"timestamp", amp.Unicode(optional=True)),
    ]
    response: ClassVar = [(b"accepted", amp.Boolean())]


class Ping(GatewayCommand):
    """Return the version and the node id of the gateway that answers, and its Unix time in milliseconds.

    ``waiting`` is the number of events that wait at the sender for an answer or to be sent; it is shown to operators.
    """

    arguments: ClassVar = [(b"waiting", amp.Integer(optional=True))]
    response: ClassVar = [
        (b"version", amp.Unicode()),
        (b"node", amp.Unicode()),
        (b"server_time_ms", amp.Integer()),
    ]
