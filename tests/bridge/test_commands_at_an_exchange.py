"""Commands through a connection to an exchange that is played: rights, losses, the order of events and outcomes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from typing import Any

import pytest
import pytest_twisted
from amp_doubles import until
from command_transcripts import COMMANDS, SOURCE
from exchange_world import SECRET, Exchange, PlayerUser
from msgspec.structs import replace
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from callcenter_ws.bridge.asterisk import connection as module
from callcenter_ws.bridge.asterisk.exchange import AsteriskConnection
from callcenter_ws.bridge.loss import Loss
from callcenter_ws.bridge.outgoing import Unit
from callcenter_ws.remote import Command, CommandFailed
from callcenter_ws.remote.gateway_clock import GatewayClock
from callcenter_ws.runtime.clock import ReactorClock
from callcenter_ws.runtime.endpoints import EndpointDescription
from callcenter_ws.runtime.slicer import Slicer

ADDED = """
    Event: QueueMemberAdded
    Privilege: agent,all
    Queue: support
    MemberName: Alice Adams
    Interface: PJSIP/201
    StateInterface: PJSIP/201
    Membership: dynamic
    Status: 1
    Paused: 0
""".replace("    ", "")


class Bridge:
    """A connection, and what it reports, in order."""

    def __init__(self, exchange: Exchange, commands: Any = COMMANDS) -> None:
        self.clock = ReactorClock(reactor)  # type: ignore[arg-type]  # the module is the reactor
        self.reports: list[str] = []
        self.names: Collection[str] | None = None
        self.settings = replace(SOURCE, endpoint=EndpointDescription.parse(exchange.endpoint), commands=commands)
        self.connection = AsteriskConnection(
            reactor,  # type: ignore[arg-type]
            self.clock,
            Slicer(self.clock),
            self.settings,
            lambda: SECRET,
            {},
            lambda *_: None,
            self,
        )
        self.connection.start()

    def logged_in(self) -> None:
        pass

    def handle_unit(self, unit: Unit) -> None:
        self.reports += [event.type for event in unit.events]

    def synchronized(self, version: str, boot: str) -> None:
        self.reports.append("synchronized")

    def lost(self, loss: Loss, retry_seconds: float) -> None:
        self.reports.append("lost")

    def can_do(self, names: Collection[str]) -> None:
        self.names = names

    def issue(self, name: str, **payload: Any) -> Deferred[Any]:
        """Issue a command of user 201; its outcome is reported."""
        gateway_clock = GatewayClock(self.clock)
        gateway_clock.answered(int(self.clock.time() * 1_000), self.clock.monotonic())
        deadline = self.clock.time() + 60
        command = Command("acme", name, payload, "201", "agent", None, "c1", deadline, gateway_clock)

        async def carry_out() -> Any:
            try:
                result = await self.connection.carry_out(command)
            except CommandFailed as failure:
                result = failure.code.value
            self.reports.append("outcome")
            return result

        return Deferred.fromCoroutine(carry_out())


@pytest.fixture(autouse=True)
def _short_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_RETRY_SECONDS", 0.02)
    monkeypatch.setattr(module, "MAX_RETRY_SECONDS", 0.02)


@pytest_twisted.async_yield_fixture
async def exchange() -> AsyncIterator[Exchange]:
    exchange = Exchange(PlayerUser("callcenter", SECRET, write=frozenset({"reporting", "agent"})))
    exchange.listen()
    exchange.player.send_text(ADDED)
    yield exchange
    await exchange.close()


@pytest_twisted.async_yield_fixture
async def bridge(exchange: Exchange) -> AsyncIterator[Bridge]:
    bridge = Bridge(exchange)
    await until(reactor, lambda: bridge.names is not None)
    yield bridge
    await bridge.connection.stop()


@pytest_twisted.ensureDeferred
async def test_the_events_that_prove_a_command_come_before_its_outcome(bridge: Bridge) -> None:
    bridge.reports.clear()
    assert await bridge.issue("agent.state.set", state="break", reason="lunch") == {"state": "break"}
    assert bridge.reports == ["queue.member.paused", "agent.state.changed", "outcome"]


@pytest_twisted.ensureDeferred
async def test_what_the_user_has_no_right_to_is_not_declared(exchange: Exchange, bridge: Bridge) -> None:
    assert set(bridge.names or ()) == {
        *("agent.state.set", "queue.member.pause", "queue.member.unpause"),
        *("queue.member.add", "queue.member.remove"),
    }
    assert await bridge.issue("call.originate", destination="204") == "unsupported"
    assert "Originate" not in exchange.player.actions


@pytest_twisted.ensureDeferred
async def test_a_reload_changes_what_is_declared(bridge: Bridge) -> None:
    commands = replace(COMMANDS, queues=())
    bridge.connection.reload(replace(bridge.settings, commands=commands), bridge.clock.time())
    assert set(bridge.names or ()) == {"agent.state.set", "queue.member.pause", "queue.member.unpause"}


@pytest_twisted.ensureDeferred
async def test_a_command_whose_exchange_is_lost_has_an_unknown_outcome(exchange: Exchange, bridge: Bridge) -> None:
    exchange.player.freeze()
    outcome = bridge.issue("agent.state.set", state="break")
    exchange.player.cut()
    assert await outcome == "outcome_unknown"
    await until(reactor, lambda: bridge.reports.count("synchronized") == 2)
    # It is connected again.
    result = await bridge.issue("agent.state.set", state="available")
    assert result in ({"state": "available"}, "source_down")


@pytest_twisted.ensureDeferred
async def test_nothing_is_begun_while_there_is_no_exchange(exchange: Exchange, bridge: Bridge) -> None:
    await exchange.close()
    await until(reactor, lambda: "lost" in bridge.reports)
    assert await bridge.issue("agent.state.set", state="break") == "source_down"


@pytest_twisted.ensureDeferred
async def test_commands_that_are_switched_off_send_nothing(exchange: Exchange) -> None:
    bridge = Bridge(exchange, replace(COMMANDS, enabled=False))
    await until(reactor, lambda: "synchronized" in bridge.reports)
    assert await bridge.issue("agent.state.set", state="break") == "unsupported"
    assert bridge.names is None and "ListCommands" not in exchange.player.actions
    await bridge.connection.stop()
