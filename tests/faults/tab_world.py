"""Tabs of a real browser that share connections, each group through a line of its own, and what they must have told."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "browser"))

from browser_driver import Browser, Context, Tab
from client_page import ClientSite, PageGateway
from line import Line
from processes import DEADLINE
from restartable import until
from websockets.sync.client import connect

TOKEN_SECONDS = 20
SETTLE_SECONDS = 60.0
HEARTBEAT = {"idleMs": 2500, "answerMs": 2500}
SETTINGS = """
[limits]
presence_grace = 1
drain_timeout = 2
rate = 10000
burst = 10000
[statistics]
enabled = true
[[tenants.acme.alerts]]
name = "waiting"
queues = ["*"]
metric = "calls_waiting"
raise = { above = 2, for = 1 }
clear = { at_most = 1, for = 1 }
"""
SCRIPT = Path(__file__).with_name("tab_page.js").read_text()
"""What a page does: it connects, and notes what it tells."""

LOOK = "JSON.stringify({ status: client.status, dump: client.store.dump(), noted: noted.splice(0) })"
OFTEN = {"presence.changed"}
"""Types of which a client that lags is sent the last event of a user only."""


class TabFault(AssertionError):
    """What a tab holds or has told is not what it should be."""


@dataclass
class OpenTab:
    """A tab, and what it has told.

    Attributes:
        stuck: whether it is frozen or hung, so that it cannot be asked.
        position: that of the last event told, or of the state that was loaded after it; None: before the first.
        told, told_before: ids of events that it has told of the present epoch, and of earlier ones.
        recent: the last things that it noted, for messages.
    """

    name: str
    tab: Tab
    stuck: bool = False
    position: int | None = None
    epoch: str | None = None
    told: set[str] = field(default_factory=set)
    told_before: set[str] = field(default_factory=set)
    recent: list[Any] = field(default_factory=list)

    def check(self, noted: list[Any], stream: Stream) -> None:
        """Check that what it has noted is the next part of the stream."""
        for entry in noted:
            self.recent = [*self.recent[-60:], entry]
            if entry[0] == "rebuilt":
                _, self.position, epoch, _, _ = entry
                if epoch != self.epoch:
                    self.epoch = epoch
                    self.told_before |= self.told
                    self.told.clear()
            elif entry[0] == "event":
                self._check_event(stream, *entry[1:])

    def _check_event(self, stream: Stream, seq: int, id_: str, user: str | None, mailed: bool) -> None:
        if id_ in self.told:
            self.fail(f"{id_} at {seq} is told twice")
        if not mailed:
            if self.position is None:
                self.fail(f"{id_} at {seq} is told before the state")
            if seq <= self.position:
                self.fail(f"{id_} at {seq} is told after {self.position}")
            if self.epoch == stream.epoch:
                self.check_up_to(seq - 1, stream)
                if stream.events.get(seq, (None,))[0] != id_:
                    self.fail(f"{id_} is told at {seq}, where {stream.events.get(seq)} is")
            self.position = seq
        self.told.add(id_)

    def check_up_to(self, seq: int, stream: Stream) -> None:
        """Check that all events up to a position were told."""
        assert self.position is not None
        for between in range(self.position + 1, seq + 1):
            id_, type_ = stream.events.get(between, (None, ""))
            is_told = id_ is None or id_ in self.told or id_ in self.told_before
            if not is_told and type_ not in OFTEN:
                self.fail(f"{id_} ({type_}) at {between} is not told")
        self.position = max(self.position, seq)

    def fail(self, text: str) -> None:
        trace = "" if self.stuck else self.tab.evaluate("trace.join('\\n')")
        raise TabFault(f"{self.name}: {text}\n{chr(10).join(map(str, self.recent))}\n{trace}")


@dataclass
class Stream:
    """The events that a user is sent, by position: id and type."""

    epoch: str = ""
    seq: int = 0
    events: dict[int, tuple[str, str]] = field(default_factory=dict)


class Group:
    """Tabs of one user in one context of the browser.

    Attributes:
        refused: whether the site has no token for them.
    """

    def __init__(self, context: Context, line: Line, role: str, user: str) -> None:
        self.context = context
        self.line = line
        self.role = role
        self.user = user
        self.tabs: list[OpenTab] = []
        self.refused = False
        self.held = False
        self.stream = Stream()
        self._opened = 0

    def open(self, site: ClientSite) -> None:
        """Open another tab."""
        self._opened += 1
        name = f"{self.role} {self._opened}"
        tab = self.context.open(site.origin + "/", before=f"window.name = {json.dumps(name)};")
        tab.keep_visible()
        self._connect(OpenTab(name, tab))

    def _connect(self, tab: OpenTab) -> None:
        tab.tab.wait_for("typeof begin === 'function'")
        url = f"ws://127.0.0.1:{self.line.port}/ws"
        tab.tab.evaluate(f"{SCRIPT}\njoin({json.dumps(url)}, {json.dumps(HEARTBEAT)}); true")
        self.tabs.append(tab)

    def reload(self, tab: OpenTab) -> None:
        """Load the page of a tab again."""
        self.tabs.remove(tab)
        tab.tab.reload()
        self._connect(OpenTab(tab.name, tab.tab))

    def leave(self, tab: OpenTab) -> None:
        """Go to another page in a tab."""
        tab.stuck = True
        tab.tab.navigate("about:blank")

    def come_back(self, tab: OpenTab) -> None:
        """Go back to the page that was left, which the browser may have kept with all that it holds."""
        tab.tab.go_back()
        tab.tab.wait_for("typeof begin === 'function'")
        tab.stuck = False
        if not tab.tab.evaluate("typeof client === 'object'"):
            self.tabs.remove(tab)
            self._connect(OpenTab(tab.name, tab.tab))

    @property
    def responsive(self) -> list[OpenTab]:
        """The tabs that can be asked."""
        return [tab for tab in self.tabs if not tab.stuck]

    def leader(self) -> OpenTab | None:
        """Return the tab that leads, if one does."""
        return next((tab for tab in self.responsive if tab.tab.evaluate("client.status.leads")), None)


class TabWorld:
    """A gateway, a browser, and groups of tabs."""

    def __init__(self, folder: Path, browser: Browser) -> None:
        self.site = ClientSite()
        self.site.token = self._token
        folder.mkdir()
        self.gateway = PageGateway(folder, self.site.origin, SETTINGS)
        self.gateway.start()
        self._browser = browser
        self.groups: list[Group] = []
        self.compared = 0

    def add(self, role: str, user: str, tabs: int) -> None:
        """Open tabs of a user."""
        group = Group(self._browser.context(), Line(self.gateway.port), role, user)
        self.groups.append(group)
        self._replay(group)
        for _ in range(tabs):
            group.open(self.site)

    def close(self) -> None:
        """End everything and check the log."""
        for group in self.groups:
            group.line.close()
        self.site.close()
        if self.gateway.process is not None:
            self.gateway.end()
        assert "Traceback" not in self.gateway.log, self.gateway.log

    def _token(self, reason: str, tab: str) -> str:
        group = next(group for group in self.groups if group.role == tab.split()[0])
        if group.refused:
            raise OSError
        return self._token_of(group)

    def _token_of(self, group: Group) -> str:
        return self.gateway.token(group.role, sub=group.user, exp=int(time.time()) + TOKEN_SECONDS)

    # Comparing

    def probe(self) -> None:
        """Have all tabs connect now, as when a user looks at them, in place of after a while."""
        for group in self.groups:
            for tab in group.tabs:
                tab.tab.evaluate("client.probe(); true")

    def compare(self, acknowledged: dict[tuple[str, int], tuple[str, str | None]]) -> None:
        """Wait until each tab holds the state of the gateway; check what it has told until then.

        Args:
            acknowledged: ids and users of the published events, by epoch and position.
        """
        end = time.monotonic() + SETTLE_SECONDS
        for group in self.groups:
            until(partial(self._is_equal, group, end), f"{group.role}: equal", SETTLE_SECONDS + DEADLINE)
        until(lambda: self._sockets() == len(self.groups), "each group has one socket", SETTLE_SECONDS)
        streams = {group.user: group.stream for group in self.groups}
        for (epoch, seq), (id_, user) in acknowledged.items():
            stream = streams[user or self.groups[0].user]
            found = stream.events.get(seq)
            if epoch == stream.epoch and (found is None or found[0] != id_):
                raise TabFault(f"{id_} for {user} was acknowledged at {seq}, where {found} is")
        for group in self.groups:
            for tab in group.tabs:
                errors = [error for error in tab.tab.errors if error.startswith("{")]
                assert not errors, errors
        acknowledged.clear()
        for group in self.groups:
            group.stream.events.clear()

    def _is_equal(self, group: Group, end: float) -> bool:
        """Look at all tabs of a group once; fail after ``end``."""
        # What a tab has told before it is asked is in the history after that.
        seen = [(tab, json.loads(tab.tab.evaluate(LOOK))) for tab in group.tabs]
        self._replay(group)
        for tab, look in seen:
            tab.check(look["noted"], group.stream)
        status, snapshot = self.gateway.http("/ws/snapshot", token=self._token_of(group))
        assert status == 200, snapshot
        for tab, look in seen:
            different = _difference(look, snapshot)
            if different is not None:
                if time.monotonic() > end:
                    tab.fail(f"{different}\n{look['status']}")
                return False
            tab.check_up_to(min(snapshot["seq"], group.stream.seq), group.stream)
        self.compared += len(seen)
        return True

    def _sockets(self) -> int:
        status, answer = self.gateway.http("/ws/stats", token=self._token_of(self.groups[0]))
        assert status == 200, answer
        total: int = answer["connections"]["total"]
        return total

    def _replay(self, group: Group) -> None:
        """Read what the gateway has for a user behind what is known."""
        stream = group.stream
        for message in self._read(group):
            payload = message["payload"]
            if message["type"] == "welcome" and payload["epoch"] != stream.epoch:
                # The store is new.
                stream.events.clear()
                stream.epoch, stream.seq = payload["epoch"], 0
                return self._replay(group)
            if "seq" in message:
                stream.events[message["seq"]] = (message["id"], message["type"])
            elif message["type"] == "resumed":
                stream.seq = payload["to_seq"]
            elif message["type"] in ("gap", "reset"):
                raise TabFault(f"{group.role}: {message}")
        return None

    def _read(self, group: Group) -> Iterator[dict[str, Any]]:
        """Yield the messages of a connection up to ``resumed``."""
        stream = group.stream
        url = f"ws://127.0.0.1:{self.gateway.port}/ws?ack=1&epoch={stream.epoch or 'none'}&seq={stream.seq}"
        protocols = ["callcenter.v1", f"bearer.{self._token_of(group)}"]
        with connect(url, subprotocols=protocols, max_size=None, open_timeout=DEADLINE, legacy=True) as socket:
            while True:
                message = json.loads(socket.recv(timeout=DEADLINE))
                yield message
                if message["type"] in ("resumed", "reset"):
                    return


def _difference(look: dict[str, Any], snapshot: dict[str, Any]) -> str | None:
    """Return in what a tab's state differs from that of the gateway."""
    dump, status = look["dump"], look["status"]
    if status["state"] != "live":
        return f"is {status['state']}"
    if dump["epoch"] != snapshot["epoch"]:
        return f"epoch {dump['epoch']} in place of {snapshot['epoch']}"
    for kind, key in (("events", _event_key), ("figures", _figure_key)):
        has = dict(map(key, dump[kind]))
        wants = dict(map(key, snapshot[kind]))
        if has != wants:
            missing = {name: wants[name] for name in wants if has.get(name) != wants[name]}
            extra = {name: has[name] for name in has if wants.get(name) != has[name]}
            return f"{kind}: lacks {missing}, has {extra}"
    return None


def _event_key(event: dict[str, Any]) -> tuple[Any, Any]:
    return event["seq"], (event["type"], event["id"], event.get("user_id"), event["payload"])


def _figure_key(figure: dict[str, Any]) -> tuple[Any, Any]:
    payload = figure["payload"]
    return (figure["type"], payload.get("queue_name"), payload.get("user_id")), payload
