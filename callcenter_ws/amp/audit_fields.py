"""The fields of the audit log that identify the peer of an AMP command."""

from __future__ import annotations

from callcenter_ws.amp.session import PeerSession


def asked_by(peer: PeerSession) -> dict[str, str]:
    """Return the fields of a line: the credential of a peer, and its address."""
    fields = {"by_address": peer.ip}
    if peer.principal is not None:
        fields |= {"by_tenant_id": peer.principal.tenant_id, "by_user_id": peer.principal.user_id}
    return fields
