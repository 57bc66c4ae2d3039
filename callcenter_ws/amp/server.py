"""What the gateway answers to each command of a daemon (PROTOCOL section 6)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted.logger import Logger

from callcenter_ws import __version__
from callcenter_ws.amp import commands
from callcenter_ws.amp.commands import BATCH_EVENTS, GatewayCommand
from callcenter_ws.amp.credentials import Credentials
from callcenter_ws.amp.session import PeerSession, Responder
from callcenter_ws.amp.subscription import Subscriptions, wanted_events
from callcenter_ws.broker.ingest import EventBroadcaster
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.event import MAX_ID_LENGTH
from callcenter_ws.events.principal import EVERY_TENANT, Principal
from callcenter_ws.interfaces import Directory, PublishResult
from callcenter_ws.runtime.json import MAX_BATCH_CONTAINERS, MAX_CONTAINERS, decode_json, encode_json

_ERROR_LENGTH = 200

_log = Logger()


class GatewayCommands:
    """The responders, shared by all sessions.

    Args:
        cut_off_revoked: ends the sessions whose own token is revoked by now, and returns how many.

    Attributes:
        responders: by the command's name on the wire.
    """

    def __init__(
        self,
        broadcaster: EventBroadcaster,
        directory: Directory,
        credentials: Credentials,
        subscriptions: Subscriptions,
        node_id: str,
        cut_off_revoked: Callable[[], int],
    ) -> None:
        self._broadcaster = broadcaster
        self._directory = directory
        self._credentials = credentials
        self._subscriptions = subscriptions
        self._node_id = node_id
        self._cut_off_revoked = cut_off_revoked
        answers: list[tuple[type[GatewayCommand], Responder]] = [
            (commands.Authenticate, self.authenticate),
            (commands.PublishEvent, self.publish_event),
            (commands.PublishBatch, self.publish_batch),
            (commands.UserOnline, self.user_online),
            (commands.DisconnectUser, self.disconnect_user),
            (commands.RevokeToken, self.revoke_token),
            (commands.Subscribe, self.subscribe),
            (commands.Ping, self.ping),
        ]
        self.responders: Mapping[bytes, tuple[type[GatewayCommand], Responder]] = {
            command.commandName: (command, responder) for command, responder in answers
        }

    async def authenticate(self, peer: PeerSession, *, token: str) -> dict[str, Any]:
        """Learn who the peer is. A token that is no good leaves it who it was."""
        try:
            principal = self._credentials.verify(token)
        except Refusal:
            peer.token_refused()
            raise
        before = peer.principal
        if before is not None and peer.subscription is not None and _name(before) != _name(principal):
            self._subscriptions.close(peer.subscription)
            peer.subscription = None
        peer.authenticated(principal)
        shown = {
            "tenant_id": principal.tenant_id,
            "user_id": principal.user_id,
            "role": principal.role,
            "expires_at": principal.expires_at,
        }
        return {"principal": encode_json(shown)}

    async def publish_event(self, peer: PeerSession, *, payload: bytes, **arguments: Any) -> dict[str, Any]:
        """Publish one event."""
        draft = {name: value for name, value in arguments.items() if value is not None}
        draft["payload"] = _json("payload", payload)
        with peer.carrying(events=1):
            (outcome,) = await self._broadcaster.publish_batch([draft], authority=_principal(peer).tenant_id)
        if isinstance(outcome, Refusal):
            raise outcome.anew()
        return {"epoch": outcome.epoch, "seq": outcome.seq, "event_id": outcome.event_id}

    async def publish_batch(self, peer: PeerSession, *, events: bytes) -> dict[str, Any]:
        """Publish many events: a position or an error for each."""
        drafts = _json("events", events, MAX_BATCH_CONTAINERS)
        if not isinstance(drafts, list):
            raise Refusal(ErrorCode.INVALID_EVENT, "events: expected a list")
        if len(drafts) > BATCH_EVENTS:
            raise Refusal(ErrorCode.TOO_LARGE, f"events: {len(drafts)} events, the limit is {BATCH_EVENTS}")
        with peer.carrying(events=len(drafts)):
            outcomes = await self._broadcaster.publish_batch(drafts, authority=_principal(peer).tenant_id)
        epochs = {outcome.epoch for outcome in outcomes if isinstance(outcome, PublishResult)}
        results = [_result(outcome) for outcome in outcomes]
        return {"epoch": epochs.pop() if len(epochs) == 1 else "", "results": encode_json(results)}

    async def user_online(self, peer: PeerSession, *, tenant_id: str, user_id: str) -> dict[str, Any]:
        """Say whether a user is connected."""
        _check_identifiers(tenant_id=tenant_id, user_id=user_id)
        _check_authority(peer, tenant_id)
        presence = await self._directory.user_presence(tenant_id, user_id)
        return {"online": presence.online, "connections": presence.connections}

    async def disconnect_user(
        self, peer: PeerSession, *, tenant_id: str, user_id: str, reason: str | None
    ) -> dict[str, Any]:
        """Close a user's connections."""
        _check_identifiers(tenant_id=tenant_id, user_id=user_id)
        _check_authority(peer, tenant_id)
        closed = await self._directory.disconnect_user(tenant_id, user_id)
        _log.info(
            "AMP peer {peer} disconnected user {user_id!r} of {tenant_id!r} ({closed} connections): {reason!r}",
            peer=peer.name,
            user_id=user_id,
            tenant_id=tenant_id,
            closed=closed,
            reason=(reason or "no reason given")[:_ERROR_LENGTH],
        )
        return {"closed": closed}

    async def revoke_token(
        self, peer: PeerSession, *, tenant_id: str, jti: str | None, user_id: str | None
    ) -> dict[str, Any]:
        """Refuse a token, or a user's tokens, from now on, and end what uses them."""
        _check_identifiers(tenant_id=tenant_id, jti=jti, user_id=user_id)
        if tenant_id != EVERY_TENANT or not _principal(peer).every_tenant:
            _check_authority(peer, tenant_id)
        closed = await self._directory.revoke(tenant_id, jti=jti, user_id=user_id)
        closed += self._cut_off_revoked()
        revoked = {"token": jti, "the tokens of user": user_id}
        _log.info(
            "AMP peer {peer} revoked {what} of {tenant_id!r} ({closed} connections)",
            peer=peer.name,
            what=" and ".join(f"{kind} {name!r}" for kind, name in revoked.items() if name is not None),
            tenant_id=tenant_id,
            closed=closed,
        )
        return {"closed": closed}

    async def subscribe(self, peer: PeerSession, *, kinds: bytes) -> dict[str, Any]:
        """Call the peer with what clients say from now on."""
        wanted = wanted_events(_json("kinds", kinds))
        principal = _principal(peer)
        if peer.subscription is not None and peer.subscription.key[2] != wanted:
            self._subscriptions.close(peer.subscription)
            peer.subscription = None
        if wanted and peer.subscription is None:
            peer.subscription = self._subscriptions.open(principal, wanted)
            peer.subscription.attach(peer)
        return {}

    async def ping(self, peer: PeerSession) -> dict[str, Any]:
        """Say who answers."""
        return {"version": __version__, "node": self._node_id}


def _result(outcome: PublishResult | Refusal) -> int | dict[str, str]:
    if isinstance(outcome, PublishResult):
        return outcome.seq
    return {"code": outcome.entry.amp_code.decode(), "message": outcome.message[:_ERROR_LENGTH]}


def _json(name: str, text: bytes, max_containers: int = MAX_CONTAINERS) -> Any:
    try:
        return decode_json(text, max_containers)
    except Refusal as refusal:
        raise Refusal(refusal.code, f"{name}: {refusal.message}") from None


def _name(principal: Principal) -> tuple[str, str]:
    return principal.tenant_id, principal.user_id


def _principal(peer: PeerSession) -> Principal:
    if peer.principal is None:
        raise Refusal(ErrorCode.UNAUTHORIZED, "call Authenticate with a valid token first")
    return peer.principal


def _check_identifiers(**identifiers: str | None) -> None:
    for name, value in identifiers.items():
        if value is not None and not 1 <= len(value) <= MAX_ID_LENGTH:
            raise Refusal(ErrorCode.INVALID_EVENT, f"{name}: expected a string of 1 to {MAX_ID_LENGTH} characters")


def _check_authority(peer: PeerSession, tenant_id: str) -> None:
    if tenant_id == EVERY_TENANT:
        raise Refusal(ErrorCode.INVALID_EVENT, "tenant_id: name one tenant")
    if _principal(peer).tenant_id not in (EVERY_TENANT, tenant_id):
        raise Refusal(ErrorCode.FORBIDDEN, "tenant_id: the token speaks for another tenant")
