"""What a daemon wants to hear from the gateway."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger

from callcenter_ws.amp.commands import InvalidEvent, Subscribe
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.catalogue import covers
from callcenter_ws.remote.link import GatewayLink
from callcenter_ws.runtime.json import decode_json, encode_json

_log = Logger()


@dataclass(frozen=True, slots=True)
class ClientMessage:
    """What a visitor or an agent said, or a presence that changed.

    Attributes:
        event_id: the same message may come twice, under the same id.
    """

    tenant_id: str
    type: str
    payload: dict[str, Any]
    user_id: str | None
    event_id: str


Callback = Callable[[ClientMessage], object]
"""May return an awaitable. The message is acknowledged when that is done."""


@dataclass(slots=True, eq=False)
class _Wish:
    kinds: tuple[str, ...]
    callback: Callback
    answer: Deferred[None]

    def covers(self, type_: str) -> bool:
        return any(covers(kind, type_) for kind in self.kinds)


class Subscriptions:
    """The callbacks of a daemon. The gateway knows their union, and is told again after a reconnect."""

    def __init__(self) -> None:
        self._granted: list[_Wish] = []
        self._asked: list[_Wish] = []
        self._asking: GatewayLink | None = None

    def add(self, kinds: Sequence[str], callback: Callback) -> Deferred[None]:
        """Remember a wish; ``ask`` the gateway next. Fires when it was granted."""
        answer: Deferred[None] = Deferred()
        self._asked.append(_Wish(tuple(kinds), callback, answer))
        return answer

    async def renew(self, link: GatewayLink) -> None:
        """Tell a new link what was granted before.

        Raises:
            Refusal: the gateway does not take it now.
        """
        if self._granted:
            await _subscribe(link, self._granted)

    async def ask(self, link: GatewayLink) -> None:
        """Ask for what was not granted yet, one wish at a time, so that a bad one spoils no other."""
        if self._asking is link:
            return
        self._asking = link
        try:
            while self._asked and self._asking is link:
                wish = self._asked[0]
                try:
                    await _subscribe(link, [*self._granted, wish])
                except Refusal as refusal:
                    if refusal.code in (ErrorCode.UNAVAILABLE, ErrorCode.OVERLOADED):
                        return
                    self._asked.remove(wish)
                    _settle(wish, refusal)
                else:
                    self._asked.remove(wish)
                    self._granted.append(wish)
                    _settle(wish, None)
        finally:
            if self._asking is link:
                self._asking = None

    async def heard(self, message: ClientMessage) -> None:
        """Pass a message to those who want it, and wait for them.

        Raises:
            InvalidEvent: a callback failed, which was logged.
        """
        failed = False
        wishes = [*self._granted, *self._asked]
        for wish in wishes:
            if wish.covers(message.type):
                try:
                    await maybeDeferred(wish.callback, message)
                except Exception:
                    _log.failure("the callback for {type} failed", type=message.type)
                    failed = True
        if failed:
            raise InvalidEvent("the daemon's callback failed")


def _settle(wish: _Wish, refusal: Refusal | None) -> None:
    if wish.answer.called:
        return
    if refusal is None:
        wish.answer.callback(None)
    else:
        wish.answer.errback(refusal)


async def _subscribe(link: GatewayLink, wishes: Sequence[_Wish]) -> None:
    kinds = list(dict.fromkeys(kind for wish in wishes for kind in wish.kinds))
    await link.call(Subscribe, kinds=encode_json(kinds))


def message_of(tenant_id: str, type_: str, payload: bytes, user_id: str | None, event_id: str) -> ClientMessage:
    """Return the arguments of ``ClientEvent`` as a ClientMessage."""
    return ClientMessage(tenant_id, type_, decode_json(payload), user_id, event_id)
