"""Peers that are not installed, the plot, and what is worked out about figures and viewers."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from bench.event import EVENT_BYTES, Event, call_center
from bench.failure import Unavailable
from bench.loader import Loader
from bench.peers.contestant import Transport
from bench.peers.roster import PEERS, start
from bench.plot import check_plotting, draw
from bench.report import Figure, Limit, Ratio, Report, Row
from bench.viewer import Viewer, staff

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def loader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loader]:
    running = Loader(tmp_path_factory.mktemp("loader"))
    yield running
    running.close()


def test_peers_that_are_not_installed_are_left_out_by_name(
    loader: Loader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("bench.peers.hub.importlib.util.find_spec", lambda name: None)
    report = Report("fan-out", "")
    with start(tmp_path / "peers", loader, Transport.PLAIN, report, PEERS) as contestants:
        assert contestants == []
    reasons = {row.label: row.unavailable for row in report.rows}
    assert reasons == {
        f"{kind.name} | plain": f"{missing} is not installed; bench/setup installs it"
        for kind, missing in zip(
            PEERS, ("nats-server", "go", "go", "nginx with nchan", "node", "Python's websockets"), strict=True
        )
    }
    assert "nats-server | plain        not available: nats-server is not installed; bench/setup installs it" in str(
        report
    )


def test_without_the_headers_there_is_no_tls(loader: Loader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "missing", ("libssl-dev",))
    report = Report("fan-out", "")
    with start(tmp_path / "peers", loader, Transport.TLS, report) as contestants:
        assert contestants == []
    assert report.rows == [Row("TLS", unavailable="libssl-dev is not installed; bench/setup installs it")]


def fan_out() -> Report:
    report = Report("fan-out", "")
    for who in ("gateway", "nats-server"):
        for window in (1, 8):
            figures = [Figure("messages/s", [1.0]), Figure("CPU µs/message", [3.0 / window, 4.0 / window])]
            report.rows.append(Row(f"{who} | plain, {window} outstanding", figures))
    return report


def test_the_same_figures_make_the_same_plot(tmp_path: Path) -> None:
    files = [tmp_path / "one.svg", tmp_path / "other.svg"]
    for file in files:
        draw([fan_out()], file)
    one, other = [file.read_text() for file in files]
    assert one == other
    for text in ("gateway", "nats-server", "8 outstanding", "CPU µs/message, logarithmic"):
        assert text in one


def test_a_plot_needs_something_to_show() -> None:
    check_plotting(["ingest", "memory"])
    with pytest.raises(Unavailable, match="none of these is to be measured"):
        check_plotting(["ingest"])


def test_without_matplotlib_the_command_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.plot.importlib.util.find_spec", lambda name: None)
    with pytest.raises(Unavailable, match="bench/setup installs it"):
        check_plotting(["fan-out"])


def test_the_help_names_every_case() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "bench", "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    ).stdout
    for case in ("fan-out", "latency", "connect", "memory", "compression", "tenants", "ingest", "resume", "snapshot"):
        assert f"\n  {case} " in shown


def test_an_event_that_tells_when_it_was_sent_is_as_large() -> None:
    for event in islice(call_center(), 40):
        for sent in (1, time.monotonic_ns(), 2**62):
            stamped = event.stamped(sent)
            assert len(stamped.draft) == EVENT_BYTES
            assert stamped.payload.endswith(b'","sent_ns":%d}' % sent)


@pytest.mark.parametrize(
    ("costs", "most", "met"), [([0.4, 0.9, 0.5], 0.5, True), ([0.6], 0.5, False), ([9.0], None, None)]
)
def test_what_was_asked_of_a_cost_is_judged_by_the_median(
    costs: list[float], most: float | None, met: bool | None
) -> None:
    assert Limit("", "CPU", costs, most).met is met
    assert Ratio("", [1.0], costs, most=most).met is met
    told = {True: "asked for: at most 0.5, met", False: "asked for: at most 0.5, NOT MET"}
    if met is not None:
        assert told[met] in str(Ratio("", [1.0], costs, most=most))


def call(queue: str) -> Event:
    return Event("call.incoming", "1", b'{"queue_name":"%b"}' % queue.encode())


def test_viewers_get_what_the_protocol_owes_them() -> None:
    of_one = Viewer("a", "agent", ("call.*", "agent.*"), ("queue-1",))
    assert [of_one.gets(call(queue)) for queue in ("queue-1", "queue-2")] == [True, False]
    state = Event("agent.state.changed", "1", b"{}")
    assert of_one.gets(state)
    assert not Viewer("b", "supervisor", ("call.*",)).gets(state)
    assert [Viewer(user, "agent", ("agent.*",)).gets(state._replace(user="a")) for user in "ab"] == [True, False]
    roles = [viewer.role for viewer in staff(50)]
    assert {role: roles.count(role) for role in roles} == {"agent": 40, "supervisor": 8, "wallboard": 2}
