"""SenderRate: how often a sender may say something about a chat that has no answer."""

from __future__ import annotations

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.principal import Principal
from callcenter_ws.runtime.clock import Clock

INTERVAL_SECONDS = 1.0
MAX_SENDERS = 10_000


class SenderRate:
    """Lets one message a second pass of each session and sender.

    Args:
        what: the type of the messages.
    """

    def __init__(self, what: str, clock: Clock) -> None:
        self._what = what
        self._clock = clock
        self._last: dict[tuple[str, str, str], float] = {}

    def check(self, sender: Principal, session_id: str) -> None:
        """Count a message.

        Raises:
            Refusal: ``rate_limited``.
        """
        key = (sender.tenant_id, session_id, sender.user_id)
        now = self._clock.monotonic()
        wait = self._last.get(key, -INTERVAL_SECONDS) + INTERVAL_SECONDS - now
        if wait > 0:
            raise Refusal(ErrorCode.RATE_LIMITED, f"{self._what}: at most one a second per session", retry_after=wait)
        self._last.pop(key, None)
        self._last[key] = now
        if len(self._last) > MAX_SENDERS:
            # The sender whose last message is oldest: at worst it may send again a little sooner.
            del self._last[next(iter(self._last))]
