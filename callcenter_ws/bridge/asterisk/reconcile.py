"""Corrects what is known of the calls of one Asterisk by its lists, after a pause and as an audit."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from callcenter_ws.bridge.asterisk.calls import AsteriskCalls
from callcenter_ws.bridge.asterisk.channels import Channel
from callcenter_ws.bridge.asterisk.in_flight import EventsInFlight
from callcenter_ws.bridge.asterisk.listed import STEP_CHANNELS, Conversations, ListedChannel, read_stays
from callcenter_ws.bridge.asterisk.listed_channels import STEP, ListedChannels
from callcenter_ws.bridge.asterisk.message import AmiMessage
from callcenter_ws.bridge.asterisk.snapshot import AmiSnapshot
from callcenter_ws.bridge.call import Call, Party, Stay
from callcenter_ws.bridge.reconciliation import CallReconciler, ListedCall, ListedLeg

UNIT_EVENTS = 100
"""With more events a step ends, so that they are stored: a spool takes what has room in it at once."""

AUDIT_SECONDS = 5.0
"""How long an audit waits for events."""

_IDS = ("Uniqueid", "Linkedid")


def forgetting_boot(calls: AsteriskCalls, time: float) -> Iterator[None]:
    """End all calls, in steps: the exchange was restarted, and may use its identifiers again."""
    with calls.book.reconciling():
        for number, call in enumerate(list(calls.book.calls.values()), 1):
            calls.book.lose(call, time)
            if number % STEP == 0:
                yield
    calls.book.forget_ended()
    calls.tracker.forget_channels()


def reconcile_calls(
    calls: AsteriskCalls, snapshot: AmiSnapshot, listed: float, time: float, touched: Collection[str] | None = None
) -> Iterator[None]:
    """Correct the calls and their channels by the lists, in steps of a few milliseconds.

    Args:
        listed: the time of the lists.
        time: that of the events.
        touched: for an audit: the channels of which events have told since the lists were asked for. These, and their
            calls, are left as they are.
    """
    if touched is None:
        calls.tracker.forget_pending()
    with calls.book.reconciling():
        yield from _Comparison(calls, snapshot, listed, time, touched).steps()


class _Comparison:
    def __init__(
        self,
        calls: AsteriskCalls,
        snapshot: AmiSnapshot,
        listed: float,
        time: float,
        touched: Collection[str] | None,
    ) -> None:
        self._book, self._tracker = calls.book, calls.tracker
        self._known: set[str] = set()
        self._reconciler = CallReconciler(calls.book)
        self._time = time
        self._is_audit = touched is not None
        self._touched = set(touched or ())
        self._flight = EventsInFlight()
        self._listed: dict[str, ListedChannel] = {}
        self._talk = Conversations(())
        self._stays: dict[str, Stay] = {}
        self._snapshot, self._listed_at = snapshot, listed

    def _reading(self) -> Iterator[None]:
        """Read the lists."""
        snapshot, flight = self._snapshot, self._flight
        if not self._is_audit:
            # What came meanwhile is handled already when an audit compares.
            yield from flight.reading(snapshot.meanwhile)
        found = []
        for number, message in enumerate(snapshot.channels, 1):
            if number % STEP_CHANNELS == 0:
                yield
            channel = ListedChannel.read(message, self._listed_at)
            found.append(channel)
            if channel.linkedid in self._touched:
                self._touched.add(channel.uniqueid)
        excluded = flight.created | self._touched
        self._listed = {channel.uniqueid: channel for channel in found if channel.uniqueid not in excluded}
        yield
        self._talk = Conversations(snapshot.bridges, flight.answered)
        yield from self._talk.taking_in(self._listed.values())
        stays = read_stays(snapshot.entries, self._listed_at)
        self._stays = {uniqueid: stay for uniqueid, stay in stays.items() if uniqueid not in flight.joined}

    def steps(self) -> Iterator[None]:
        """Compare everything."""
        yield from self._reading()
        self._known = {channel.uniqueid for channel in self._tracker.table}
        channels = ListedChannels(self._tracker, self._listed, self._flight.hung_up | self._touched)
        yield from channels.dropping_gone()
        yield from channels.taking_in()
        yield from self._ending()
        yield from channels.introducing(self._stays)
        if not self._is_audit:
            yield from self._merging_transferred()
        yield from self._correcting()

    def _ending(self) -> Iterator[None]:
        """End the calls that are gone, and let go who has left one that goes on."""
        book = self._book
        for number, call in enumerate([call for call in book.calls.values() if not call.members], 1):
            self._lose(call)
            if number % STEP == 0:
                yield
        for number, call in enumerate(book.calls.values(), 1):
            self._reconciler.release_gone(call, call.members, self._time)
            if number % STEP == 0:
                yield

    def _correcting(self) -> Iterator[None]:
        """Correct the calls that go on. An agent's youngest conversation comes last: it is not on hold."""
        book = self._book
        order: list[tuple[float, str]] = []
        for number, call in enumerate(book.calls.values(), 1):
            order.append((self._talks_since(call), call.call_id))
            if number % STEP_CHANNELS == 0:
                yield
        order.sort(key=_first)
        for number, (_, call_id) in enumerate(order, 1):
            call = book.calls[call_id]
            if self._touched.isdisjoint(call.members):
                self._correct(call)
            if number % STEP == 0 or book.waiting > UNIT_EVENTS:
                yield

    def _lose(self, call: Call) -> None:
        self._book.lose(call, self._time)
        self._tracker.forget(call.call_id)

    def _own(self, call: Call) -> list[ListedChannel]:
        return [self._listed[uniqueid] for uniqueid in call.members if uniqueid in self._listed]

    def _talks_since(self, call: Call) -> float:
        own = self._own(call)
        return max((channel.since for channel in own if self._talk.talks(channel)), default=call.started)

    def _correct(self, call: Call) -> None:
        if not self._flight.moved.isdisjoint(call.members):
            return
        own = self._own(call)
        root = next((channel for channel in own if channel.uniqueid == call.unique_id), None)
        if root is not None and root.is_up and not root.is_dialed and not self._waits_for_tenant(call):
            self._book.announce(call)
        stay = next((self._stays[channel.uniqueid] for channel in own if channel.uniqueid in self._stays), None)
        is_stay_known = stay is not None or not self._is_leaving(call)
        # What a queue still calls for a caller who has left it is about to end.
        is_over = root is not None and bool(root.queue) and stay is None and is_stay_known
        rings = not (is_over or self._is_audit)
        listed = ListedCall(
            # Those which hung up meanwhile are not in the lists.
            present=call.members,
            talking=self._legs(call, own, self._talk.talks),
            ringing=self._legs(call, self._may_ring(call, own), self._rings) if rings else {},
            stay=stay,
            is_stay_known=is_stay_known,
        )
        self._reconciler.correct(call, listed, self._time)

    def _waits_for_tenant(self, call: Call) -> bool:
        """Return whether a call is not announced because its tenant, or its direction, will soon be known."""
        return self._is_audit or (call.direction == "inbound" and not call.tenant_id)

    def _is_leaving(self, call: Call) -> bool:
        """Return whether an event that is to come tells how the call left its queue."""
        if self._tracker.notes(call).departure is not None:
            return True
        return not self._flight.left.isdisjoint(call.members)

    def _may_ring(self, call: Call, own: list[ListedChannel]) -> list[ListedChannel]:
        """Return the channels without those that are known to have stopped ringing, and are about to end."""
        has_rung = self._known.difference(call.legs) if call.first_ring is not None else ()
        return [channel for channel in own if channel.uniqueid not in has_rung]

    def _rings(self, channel: ListedChannel) -> bool:
        if channel.is_local or not channel.is_dialed:
            return False
        return channel.is_ringing or (channel.is_up and channel.uniqueid in self._flight.answered)

    def _legs(
        self, call: Call, own: list[ListedChannel], is_chosen: Callable[[ListedChannel], bool]
    ) -> dict[str, ListedLeg]:
        """Return the chosen channels of a call that are not the caller's."""
        tracker = self._tracker
        found = {}
        for channel in own:
            known = tracker.table.get(channel.uniqueid)
            if known is None or not is_chosen(channel) or tracker.is_root(call, known):
                continue
            if channel.is_local and call.is_talking():
                # It may lead to the phone that is known to talk.
                continue
            is_remote = call.caller is not None and tracker.is_outside(known)
            found[channel.uniqueid] = ListedLeg(self._party_of(call, known), channel.name, is_remote)
        return found

    def _party_of(self, call: Call, channel: Channel) -> Party:
        if channel.is_local:
            return self._tracker.parties.of_member(call.queue, channel.device, "")
        return self._tracker.party_of(channel)

    def _merging_transferred(self) -> Iterator[None]:
        """Join the calls that were connected by a transfer which was not seen: they share a bridge."""
        for number, channels in enumerate(self._talk.in_bridge.values(), 1):
            if number % STEP_CHANNELS == 0 or self._book.waiting > UNIT_EVENTS:
                yield
            calls = {}
            for channel in channels:
                known = self._tracker.table.get(channel.uniqueid)
                call = self._tracker.call_of(known)
                if call is not None and not channel.is_local:
                    calls[call.call_id] = call
            if len(calls) < 2:
                continue
            target, *others = sorted(calls.values(), key=lambda call: call.started)
            here = {channel.uniqueid for channel in channels}
            for call in others:
                if here.issuperset(call.members):
                    # Who talks there now is told by comparing the target.
                    self._tracker.move_channels(call, target)
                    self._lose(call)


def _first(entry: tuple[float, str]) -> float:
    return entry[0]


class Audit:
    """An audit of a running session, which waits a little for the events of what its lists show.

    The exchange answers with its lists at once, while its events may still be on their way. So what events tell of
    until ``due`` is left out of the comparison.

    Attributes:
        time: of the lists.
        due: when to compare.
        touched: the channels of which events told.
    """

    def __init__(self, snapshot: AmiSnapshot, time: float) -> None:
        self.snapshot = snapshot
        self.time = time
        self.due = time + AUDIT_SECONDS
        self.touched: set[str] = set()

    def touch(self, message: AmiMessage) -> None:
        """Note an event."""
        for name, value in message.headers.items():
            if name.endswith(_IDS):
                self.touched.add(value)
