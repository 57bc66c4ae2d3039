"""Tabs of a browser that share connections, while lines, gateways, tabs and tokens fail at random.

Each tab must hold what the gateway holds, and tell each event once and in order, or that its state was rebuilt.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from browser_driver import CHROMIUM, Browser
from tab_events import TabEvents, TabSender
from tab_world import Group, OpenTab, TabWorld

SECONDS = float(os.environ.get("CALLCENTER_WS_TAB_SECONDS", "20"))
ROUND_SECONDS = 25.0
RATE = 40.0

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[TabWorld]:
    with Browser.start(tmp_path) as browser:
        world = TabWorld(tmp_path / "gateway", browser)
        yield world
        world.close()


class Faults:
    """Injects faults at random, and mends each after its time."""

    def __init__(self, world: TabWorld, rng: random.Random) -> None:
        self.counts: Counter[str] = Counter()
        self._world = world
        self._rng = rng
        self._later: list[tuple[float, Callable[[], None]]] = []
        self._thread = ThreadPoolExecutor(1)
        self._restart: Future[None] | None = None
        self._kinds: dict[str, Callable[[Group], bool]] = {
            "cut": self._cut,
            "hold": self._hold,
            "kill": lambda group: self._end_gateway(signal.SIGKILL),
            "drain": lambda group: self._end_gateway(signal.SIGTERM),
            "lose store": self._lose_store,
            "close": self._close,
            "reload": self._reload,
            "leave": self._leave,
            "silence": self._silence,
            "freeze": self._freeze,
            "hang": self._hang,
            "no token": self._refuse_tokens,
            "token hangs": self._hang_token,
        }

    def inject(self) -> None:
        """Inject a fault that is possible now."""
        kinds = list(self._kinds)
        self._rng.shuffle(kinds)
        group = self._rng.choice(self._world.groups)
        for kind in kinds:
            if self._kinds[kind](group):
                self.counts[kind] += 1
                return

    def mend(self, *, everything: bool = False) -> None:
        """Mend what is due, or all."""
        now = time.monotonic()
        while due := [each for each in self._later if everything or each[0] <= now]:
            self._later = [each for each in self._later if each not in due]
            for _, repair in sorted(due, key=lambda each: each[0]):
                repair()
        if everything:
            self._thread.submit(int).result()
        if self._restart is not None and self._restart.done():
            self._restart.result()

    def end(self) -> None:
        """Wait until no gateway is being started."""
        self._thread.shutdown()

    def _after(self, low: float, high: float, repair: Callable[[], None]) -> None:
        self._later.append((time.monotonic() + self._rng.uniform(low, high), repair))

    def _cut(self, group: Group) -> bool:
        group.line.cut()
        return True

    def _hold(self, group: Group) -> bool:
        if group.held:
            return False
        group.held = True
        self._rng.choice([group.line.hold, group.line.refuse])()

        def mend() -> None:
            group.line.mend()
            group.held = False

        self._after(3, 12, mend)
        return True

    def _end_gateway(self, how: signal.Signals, *, loses: bool = False) -> bool:
        if self._restart is not None and not self._restart.done():
            return False
        self._restart = self._thread.submit(self._restart_gateway, how, self._rng.uniform(0, 4), loses)
        return True

    def _lose_store(self, group: Group) -> bool:
        return self._rng.random() < 0.3 and self._end_gateway(signal.SIGKILL, loses=True)

    def _restart_gateway(self, how: signal.Signals, pause: float, loses: bool) -> None:
        gateway = self._world.gateway
        gateway.end(how)
        if loses:
            for file in gateway.store.parent.glob(gateway.store.name + "*"):
                file.unlink()
        time.sleep(pause)
        gateway.start()

    def _close(self, group: Group) -> bool:
        if not group.responsive:
            return False
        closed = self._rng.choice(group.responsive)
        group.tabs.remove(closed)
        closed.tab.close()
        self._after(0, 3, lambda: group.open(self._world.site))
        return True

    def _reload(self, group: Group) -> bool:
        if not group.responsive:
            return False
        group.reload(self._rng.choice(group.responsive))
        return True

    def _leave(self, group: Group) -> bool:
        if not group.responsive:
            return False
        left = self._rng.choice(group.responsive)
        group.leave(left)
        self._after(0, 10, lambda: group.come_back(left))
        return True

    def _victim(self, group: Group) -> OpenTab | None:
        """Return the leader, or perhaps another tab, of a group of which another one goes on."""
        if len(group.responsive) < 2:
            return None
        leader = group.leader()
        return leader if leader and self._rng.random() < 0.7 else self._rng.choice(group.responsive)

    def _freeze(self, group: Group) -> bool:
        victim = self._victim(group)
        if victim is None:
            return False
        # A tab in front is not frozen.
        victim.tab.call("Emulation.setFocusEmulationEnabled", enabled=False)
        next(tab for tab in group.responsive if tab is not victim).tab.activate()
        victim.stuck = True
        victim.tab.freeze()

        def thaw() -> None:
            victim.tab.thaw()
            victim.tab.keep_visible()
            victim.stuck = False

        self._after(5, 15, thaw)
        return True

    def _hang(self, group: Group) -> bool:
        """Stop the scripts of a tab without a word to them."""
        victim = self._victim(group)
        if victim is None:
            return False
        victim.stuck = True
        victim.tab.call("Debugger.enable")
        victim.tab.call("Debugger.pause")

        def release() -> None:
            victim.tab.call("Debugger.disable")
            victim.stuck = False

        self._after(5, 20, release)
        return True

    def _refuse_tokens(self, group: Group) -> bool:
        if group.refused:
            return False
        group.refused = True
        self._after(5, 10, lambda: setattr(group, "refused", False))
        return True

    def _hang_token(self, group: Group) -> bool:
        return self._change(group, "window.token = () => new Promise(() => {})", "window.token = window.fetchToken")

    def _silence(self, group: Group) -> bool:
        """Keep a tab from saying anything to the others."""
        return self._change(group, "window.post = () => {}", "window.post = window.truePost")

    def _change(self, group: Group, script: str, restoring: str) -> bool:
        victim = self._victim(group)
        if victim is None:
            return False
        victim.tab.evaluate(f"{script}; true")

        def restore() -> None:
            if victim in group.tabs and victim.stuck:
                self._after(1, 1, restore)
            elif victim in group.tabs:
                victim.tab.evaluate(f"{restoring}; true")

        self._after(5, 15, restore)
        return True


def test_each_tab_holds_what_the_gateway_holds(world: TabWorld, seed: int) -> None:
    rng = random.Random(seed)
    users = ("boss", "wall", "a1")
    # Generators of their own: what the threads do at the same time does not change the sequence of faults.
    events = TabEvents(random.Random(rng.random()), users)
    sender = TabSender(world.gateway, iter(events), random.Random(rng.random()), RATE)
    for (role, tabs), user in zip({"supervisor": 3, "wallboard": 2, "agent": 1}.items(), users, strict=True):
        world.add(role, user, tabs)
    sender.start()
    faults = Faults(world, rng)
    end = time.monotonic() + SECONDS
    try:
        while time.monotonic() < end:
            play(world, faults, sender, rng, min(end, time.monotonic() + ROUND_SECONDS))
            report = f"{dict(faults.counts)}, {world.compared} comparisons, {sender.published} events"
            print(report, flush=True)  # noqa: T201 - pytest shows it with the failure, or with -s at once
    finally:
        sender.end()
        faults.end()
    assert sender.refused == []


def play(world: TabWorld, faults: Faults, sender: TabSender, rng: random.Random, end: float) -> None:
    """Publish while faults happen, then mend everything and compare."""
    sender.go_on()
    fault_at = time.monotonic()
    while time.monotonic() < end:
        if time.monotonic() >= fault_at:
            faults.inject()
            fault_at = time.monotonic() + rng.uniform(1, 3)
        faults.mend()
        time.sleep(0.05)
    faults.mend(everything=True)
    sender.pause()
    if rng.random() < 0.7:
        world.probe()
    world.compare(sender.acknowledged)
