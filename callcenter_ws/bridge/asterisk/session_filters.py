"""The event filters that a session sets for itself, where the version and the user's rights allow it."""

from __future__ import annotations

from callcenter_ws.bridge.asterisk.filters import excluded_names, has_structured_filters
from callcenter_ws.bridge.asterisk.login import Send
from callcenter_ws.bridge.asterisk.message import AmiMessage


class SessionFilters:
    """Has the exchange leave out frequent events that are not wanted, one kind after the other.

    The action needs the right ``system``. Without it the first answer is a refusal, and the only one: each refusal is
    an entry in the security log of the exchange. The events come then, and are ignored.

    Args:
        wanted: the events that are wanted; None: all.
    """

    def __init__(self, send: Send, wanted: frozenset[str] | None) -> None:
        self._send = send
        self._wanted = wanted
        self._names: list[str] = []
        self._action_id = ""

    def begin(self, version: str) -> None:
        """Send the first filter, if a version of Asterisk has structured ones."""
        self._names = excluded_names(self._wanted) if has_structured_filters(version) else []
        self._send_next()

    def receive(self, response: AmiMessage) -> bool:
        """Return whether a response is that to the last filter; if it was accepted, send the next one."""
        if not self._action_id or response.get("ActionID") != self._action_id:
            return False
        if response.response == "Success":
            self._send_next()
        return True

    def _send_next(self) -> None:
        self._action_id = ""
        if self._names:
            criteria = f"action(exclude),name({self._names.pop()})"
            self._action_id = self._send("Filter", ("Operation", "Add"), ("MatchCriteria", criteria))
