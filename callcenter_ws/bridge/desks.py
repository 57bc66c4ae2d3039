"""The phones at which users have signed in. They are stored, so that a restart of the bridge signs no user out."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from callcenter_ws.bridge.directory import Directory, User
from callcenter_ws.bridge.outgoing import Outgoing
from callcenter_ws.runtime.json import encode_json

MAX_DESKS = 20_000
"""Phones at which users have signed in. At further ones they cannot."""

_PREFIX = "desk/"


class Desk(msgspec.Struct, frozen=True, omit_defaults=True):
    """A phone, and who has signed in there.

    Attributes:
        tenant_id: the tenant of the user.
    """

    device: str
    tenant_id: str
    user_id: str
    username: str = ""
    extension: str = ""

    @property
    def key(self) -> str:
        """The key of the record."""
        return _PREFIX + self.device


class Desks:
    """The phones at which users have signed in, by device."""

    def __init__(self, outgoing: Outgoing, directory: Directory) -> None:
        self._outgoing = outgoing
        self._directory = directory
        self._desks: dict[str, Desk] = {}

    def restore(self, records: Mapping[str, bytes]) -> None:
        """Take over what an earlier process stored."""
        for desk in self._outgoing.restored(records, _PREFIX, Desk):
            self._enter(desk)

    def get(self, device: str) -> Desk | None:
        """Return who has signed in at a phone; None: no user has."""
        return self._desks.get(device)

    def of_user(self, tenant_id: str, user_id: str) -> list[Desk]:
        """Return where a user has signed in."""
        return [desk for desk in self._desks.values() if (desk.tenant_id, desk.user_id) == (tenant_id, user_id)]

    @property
    def is_full(self) -> bool:
        """Whether no user can sign in at a further phone."""
        return len(self._desks) >= MAX_DESKS

    def sign_in(self, desk: Desk) -> None:
        """Give a phone to a user, instead of the one who had it. Members are mapped again by the caller."""
        self._enter(desk)
        self._outgoing.record(desk.key, encode_json(desk))

    def sign_out(self, desk: Desk) -> None:
        """Give a phone back to the user whom the settings name."""
        if self._desks.pop(desk.device, None) is not None:
            self._directory.bind(desk.device, None)
            self._outgoing.record(desk.key, None)

    def _enter(self, desk: Desk) -> None:
        self._desks[desk.device] = desk
        self._directory.bind(desk.device, User(desk.user_id, desk.username, desk.extension))
