"""The state machine of one Asterisk: messages of the manager interface in, units of events and records out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from callcenter_ws.bridge.agents import Agents
from callcenter_ws.bridge.asterisk.calls import AsteriskCalls
from callcenter_ws.bridge.asterisk.devices import AsteriskDevices
from callcenter_ws.bridge.asterisk.exchange_clock import ExchangeClock
from callcenter_ws.bridge.asterisk.members import Handler, QueueMembers
from callcenter_ws.bridge.asterisk.message import AmiMessage
from callcenter_ws.bridge.asterisk.parties import Parties
from callcenter_ws.bridge.asterisk.reconcile import Audit, forgetting_boot, reconcile_calls
from callcenter_ws.bridge.asterisk.recordings import Recordings
from callcenter_ws.bridge.asterisk.snapshot import AmiSnapshot
from callcenter_ws.bridge.desks import Desk, Desks
from callcenter_ws.bridge.directory import Directory
from callcenter_ws.bridge.members import Members
from callcenter_ws.bridge.outgoing import Outgoing, Unit
from callcenter_ws.bridge.settings import SourceSettings
from callcenter_ws.bridge.tenants import Report, TenantRules

_BOOT_RECORD = "boot"
"""The record of the run of the exchange."""

_END = object()


class AsteriskMachine:
    """Translates the events of one exchange. Has no clock: each message comes with its time.

    Args:
        records: what an earlier process stored with its events.
        report: called for what has no tenant; see ``TenantRules``.
        observed: the names of events that it does not need itself, and passes on to ``observe``.

    Attributes:
        observe: called with each event that is wanted, after it was handled; None: it is not.
        wanted: the names of the events that ``handle`` takes; others need not be parsed. None: all.
    """

    wanted: frozenset[str] | None = None

    def __init__(
        self,
        settings: SourceSettings,
        records: Mapping[str, bytes],
        report: Report | None = None,
        *,
        observed: frozenset[str] = frozenset(),
    ) -> None:
        self._settings = settings
        self._time = 0.0
        self.observe: Callable[[AmiMessage], None] | None = None
        self._outgoing = Outgoing(settings.name)
        self.directory = Directory(settings.agents, settings.agent_pattern, AsteriskDevices(), settings.commands.device)
        self.desks = Desks(self._outgoing, self.directory)
        self.desks.restore(records)
        self.recordings = Recordings(self._outgoing)
        self.recordings.restore(records)
        self.rules = TenantRules(settings.tenants, settings.tenant, report)
        self.agents = Agents(self._outgoing, self.directory)
        self.members = Members(self._outgoing, self.directory, self.rules, self.agents)
        self._queue_members = QueueMembers(self._outgoing, self.directory, self.rules, self.agents, self.members)
        self._outgoing.boot = records.get(_BOOT_RECORD, b"").decode(errors="replace")
        self._queue_members.restore(records)
        self._parties = Parties(self.directory, self.members, settings.directions)
        self.calls = AsteriskCalls(self._outgoing, self._parties, self.rules, self.agents.set_activity)
        self.calls.restore(records)
        self._clock = ExchangeClock()
        self._audit: Audit | None = None
        self._comparison: Iterator[None] | None = None
        self._handlers: dict[str, Handler] = {**self._queue_members.handlers, **self.calls.handlers}
        self._handlers["QueueMemberStatus"] = self._member_status
        self.wanted = frozenset(self._handlers) | observed

    def handle(self, message: AmiMessage, arrived: float) -> None:
        """Translate one event. A comparison that has begun is finished first.

        Args:
            arrived: when it arrived, in Unix seconds; used where the message has no ``Timestamp``.
        """
        handler = self._handlers.get(message.name)
        if handler is not None:
            self._handle(handler, message, arrived)
        if self.observe is not None:
            self.observe(message)

    def _handle(self, handler: Handler, message: AmiMessage, arrived: float) -> None:
        if self._comparison is not None:
            self.finish_comparison()
        time = self._time = self._clock.read(message.headers.get("Timestamp", ""), arrived)
        if self._clock.jump:
            self.calls.shift(self._clock.jump)
        if self._audit is not None:
            self._audit.touch(message)
        self.advance(time)
        handler(message, time)
        self.agents.settle()

    def _member_status(self, message: AmiMessage, time: float) -> None:
        self.calls.member_status(message.headers, time)
        self._queue_members.handlers["QueueMemberStatus"](message, time)

    def pass_time(self, arrived: float) -> None:
        """Do what is due, though no event has come, apart from the steps of a comparison that is due.

        Args:
            arrived: the present time of this machine; every event that has arrived was handled.
        """
        self._time = max(self._time, self._clock.now(arrived))
        self.advance(self._clock.now(arrived))
        self.agents.settle()

    @property
    def time(self) -> float:
        """The time of the exchange, in Unix seconds."""
        return self._time

    # Signing in at a phone

    def sign_in(self, desk: Desk) -> None:
        """Give a phone to a user; its members are this user's from now on."""
        self.finish_comparison()
        self.desks.sign_in(desk)
        self.members.remap_phone(desk.device, self._time)
        self.agents.settle()

    def sign_out(self, desk: Desk) -> None:
        """Give a phone back to the user whom the settings name."""
        self.finish_comparison()
        self.desks.sign_out(desk)
        self.members.remap_phone(desk.device, self._time)
        self.agents.settle()

    @property
    def is_comparing(self) -> bool:
        """Whether ``compare_next`` has to be called, before the next event: an audit compares."""
        return self._comparison is not None

    def compare_next(self) -> None:
        """Take one step of a comparison; it lasts a few milliseconds."""
        if self._comparison is not None and next(self._comparison, _END) is _END:
            self._comparison = None

    def finish_comparison(self) -> None:
        """Take all steps of a comparison that has begun."""
        while self._comparison is not None:
            self.compare_next()

    def advance(self, time: float) -> None:
        """Do what is due at a time of the exchange, though no event has come."""
        self.calls.advance(time)
        audit = self._audit
        if audit is not None and time >= audit.due:
            self._audit = None
            self._comparison = self._auditing(audit, time)
        self.agents.advance(time)

    def _auditing(self, audit: Audit, time: float) -> Iterator[None]:
        self.agents.wait()
        yield from reconcile_calls(self.calls, audit.snapshot, audit.time, time, audit.touched)
        yield from self.agents.resuming(time)

    def synchronize(self, snapshot: AmiSnapshot, arrived: float) -> None:
        """Correct what is known by the exchange's own lists."""
        for _ in self.synchronizing(snapshot, arrived):
            pass

    def synchronizing(self, snapshot: AmiSnapshot, arrived: float) -> Iterator[None]:
        """Do the same in steps, between which what is known so far may be taken; each takes a few milliseconds.

        No event is handled before the last step. If they are not all made, lists must be compared again first.
        """
        self._comparison = None
        self._read_clock(snapshot.meanwhile)
        # What is published now was true before the events that are still to be handled.
        first = next((time for message, time in snapshot.meanwhile if message.name in self._handlers), arrived)
        time = self._time = self._clock.now(first)
        self.agents.wait()
        known = self._outgoing.boot
        yield from self._taking_boot(snapshot.boot, time)
        channels = {message.get("Channel") for message in snapshot.channels}
        if snapshot.is_audit and self._outgoing.boot == known:
            self._audit = Audit(snapshot, self._clock.now(snapshot.listed or arrived))
        else:
            self._audit = None
            listed = self._clock.now(snapshot.listed or arrived)
            yield from reconcile_calls(self.calls, snapshot, listed, time)
        yield from self._queue_members.synchronizing(snapshot.members, channels, time)
        yield from self.agents.resuming(time)

    def _read_clock(self, meanwhile: Sequence[tuple[AmiMessage, float]]) -> None:
        """Learn the exchange's time from the first event that has one: lists have none."""
        for message, arrived in meanwhile:
            if stamp := message.headers.get("Timestamp", ""):
                self._clock.read(stamp, arrived)
                if self._clock.jump:
                    self.calls.shift(self._clock.jump)
                return

    def _taking_boot(self, boot: str, time: float) -> Iterator[None]:
        """Note the run of the exchange; all calls of another one are over."""
        boot = boot.replace(" ", "T")
        known = self._outgoing.boot
        if known and boot != known:
            yield from forgetting_boot(self.calls, time)
        if boot != known:
            self._outgoing.boot = boot
            self._outgoing.record(_BOOT_RECORD, boot.encode())

    def reload(self, settings: SourceSettings, time: float | None = None) -> None:
        """Use other ``agents``, ``agent_pattern``, ``directions``, ``tenant`` and ``tenants`` from now on.

        A call keeps its tenant. Agents whose devices have other users log out, and these in.

        Args:
            time: now; None: the time of the last message.

        Raises:
            ValueError: a pattern cannot be used. Nothing has changed.
        """
        TenantRules(settings.tenants, settings.tenant)
        self.finish_comparison()
        self._parties.reload(settings.directions)
        self.directory.reload(settings.agents, settings.agent_pattern, settings.commands.device)
        self.rules.replace(settings.tenants, settings.tenant)
        self._settings = settings
        self.members.remap(self._time if time is None else time)
        self.agents.settle()

    @property
    def dropped(self) -> Mapping[str, int]:
        """What was not taken because a table was full, by kind."""
        calls = Counter(
            calls=self.calls.book.dropped,
            channels=self.calls.tracker.table.dropped,
            logins=self._queue_members.dropped,
        )
        return calls + Counter(self.members.dropped) + Counter(self.agents.dropped)

    def take(self) -> Unit:
        """Return what has to be sent since the last call."""
        self.calls.book.flush()
        return self._outgoing.take()
