"""Missing peers, the plot, and the calculations with figures and viewers."""

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
from bench.peers.peer_list import PEERS, start
from bench.peers.server import Transport
from bench.plot import check_plotting, draw
from bench.report import Figure, Limit, Ratio, Report, Row
from bench.viewer import Viewer, mixed_clients

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def loader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loader]:
    running = Loader(tmp_path_factory.mktemp("loader"))
    yield running
    running.close()


def test_peers_that_are_not_installed_are_reported(
    loader: Loader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("bench.peers.hub.importlib.util.find_spec", lambda name: None)
    report = Report("fan-out", "")
    with start(tmp_path / "peers", loader, Transport.PLAIN, report, PEERS) as servers:
        assert servers == []
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


def test_tls_is_unavailable_without_the_headers(
    loader: Loader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "missing", ("libssl-dev",))
    report = Report("fan-out", "")
    with start(tmp_path / "peers", loader, Transport.TLS, report) as servers:
        assert servers == []
    assert report.rows == [Row("TLS", unavailable="libssl-dev is not installed; bench/setup installs it")]


def fan_out() -> Report:
    report = Report("fan-out", "")
    for server in ("gateway", "nats-server"):
        for window in (1, 8):
            figures = [Figure("messages/s", [1.0]), Figure("CPU µs/message", [3.0 / window, 4.0 / window])]
            report.rows.append(Row(f"{server} | plain, {window} outstanding", figures))
    return report


def test_equal_figures_give_equal_plots(tmp_path: Path) -> None:
    files = [tmp_path / "one.svg", tmp_path / "other.svg"]
    for file in files:
        draw([fan_out()], file)
    one, other = [file.read_text() for file in files]
    assert one == other
    for text in ("gateway", "nats-server", "8 outstanding", "CPU µs/message, logarithmic"):
        assert text in one


def test_a_plot_needs_a_case_that_it_shows() -> None:
    check_plotting(["ingest", "memory"])
    with pytest.raises(Unavailable, match="none of these is to be measured"):
        check_plotting(["ingest"])


def test_missing_matplotlib_names_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.plot.importlib.util.find_spec", lambda name: None)
    with pytest.raises(Unavailable, match="bench/setup installs it"):
        check_plotting(["fan-out"])


def test_help_lists_every_case() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "bench", "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    ).stdout
    for case in ("fan-out", "latency", "connect", "memory", "compression", "tenants", "ingest", "resume", "snapshot"):
        assert f"\n  {case} " in shown


def test_a_stamped_event_has_the_same_size() -> None:
    for event in islice(call_center(), 40):
        for sent in (1, time.monotonic_ns(), 2**62):
            stamped = event.stamped(sent)
            assert len(stamped.draft) == EVENT_BYTES
            assert stamped.payload.endswith(b'","sent_ns":%d}' % sent)


@pytest.mark.parametrize(
    ("costs", "maximum", "met"), [([0.4, 0.9, 0.5], 0.5, True), ([0.6], 0.5, False), ([9.0], None, None)]
)
def test_cost_goals_apply_to_the_median(costs: list[float], maximum: float | None, met: bool | None) -> None:
    assert Limit("", "CPU", costs, maximum).met is met
    assert Ratio("", [1.0], costs, maximum=maximum).met is met
    expected = {True: "goal: at most 0.5, met", False: "goal: at most 0.5, NOT MET"}
    if met is not None:
        assert expected[met] in str(Ratio("", [1.0], costs, maximum=maximum))


def call(queue: str) -> Event:
    return Event("call.incoming", "1", b'{"queue_name":"%b"}' % queue.encode())


def test_viewers_receive_events_by_role_queue_and_user() -> None:
    restricted = Viewer("a", "agent", ("call.*", "agent.*"), ("queue-1",))
    assert [restricted.gets(call(queue)) for queue in ("queue-1", "queue-2")] == [True, False]
    state = Event("agent.state.changed", "1", b"{}")
    assert restricted.gets(state)
    assert not Viewer("b", "supervisor", ("call.*",)).gets(state)
    assert [Viewer(user, "agent", ("agent.*",)).gets(state._replace(user="a")) for user in "ab"] == [True, False]
    roles = [viewer.role for viewer in mixed_clients(50)]
    assert {role: roles.count(role) for role in roles} == {"agent": 40, "supervisor": 8, "wallboard": 2}
