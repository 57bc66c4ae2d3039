"""The responders of the commands that daemons call; ``amp.commands`` declares these."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

from callcenter_ws import __version__
from callcenter_ws.amp import commands
from callcenter_ws.amp.account_responders import AccountResponders
from callcenter_ws.amp.audit_fields import asked_by
from callcenter_ws.amp.authentication_throttle import AuthenticationThrottle
from callcenter_ws.amp.authenticator import PeerAuthenticator
from callcenter_ws.amp.command_responders import CommandExchange
from callcenter_ws.amp.commands import MAX_BATCH_EVENTS, GatewayCommand
from callcenter_ws.amp.daemon_subscription import DaemonSubscriptions, matching_event_types
from callcenter_ws.amp.session import PeerSession, Responder
from callcenter_ws.amp.source_responders import SourceResponders
from callcenter_ws.broker.batch import (
    EVENTS_PER_TURN,
    Outcome,
    Slices,
    decode_slices,
    is_long_list,
    publish_in_slices,
    slices_of,
)
from callcenter_ws.broker.ingest import EventBroadcaster
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.audit import AuditAction
from callcenter_ws.events.commands import COMMAND
from callcenter_ws.events.identifiers import identifier_problem
from callcenter_ws.events.principal import EVERY_TENANT, Principal
from callcenter_ws.events.source_rules import MAX_NUMBER
from callcenter_ws.interfaces import Audit, Directory, PublishResult
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.json import MAX_BATCH_CONTAINERS, MAX_CONTAINERS, JsonValue, decode_json, encode_json
from callcenter_ws.runtime.log_fields import Name
from callcenter_ws.runtime.refusal_log import RefusalLog
from callcenter_ws.sources.publishing import Growth

_MAX_TEXT_LENGTH = 200
_MAX_MESSAGE_LENGTH = 400
"""Characters of the message of a refused event in a batch; all results must fit in one answer."""


class CommandResponders:
    """The responders of all commands, shared by all sessions.

    Each takes the session and the command's arguments and returns the command's response; both have the types of the
    declaration in ``amp.commands``. Each raises ``Refusal`` for an expected failure.

    Args:
        disconnect_revoked: disconnects the sessions whose own token has been revoked, and returns how many.
        log: the log of commands.
        audit: where disconnections and revocations are recorded.

    Attributes:
        by_name: each command with its responder, by the command's name on the wire.
    """

    def __init__(
        self,
        broadcaster: EventBroadcaster,
        directory: Directory,
        authenticator: PeerAuthenticator,
        throttle: AuthenticationThrottle,
        subscriptions: DaemonSubscriptions,
        sources: SourceResponders,
        accounts: AccountResponders,
        exchange: CommandExchange,
        clock: Clock,
        node_id: str,
        disconnect_revoked: Callable[[], int],
        log: RefusalLog,
        audit: Audit,
    ) -> None:
        self._broadcaster = broadcaster
        self._directory = directory
        self._authenticator = authenticator
        self._throttle = throttle
        self._subscriptions = subscriptions
        self._sources = sources
        self._exchange = exchange
        self._clock = clock
        self._node_id = node_id
        self._disconnect_revoked = disconnect_revoked
        self._log = log
        self._audit = audit
        responders: list[tuple[type[GatewayCommand], Responder]] = [
            (commands.Authenticate, self.authenticate),
            (commands.Hello, sources.hello),
            (commands.PublishEvent, self.publish_event),
            (commands.PublishBatch, self.publish_batch),
            (commands.SyncState, sources.sync_state),
            (commands.CommandOutcome, exchange.command_outcome),
            (commands.ListSources, sources.list_sources),
            (commands.ForgetSource, sources.forget_source),
            (commands.AddUser, accounts.add_user),
            (commands.ChangeUser, accounts.change_user),
            (commands.RemoveUser, accounts.remove_user),
            (commands.ListUsers, accounts.list_users),
            (commands.ListSessions, accounts.list_sessions),
            (commands.EndSessions, accounts.end_sessions),
            (commands.ApprovePairing, accounts.approve_pairing),
            (commands.UserOnline, self.user_online),
            (commands.DisconnectUser, self.disconnect_user),
            (commands.RevokeToken, self.revoke_token),
            (commands.Subscribe, self.subscribe),
            (commands.Ping, self.ping),
        ]
        self.by_name: Mapping[bytes, tuple[type[GatewayCommand], Responder]] = {
            command.commandName: (command, responder) for command, responder in responders
        }

    async def authenticate(self, peer: PeerSession, *, token: str) -> dict[str, object]:
        """Set the principal of the session. A refused token leaves it unchanged."""
        kind = self._authenticator.kind_of(token)
        try:
            await self._throttle.admit(peer, peer.network, kind)
        except Refusal:
            peer.disconnect("too many refused tokens of its network")
            raise
        if peer.is_ended:
            raise Refusal(ErrorCode.UNAVAILABLE, "the connection has ended")
        try:
            principal = self._authenticator.verify(token)
        except Refusal as refusal:
            # A token whose key is being fetched is no guess: the daemons of this network must not be slowed down.
            if refusal.code is not ErrorCode.TRY_LATER:
                self._throttle.refused(peer.network, kind)
            peer.token_refused(refusal)
            raise
        self._throttle.accepted(peer.network, kind)
        self._sources.check_owner(peer, principal)
        before = peer.principal
        if before is not None and peer.subscription is not None and _user(before) != _user(principal):
            self._subscriptions.close(peer.subscription)
            peer.subscription = None
        peer.authenticated(principal)
        fields = {
            "tenant_id": principal.tenant_id,
            "user_id": principal.user_id,
            "role": principal.role,
            "expires_at": principal.expires_at,
        }
        return {"principal": encode_json(fields)}

    async def publish_event(self, peer: PeerSession, *, payload: bytes, **arguments: object) -> dict[str, object]:
        """Publish one event and return its position."""
        draft = {name: value for name, value in arguments.items() if value is not None}
        try:
            draft["payload"] = _json("payload", payload)
        except Refusal as refusal:
            if "source_seq" not in draft:
                raise
            # Refused after its number was stored.
            draft["payload"] = refusal
        with peer.in_flight(events=1):
            (outcome,) = await self._publish(peer, [draft])
        if isinstance(outcome, Refusal):
            raise outcome.copy()
        return {"epoch": outcome.epoch, "seq": outcome.seq, "event_id": outcome.event_id}

    async def publish_batch(self, peer: PeerSession, *, events: bytes) -> dict[str, object]:
        """Publish several events and return a ``seq`` or an error for each."""
        if is_long_list(events):
            outcomes = await self._publish_long_list(peer, events)
        else:
            outcomes = await self._publish_list(peer, events)
        # Events that are accepted but not published have no epoch.
        epochs = {outcome.epoch for outcome in outcomes if isinstance(outcome, PublishResult) and outcome.epoch}
        results = [_result(outcome) for outcome in outcomes]
        return {"epoch": epochs.pop() if len(epochs) == 1 else "", "results": encode_json(results)}

    async def _publish_list(self, peer: PeerSession, events: bytes) -> list[Outcome]:
        drafts = _json("events", events, MAX_BATCH_CONTAINERS)
        if not isinstance(drafts, list):
            raise Refusal(ErrorCode.INVALID_EVENT, "events: expected a list")
        if len(drafts) > MAX_BATCH_EVENTS:
            raise Refusal(ErrorCode.TOO_LARGE, f"events: {len(drafts)} events, the limit is {MAX_BATCH_EVENTS}")
        with peer.in_flight(events=len(drafts)):
            if len(drafts) <= EVENTS_PER_TURN:
                return await self._publish(peer, drafts)
            with _paused(peer) as resume:
                return await self._publish_slices(peer, slices_of(drafts), resume)

    async def _publish_long_list(self, peer: PeerSession, events: bytes) -> list[Outcome]:
        # Counted from the beginning: the connection of a peer with nothing in flight may be closed.
        with _paused(peer) as resume, peer.in_flight(events=1):
            is_source = peer.source is not None or peer.says_hello
            try:
                slices = await decode_slices(events, self._clock, keeps_fields=is_source)
            except Refusal as refusal:
                raise Refusal(refusal.code, f"events: {refusal.message}") from None
            with peer.in_flight(events=sum(map(len, slices)) - 1):
                return await self._publish_slices(peer, slices, resume)

    async def _publish_slices(self, peer: PeerSession, slices: Slices, submitted: Callable[[], None]) -> list[Outcome]:
        publish = partial(self._publish, peer, growth=Growth())
        return await publish_in_slices(publish, slices, self._clock, submitted)

    async def _publish(
        self, peer: PeerSession, drafts: Sequence[object], growth: Growth | None = None
    ) -> list[Outcome]:
        if peer.source is None and not peer.says_hello:
            return await self._broadcaster.publish_batch(drafts, authority=_principal(peer).tenant_id)
        return await self._sources.publish(peer, drafts, growth)

    async def user_online(self, peer: PeerSession, *, tenant_id: str, user_id: str) -> dict[str, object]:
        """Return whether a user is connected, and over how many connections."""
        _check_identifiers(tenant_id=tenant_id, user_id=user_id)
        _check_authority(peer, tenant_id)
        presence = await self._directory.user_presence(tenant_id, user_id)
        return {"online": presence.online, "connections": presence.connections}

    async def disconnect_user(
        self, peer: PeerSession, *, tenant_id: str, user_id: str, reason: str | None
    ) -> dict[str, object]:
        """Close the connections of a user and return how many."""
        _check_identifiers(tenant_id=tenant_id, user_id=user_id)
        _check_authority(peer, tenant_id)
        closed = await self._directory.disconnect_user(tenant_id, user_id)
        self._audit.record(
            AuditAction.USER_DISCONNECTED, tenant_id=tenant_id, user_id=user_id, closed=closed, **asked_by(peer)
        )
        self._log.write(
            peer.name,
            "AMP peer {peer} disconnected {tenant}/{user} ({closed} connections): {reason!r}",
            peer=peer.name,
            tenant=Name(tenant_id),
            user=Name(user_id),
            closed=closed,
            reason=(reason or "no reason given")[:_MAX_TEXT_LENGTH],
        )
        return {"closed": closed}

    async def revoke_token(
        self, peer: PeerSession, *, tenant_id: str, jti: str | None, user_id: str | None
    ) -> dict[str, object]:
        """Revoke a token or the tokens of a user, close the connections that use them, and return how many."""
        _check_identifiers(tenant_id=tenant_id, jti=jti, user_id=user_id)
        for_all = _principal(peer).every_tenant
        if tenant_id != EVERY_TENANT or not for_all:
            _check_authority(peer, tenant_id)
        closed = await self._directory.revoke(tenant_id, jti=jti, user_id=user_id, for_all=for_all)
        closed += self._disconnect_revoked()
        self._audit.record(
            AuditAction.REVOKED, tenant_id=tenant_id, user_id=user_id, jti=jti, closed=closed, **asked_by(peer)
        )
        revoked = {"token": jti, "the tokens of user": user_id}
        self._log.write(
            peer.name,
            "AMP peer {peer} revoked {revoked} of tenant {tenant} ({closed} connections)",
            peer=peer.name,
            revoked=" and ".join(f"{kind} {name!r}" for kind, name in revoked.items() if name is not None),
            tenant=Name(tenant_id),
            closed=closed,
        )
        return {"closed": closed}

    async def subscribe(self, peer: PeerSession, *, kinds: bytes) -> dict[str, object]:
        """Replace the subscription of the peer."""
        wanted = _json("kinds", kinds)
        takes_commands = isinstance(wanted, list) and COMMAND in wanted
        if takes_commands:
            wanted = [kind for kind in wanted if kind != COMMAND]
        event_types = matching_event_types(wanted)
        self._exchange.subscribe(peer, wanted=takes_commands)
        principal = _principal(peer)
        if peer.subscription is not None and peer.subscription.key.event_types != event_types:
            self._subscriptions.close(peer.subscription)
            peer.subscription = None
        if event_types and peer.subscription is None:
            peer.subscription = self._subscriptions.open(principal, event_types)
            peer.subscription.attach(peer)
        return {}

    async def ping(self, peer: PeerSession, *, waiting: int | None) -> dict[str, object]:
        """Return the version and the node id of this gateway, and its time."""
        if waiting is not None:
            peer.waiting_events = min(max(0, waiting), MAX_NUMBER)
        return {"version": __version__, "node": self._node_id, "server_time_ms": int(self._clock.time() * 1_000)}


@contextmanager
def _paused(peer: PeerSession) -> Iterator[Callable[[], None]]:
    """Read nothing from a peer until its batch is submitted: what follows must not overtake it.

    The context is a function that resumes reading, to be called then; the end of the context does it otherwise.
    """
    is_paused = True
    peer.pause_reading("batch")

    def resume() -> None:
        nonlocal is_paused
        # Only once: when the batch is answered, reading may be paused for the next one.
        if is_paused:
            is_paused = False
            peer.resume_reading("batch")

    try:
        yield resume
    finally:
        resume()


def _result(outcome: PublishResult | Refusal) -> int | dict[str, str]:
    if isinstance(outcome, PublishResult):
        return outcome.seq
    return {"code": outcome.entry.amp_code.decode(), "message": outcome.message[:_MAX_MESSAGE_LENGTH]}


def _json(name: str, text: bytes, max_containers: int = MAX_CONTAINERS) -> JsonValue:
    """Decode a JSON argument."""
    try:
        return decode_json(text, max_containers)
    except Refusal as refusal:
        raise Refusal(refusal.code, f"{name}: {refusal.message}") from None


def _user(principal: Principal) -> tuple[str, str]:
    return principal.tenant_id, principal.user_id


def _principal(peer: PeerSession) -> Principal:
    if peer.principal is None:
        raise Refusal(ErrorCode.UNAUTHORIZED, "call Authenticate with a valid token first")
    return peer.principal


def _check_identifiers(**identifiers: str | None) -> None:
    for name, value in identifiers.items():
        if value is not None and (problem := identifier_problem(value)):
            raise Refusal(ErrorCode.INVALID_EVENT, f"{name}: {problem}")


def _check_authority(peer: PeerSession, tenant_id: str) -> None:
    if tenant_id == EVERY_TENANT:
        raise Refusal(ErrorCode.INVALID_EVENT, "tenant_id: name one tenant")
    if _principal(peer).tenant_id not in (EVERY_TENANT, tenant_id):
        raise Refusal(ErrorCode.FORBIDDEN, "tenant_id: the token is for another tenant")
