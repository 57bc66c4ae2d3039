"""The responders of the commands about the users of the gateway's pages, their sessions, and screens."""

from __future__ import annotations

from typing import TypeVar

import msgspec
from twisted.logger import Logger

from callcenter_ws.amp.audit_fields import asked_by
from callcenter_ws.amp.session import PeerSession
from callcenter_ws.auth.account_operations import AccountOperations, UserChange
from callcenter_ws.auth.account_rules import normal_name
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.audit import AuditAction
from callcenter_ws.interfaces import Audit, Grant, SessionRecord, UserRecord
from callcenter_ws.runtime.json import JsonObject, encode_json
from callcenter_ws.runtime.log_fields import Name

MAX_LISTED = 200
"""Users, or sessions, in one answer, at most."""

MAX_LISTED_BYTES = 393_216
"""Bytes of them, at most: one has some 6 KB if it may see many queues, and a text of AMP has 512 KiB."""

_log = Logger("callcenter_ws")


class NewUser(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The user of ``AddUser``; see ``interfaces.UserRecord``."""

    name: str
    tenant_id: str
    user_id: str
    role: str
    password: str
    display_name: str = ""
    queues: tuple[str, ...] | None = None

    def record(self) -> UserRecord:
        """Return the user as the store has it."""
        return UserRecord(**msgspec.structs.asdict(self), changed_at=0.0)


class AccountResponders:
    """Answers the commands about users, sessions and screens.

    All of them require a credential for all tenants: one of a tenant must not make supervisors.
    """

    def __init__(self, operations: AccountOperations, audit: Audit) -> None:
        self._operations = operations
        self._audit = audit

    async def add_user(self, peer: PeerSession, *, user: bytes) -> dict[str, object]:
        """Add a user."""
        _check_operator(peer)
        record = _decoded("user", user, NewUser).record()
        await self._operations.add_user(record)
        self._audit.record(
            AuditAction.USER_ADDED,
            name=record.name,
            tenant_id=record.tenant_id,
            user_id=record.user_id,
            role=record.role,
            queues=record.queues,
            **asked_by(peer),
        )
        _log.info(
            "AMP peer {peer} added the user {name} of tenant {tenant} as {role}",
            peer=peer.name,
            name=Name(record.name),
            tenant=Name(record.tenant_id),
            role=record.role,
        )
        return {}

    async def change_user(self, peer: PeerSession, *, name: str, change: bytes) -> dict[str, object]:
        """Change a user."""
        _check_operator(peer)
        decoded = _decoded("change", change, UserChange)
        closed = await self._operations.change_user(name, decoded)
        self._audit.record(
            AuditAction.USER_CHANGED,
            name=normal_name(name),
            fields=_given(decoded),
            role=None if decoded.role is msgspec.UNSET else decoded.role,
            queues=None if decoded.queues is msgspec.UNSET else decoded.queues,
            closed=closed,
            **asked_by(peer),
        )
        _log.info(
            "AMP peer {peer} changed the user {name}: {fields} ({closed} connections)",
            peer=peer.name,
            name=Name(name),
            fields=", ".join(_given(decoded)),
            closed=closed,
        )
        return {"closed": closed}

    async def remove_user(self, peer: PeerSession, *, name: str) -> dict[str, object]:
        """Remove a user."""
        _check_operator(peer)
        closed = await self._operations.remove_user(name)
        self._audit.record(AuditAction.USER_REMOVED, name=normal_name(name), closed=closed, **asked_by(peer))
        _log.info(
            "AMP peer {peer} removed the user {name} ({closed} connections)",
            peer=peer.name,
            name=Name(name),
            closed=closed,
        )
        return {"closed": closed}

    async def list_users(self, peer: PeerSession, *, tenant_id: str | None, after: str | None) -> dict[str, object]:
        """Return users, by name."""
        _check_operator(peer)
        found = await self._operations.users(tenant_id, after or "", MAX_LISTED + 1)
        users, is_all = _page([_described_user(user) for user in found])
        return {"users": users, "more": not is_all}

    async def list_sessions(
        self, peer: PeerSession, *, tenant_id: str | None, name: str | None, after: str | None
    ) -> dict[str, object]:
        """Return sessions, by their public identifier."""
        _check_operator(peer)
        found = await self._operations.sessions(tenant_id, name, after or "", MAX_LISTED + 1)
        sessions, is_all = _page([_described_session(session) for session in found])
        return {"sessions": sessions, "more": not is_all}

    async def end_sessions(self, peer: PeerSession, *, name: str | None, session: str | None) -> dict[str, object]:
        """End the sessions of a user, or one session."""
        _check_operator(peer)
        if (name is None) is (session is None):
            raise Refusal(ErrorCode.INVALID_MESSAGE, "expected either name or session")
        if name is not None:
            ended, closed = await self._operations.end_sessions_of(name)
        else:
            ended, closed = await self._operations.end_session(session or "")
        self._audit.record(
            AuditAction.SESSIONS_ENDED,
            name=None if name is None else normal_name(name),
            session=session,
            sessions=ended,
            closed=closed,
            **asked_by(peer),
        )
        _log.info(
            "AMP peer {peer} signed {name} out: {ended} sessions ({closed} connections)",
            peer=peer.name,
            name=Name(name or session or ""),
            ended=ended,
            closed=closed,
        )
        return {"sessions": ended, "closed": closed}

    async def approve_pairing(
        self, peer: PeerSession, *, code: str, tenant_id: str, role: str, queues: bytes | None, name: str | None
    ) -> dict[str, object]:
        """Let the screen that shows a code sign in. The code is not logged: until it is used it is a secret."""
        _check_operator(peer)
        listed = None if queues is None else _decoded("queues", queues, tuple[str, ...])
        network = await self._operations.approve(
            code, Grant(tenant_id=tenant_id, role=role, queues=listed, display_name=name or "")
        )
        self._audit.record(
            AuditAction.SCREEN_PAIRED,
            name=name or None,
            tenant_id=tenant_id,
            role=role,
            queues=listed,
            network=network,
            **asked_by(peer),
        )
        _log.info(
            "AMP peer {peer} paired a screen of tenant {tenant} as {role}, at {network}",
            peer=peer.name,
            tenant=Name(tenant_id),
            role=role,
            network=network,
        )
        return {"network": network}


def _check_operator(peer: PeerSession) -> None:
    if peer.principal is None or not peer.principal.every_tenant:
        raise Refusal(ErrorCode.FORBIDDEN, "token: it must be for all tenants")


T = TypeVar("T")


def _decoded(name: str, text: bytes, kind: type[T]) -> T:
    """Return the value of an argument; no message repeats a part of it, which may be the record of a password."""
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.ValidationError as error:
        # The text has types and names of fields, and no values.
        raise Refusal(ErrorCode.INVALID_MESSAGE, f"{name}: {error}") from None
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise Refusal(ErrorCode.INVALID_JSON, f"{name}: not valid JSON") from None


def _page(records: list[JsonObject]) -> tuple[bytes, bool]:
    """Return the first records as a JSON list, as many as fit into an answer, and whether those are all."""
    lines: list[bytes] = []
    size = 0
    for record in records[:MAX_LISTED]:
        line = encode_json(record)
        size += len(line) + 1
        if lines and size > MAX_LISTED_BYTES:
            break
        lines.append(line)
    return b"[" + b",".join(lines) + b"]", len(lines) == len(records)


def _given(change: UserChange) -> list[str]:
    return [field for field, value in msgspec.structs.asdict(change).items() if value is not msgspec.UNSET]


def _described_user(user: UserRecord) -> JsonObject:
    """Return what is listed of a user: everything but the password."""
    return {
        "name": user.name,
        "tenant_id": user.tenant_id,
        "user_id": user.user_id,
        "role": user.role,
        "display_name": user.display_name,
        "queues": user.queues,
        "changed_at": user.changed_at,
    }


def _described_session(session: SessionRecord) -> JsonObject:
    """Return what is listed of a session: everything but the digest of its cookie."""
    return {
        "session": session.public_id,
        "kind": session.kind,
        "name": session.name,
        "tenant_id": session.tenant_id,
        "user_id": session.user_id,
        "role": session.role,
        "display_name": session.display_name,
        "queues": session.queues,
        "created_at": session.created_at,
        "used_at": session.used_at,
        "expires_at": session.expires_at,
    }
