"""Brings the table of channels, and the calls that they belong to, up to date with the list of channels."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from callcenter_ws.bridge.asterisk.listed import STEP_CHANNELS, ListedChannel
from callcenter_ws.bridge.asterisk.tracker import Tracker
from callcenter_ws.bridge.call import Stay

_ORIGINATED = "0"
"""The state of a channel that the exchange has made, and not yet called."""

STEP = 25
"""So many calls are compared in one step."""


class ListedChannels:
    """The channels of the exchange, and the calls that they belong to.

    Args:
        listed: all channels, by Uniqueid.
        hung_up: channels whose end is still to be told.
    """

    def __init__(self, tracker: Tracker, listed: Mapping[str, ListedChannel], hung_up: Collection[str]) -> None:
        self._tracker = tracker
        self._listed = listed
        self._hung_up = hung_up
        self._new: dict[str, list[ListedChannel]] = {}

    def _exists(self, uniqueid: str) -> bool:
        return uniqueid in self._listed or uniqueid in self._hung_up

    def dropping_gone(self) -> Iterator[None]:
        """Forget the channels that do not exist."""
        for number, channel in enumerate(list(self._tracker.table), 1):
            if number % STEP_CHANNELS == 0:
                yield
            if not self._exists(channel.uniqueid):
                self._tracker.table.remove(channel.uniqueid)
        for number, call in enumerate(self._tracker.book.calls.values(), 1):
            if number % STEP_CHANNELS == 0:
                yield
            for uniqueid in [uniqueid for uniqueid in call.members if not self._exists(uniqueid)]:
                del call.members[uniqueid]

    def taking_in(self) -> Iterator[None]:
        """Add the channels that are not known, to their calls if these are known."""
        table = self._tracker.table
        call_ids: dict[str, str] = {}
        yield from self._finding_calls(call_ids)
        callers_first = sorted(self._listed.values(), key=lambda channel: (channel.is_dialed, channel.since))
        for number, listed in enumerate(callers_first, 1):
            if number % (2 * STEP) == 0:
                yield
            is_known = table.get(listed.uniqueid) is not None
            channel = self._tracker.take_in(listed.headers, listed.since)
            if channel is None:
                continue
            channel.is_dialed = channel.is_dialed or listed.is_dialed
            channel.has_answered = channel.has_answered or (listed.is_up and listed.is_dialed)
            if is_known:
                continue
            call = self._tracker.call_of(channel)
            call_id = call_ids.get(listed.linkedid, "")
            if call is None and call_id:
                self._tracker.enter_call(self._tracker.book.calls[call_id], channel)
            elif call is None:
                self._new.setdefault(listed.linkedid, []).append(listed)
        yield from self._noting_dialers()

    def _finding_calls(self, found: dict[str, str]) -> Iterator[None]:
        """Find the known calls of the Linkedids, which change with transfers."""
        for number, listed in enumerate(self._listed.values(), 1):
            if number % STEP_CHANNELS == 0:
                yield
            channel = self._tracker.table.get(listed.uniqueid)
            call = self._tracker.call_of(channel)
            if call is not None and (listed.uniqueid == listed.linkedid or listed.linkedid not in found):
                found[listed.linkedid] = call.call_id

    def _noting_dialers(self) -> Iterator[None]:
        dialers: dict[str, list[ListedChannel]] = {}
        for listed in self._listed.values():
            if not listed.is_dialed:
                dialers.setdefault(listed.linkedid, []).append(listed)
        for number, listed in enumerate(self._listed.values(), 1):
            if number % STEP_CHANNELS == 0:
                yield
            if listed.is_dialed:
                self._note_dialer(listed, dialers.get(listed.linkedid, ()))

    def _note_dialer(self, listed: ListedChannel, dialers: Iterable[ListedChannel]) -> None:
        """Find out who dialed a channel: of its call, the one in the same extension, else the caller."""
        channel = self._tracker.table.get(listed.uniqueid)
        if channel is None or channel.dialer:
            return
        exten = listed.headers.get("Exten", "")
        older = [other for other in dialers if other.since <= listed.since + 1]
        same = [other for other in older if other.headers.get("Exten", "") == exten]
        chosen = max(same or older, key=lambda other: (other.is_local, other.since), default=None)
        dialer = self._tracker.table.get(chosen.uniqueid) if chosen is not None else None
        if dialer is not None:
            self._tracker.table.dial(dialer, channel)

    def introducing(self, stays: Mapping[str, Stay]) -> Iterator[None]:
        """Begin the calls that are not known."""
        for number, (linkedid, channels) in enumerate(self._new.items(), 1):
            if number % STEP == 0:
                yield
            root = _root_of(linkedid, channels)
            queue = next((stays[channel.uniqueid].queue for channel in channels if channel.uniqueid in stays), "")
            self._begin(root, channels, queue or root.queue)

    def _begin(self, root: ListedChannel, channels: Iterable[ListedChannel], queue: str) -> None:
        tracker = self._tracker
        channel = tracker.table.get(root.uniqueid)
        if channel is None:
            return
        headers = {**root.headers, "ChannelState": _ORIGINATED} if root.is_dialed else root.headers
        call = tracker.introduce(channel, headers, root.since, queue)
        if call is None:
            return
        tracker.note_variables(root.uniqueid, root.variables)
        for listed in channels:
            other = tracker.table.get(listed.uniqueid)
            if other is not None:
                tracker.enter_call(call, other)
        for listed in channels:
            other = tracker.table.get(listed.uniqueid)
            if other is not None and listed.is_dialed and not listed.is_local and other is not channel:
                tracker.goes_to(call, channel, other, headers)


def _root_of(linkedid: str, channels: list[ListedChannel]) -> ListedChannel:
    """Return the channel of the caller: the first of the call, or the oldest that is left."""
    return min(channels, key=lambda channel: (channel.uniqueid != linkedid, channel.is_dialed, channel.since))
