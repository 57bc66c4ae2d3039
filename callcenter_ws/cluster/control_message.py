"""Control messages to all nodes, and the nodes' reports about them, as JSON in Redis."""

from __future__ import annotations

import msgspec

from callcenter_ws.runtime.json import encode_json


class ControlMessage(msgspec.Struct, frozen=True):
    """What all nodes have to do: close connections, refuse tokens, or read the list of revocations again.

    Attributes:
        tenant_id: ``*`` for a token that is valid for every tenant.
        user_id, jti: the user or the token whose connections are to be closed. If both are None and ``revoke`` is not
            set, revocations were restored, and nodes have to read their list.
        revoke: whether the tokens are to be refused.
        at: the cutoff of ``auth.revocation`` by the sender's clock, Unix seconds.
        until: the message's identifier, in the reports about it.
        by: the node that counts the reports.
    """

    tenant_id: str
    user_id: str | None
    jti: str | None
    revoke: bool
    at: float
    until: str
    by: str

    @property
    def subjects(self) -> list[bytes]:
        """What is revoked, as fields of the hash of revocations; a user is the last of them."""
        if not self.revoke:
            return []
        named = [("token", self.jti), ("user", self.user_id)]
        return [encode_json((self.tenant_id, kind, name)) for kind, name in named if name is not None]


class ControlReport(msgspec.Struct, frozen=True):
    """How many connections a node has closed for a message.

    Attributes:
        order: ``until`` of the message.
    """

    order: str
    node: str
    closed: int


decode_message = msgspec.json.Decoder(ControlMessage).decode
decode_report = msgspec.json.Decoder(ControlReport).decode
