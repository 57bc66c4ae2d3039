"""callcenter-ws statistics --from: the lines of a stream give the bytes that ``GET /ws/statistics`` gives."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from broker_contract import A
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from test_http_statistics import StatisticsWorld

from callcenter_ws.cli.main import main
from callcenter_ws.events.event import restore_event
from callcenter_ws.events.publication import Publication
from callcenter_ws.runtime.json import decode_json, encode_json
from callcenter_ws.statistics.checkpoint import take_changes
from callcenter_ws.statistics.export_line import export_line, read_line
from callcenter_ws.statistics.fold import apply_publication
from callcenter_ws.statistics.live import EXPIRY_MARGIN_MS, LiveFigures
from callcenter_ws.statistics.occurrence import instant_text
from callcenter_ws.statistics.store import FigurePosition, FigureWrite
from callcenter_ws.statistics.sums import DAY_MS
from callcenter_ws.testing import run
from tests.statistics.random_events import payloads_in_any_order

ZONE = {"time_zone": "Asia/Kathmandu", "queues": {"q": {"service_level_seconds": 5}}}
NOON = 12 * 3_600_000

Event = tuple[int, int, tuple[str, dict[str, Any]]]


def publication(seq: int, type_: str, payload: dict[str, Any], happened: int, received: int) -> Publication:
    event = restore_event(
        type_=type_,
        tenant_id=A,
        event_id=f"e{seq}",
        timestamp=instant_text(happened),
        user_id=None,
        payload=encode_json(payload),
        persist=False,
        origin="producer",
        received_at=0.0,
        received_ms=received,
        source="pbx",
    )
    return Publication(event, seq)


class Gateway(StatisticsWorld):
    """A gateway that folds publications, writes after each, and answers ``GET /ws/statistics``."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[bytes] = []
        self._epoch = run(self.world.broker.position(A)).epoch
        self._live = LiveFigures(A)
        self._written: FigurePosition | None = None
        run(self.figures.claim(A))

    def take(self, events: Sequence[Event]) -> None:
        for step, late, (type_, payload) in events:
            self.world.clock.advance(step / 1000)
            one = publication(len(self.lines) + 1, type_, payload, self.now - late, self.now)
            self.lines.append(export_line(one, self._epoch))
            apply_publication(self.state, one, self.now)
            self.write()

    def write(self) -> None:
        live = self._live.changes(self.state, self.now, epoch=self._epoch)
        position = FigurePosition(self._epoch, self.state.seq)
        rows = take_changes(self.state)
        assert run(self.figures.write(A, FigureWrite(0, self._written, position, position.seq, rows, live)))
        self._written = position


def command(*arguments: str) -> tuple[int, bytes, str]:
    """Return the status, the output and the errors of ``callcenter-ws statistics``."""
    out, errors = TextIOWrapper(BytesIO()), StringIO()
    with redirect_stdout(out), redirect_stderr(errors):
        status = main(["statistics", *arguments])
        out.flush()
    assert isinstance(out.buffer, BytesIO)
    return status, out.buffer.getvalue(), errors.getvalue()


def write_files(folder: Path, lines: Sequence[bytes], cut: int) -> list[str]:
    """Write a stream into two files that overlap, of which the later is named first; return their names."""
    old, new = folder / "old.jsonl.gz", folder / "new.jsonl"
    old.write_bytes(b"".join(gzip.compress(line + b"\n") for line in lines[: cut + 3]))
    new.write_bytes(b"".join(line + b"\n" for line in lines[cut:]))
    return [str(new), str(old), str(old)]


@settings(max_examples=15)
@given(payloads_in_any_order, st.integers(0, 40), st.sampled_from((0, 1500, 3_600_000, DAY_MS + 10_000)))
def test_random_streams(events: list[Event], cut: int, later: int) -> None:
    gateway = Gateway()
    first = (0, 0, ("statistics.settings.changed", ZONE))
    gateway.take([first, *events])
    gateway.world.clock.advance(later / 1000)
    gateway.write()
    at = instant_text(gateway.now)
    # A call is lost after 24 hours; the rows of the gateway say so after a margin.
    ages = [gateway.now - read_line(line).received_ms for line in gateway.lines]
    assume(not any(0 <= age - DAY_MS <= EXPIRY_MARGIN_MS for age in ages))
    with TemporaryDirectory() as name:
        files = write_files(Path(name), gateway.lines, min(cut, len(events)))
        for query, options in (
            ("", ()),
            ("?from=2027-01-14&interval=60", ("--since", "2027-01-14", "--interval", "60")),
            ("?queue=q&agent=u1&interval=15", ("--queue", "q", "--agent", "u1", "--interval", "15")),
        ):
            status, printed, errors = command("--from", *files, "--at", at, "--json", *options)
            assert (status, errors) == (0, "")
            assert printed == gateway.ask(query).body + b"\n"
        _, printed, _ = command("--from", *files, "--at", at, "--csv")
        assert printed == gateway.ask(Accept="text/csv").body
    gateway.site.stopFactory()


JOINED = {"unique_id": "c1", "queue_name": "q"}


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    made = Gateway()
    made.take([(0, 0, ("queue.joined", JOINED)), (8000, 0, ("call.abandoned", {**JOINED, "wait_seconds": 8}))])
    yield made
    made.site.stopFactory()


def offered(*arguments: str) -> list[str]:
    """Return the row of the queue that the command prints."""
    status, printed, errors = command(*arguments)
    assert (status, errors) == (0, "")
    (row,) = [line.split() for line in printed.decode().splitlines() if line.startswith("q ")]
    return row[2:6]  # waiting, offered, answered, abandoned


def test_the_instant_is_the_last_event_or_the_one_that_is_given(gateway: Gateway, tmp_path: Path) -> None:
    files = write_files(tmp_path, gateway.lines, 1)
    assert offered("--from", *files) == ["0", "1", "0", "1"]
    assert offered("--from", *files, "--at", "2027-01-15T08:00:07.999Z") == ["1", "1", "0", "0"]


def test_a_configuration_gives_the_settings_before_the_first_event(gateway: Gateway, tmp_path: Path) -> None:
    files = write_files(tmp_path, gateway.lines, 1)
    config = tmp_path / "gw.toml"
    config.write_text(f'[tenants."{A}".statistics]\ntime_zone = "Asia/Kathmandu"\nservice_level_seconds = 33\n')
    _, printed, errors = command("--from", *files, "--config", str(config))
    assert errors == ""
    assert b"(Asia/Kathmandu)" in printed
    assert b"within 33 s" in printed


def test_a_queue_whose_figures_producers_send_has_none_of_now(gateway: Gateway, tmp_path: Path) -> None:
    gateway.policy.of_producers.add("q")
    files = write_files(tmp_path, gateway.lines, 1)
    config = tmp_path / "gw.toml"
    config.write_text(f'[tenants."{A}".statistics.queues.q]\nqueue_stats = "producer"\n')
    _, printed, errors = command("--from", *files, "--config", str(config), "--json")
    answer = gateway.ask("").body
    assert (printed, errors) == (answer + b"\n", "")
    (queue,) = decode_json(answer)["queues"]
    assert (queue["queue_stats"], queue["now"], queue["intervals"][0]["abandoned"]) == ("producer", None, 1)
    assert offered("--from", *files, "--config", str(config)) == ["-", "1", "0", "1"]


def test_what_is_missing_is_said(gateway: Gateway, tmp_path: Path) -> None:
    gateway.take([(0, 0, ("queue.joined", {**JOINED, "unique_id": f"c{number}"})) for number in range(2, 6)])
    file = tmp_path / "some"
    file.write_bytes(b"\n".join([gateway.lines[1], b"no line", *gateway.lines[4:]]))
    status, printed, errors = command("--from", str(file))
    assert status == 0
    assert "INCOMPLETE since 2027-01-15T08:00:08.000Z" in printed.decode()
    assert [line.partition(": ")[2] for line in errors.splitlines()] == [
        "events 1 to 1 are not in these files: what depends on them is missing",
        f"{file}, line 2 is left out: JSON is malformed: invalid character (byte 4)",
        "events 3 to 4 are not in these files: what depends on them is missing",
    ]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (b'"seq":1,', b'"seq":1e30,', "line 1 is left out: "),
        (b'"seq":1,', b'"seq":%d,' % 10**30, "line 1 is left out: "),
        (b'"received_at":"2027', b'"received_at":"9999', "line 1 is left out: received_at: expected a year"),
        (b'"payload":{', b'"payload":[],"old":{', "event 1 is left out: payload: expected an object"),
        (b'"unique_id":"c1"', b'"unique_id":"\xff"', "event 1 is left out: payload: "),
        (b'"payload":{', b'"payload":{"x":' + b"[" * 50_000 + b"]" * 50_000 + b",", "line 1 is left out: it is nested"),
        (b'"payload":{', b'"payload":{"x":"' + b"x" * 8_388_608 + b'",', "line 1 is left out: it is longer than"),
    ],
)
def test_a_damaged_line_is_left_out_and_said(
    gateway: Gateway, tmp_path: Path, old: bytes, new: bytes, problem: str
) -> None:
    gateway.take([(1000, 0, ("queue.joined", {**JOINED, "unique_id": f"c{number}"})) for number in range(2)])
    assert old in gateway.lines[0]
    file = tmp_path / "some"
    file.write_bytes(b"\n".join([gateway.lines[0].replace(old, new), *gateway.lines[1:]]))
    status, printed, errors = command("--from", str(file), "--json")
    assert status == 0
    assert problem in errors
    assert decode_json(printed)["queues"][0]["intervals"][0]["offered"] == len(gateway.lines) - 1


def test_of_many_damaged_lines_the_first_are_said(gateway: Gateway, tmp_path: Path) -> None:
    gateway.take([(1000, 0, ("queue.joined", {**JOINED, "unique_id": f"c{number}"})) for number in range(4)])
    file = tmp_path / "some"
    lines = [gateway.lines[2], b"", *[b"x"] * 30, gateway.lines[1], gateway.lines[3]]
    file.write_bytes(gzip.compress(b"\n".join(lines) + b"\n") + b"no member")
    status, _, errors = command("--from", str(file))
    assert status == 0
    said = [line.removeprefix(f"callcenter-ws statistics: {file}, ") for line in errors.splitlines()]
    assert sum(line.endswith("is left out: JSON is malformed: invalid character (byte 0)") for line in said) == 10
    assert f"callcenter-ws statistics: {file}: the same is true of 21 more lines" in said
    assert (
        f"callcenter-ws statistics: {file}: the end cannot be read: it is being written, was cut off or is damaged"
        in (said)
    )


def test_lines_that_are_out_of_order_are_said(gateway: Gateway, tmp_path: Path) -> None:
    gateway.take([(1000, 0, ("queue.joined", {**JOINED, "unique_id": f"c{number}"})) for number in range(4)])
    file = tmp_path / "some"
    file.write_bytes(b"\n".join([gateway.lines[2], gateway.lines[1], gateway.lines[3]]))
    _, _, errors = command("--from", str(file))
    assert f"{file}, line 2: event 2 comes after 3, and may be left out for that" in errors


def test_another_epoch_ends_what_was_true(gateway: Gateway, tmp_path: Path) -> None:
    gateway.take([(1000, 0, ("queue.joined", {**JOINED, "unique_id": "c2"}))])
    other = Gateway()
    other.world.clock.advance(60)
    other.take([(0, 0, ("queue.joined", {**JOINED, "unique_id": "c3"}))])
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_bytes(b"\n".join(gateway.lines))
    new.write_bytes(b"\n".join(other.lines).replace(other._epoch.encode(), b"later"))
    assert offered("--from", str(new), str(old)) == ["1", "3", "0", "1"]
    other.site.stopFactory()


def test_events_that_a_store_repeats_in_another_epoch_count_once(gateway: Gateway, tmp_path: Path) -> None:
    gateway.take([(1000, 0, ("queue.joined", {**JOINED, "unique_id": "c2"}))])
    old, new, epoch = tmp_path / "old", tmp_path / "new", gateway._epoch.encode()
    old.write_bytes(b"\n".join(gateway.lines))
    # A backup was restored: the store goes on in a new epoch, and all that it has is archived again.
    gateway.take([(1000, 0, ("call.abandoned", {**JOINED, "unique_id": "c2"}))])
    new.write_bytes(b"\n".join(gateway.lines).replace(epoch, b"~later"))
    for files in ((str(old), str(new)), (str(new), str(old))):
        assert offered("--from", *files) == ["0", "2", "0", "2"], "what was true goes on, too"
    _, printed, _ = command("--from", str(old), str(new))
    assert b"INCOMPLETE since 2027-01-15T08:00:09.000Z" in printed, "what followed the backup is not known"


def test_events_that_followed_a_backup_count_beside_those_after_it(gateway: Gateway, tmp_path: Path) -> None:
    gateway.take([(1000, 0, ("queue.joined", {**JOINED, "unique_id": "lost"}))])
    old, new, epoch = tmp_path / "old", tmp_path / "new", gateway._epoch.encode()
    old.write_bytes(b"\n".join(gateway.lines))
    del gateway.lines[2:]
    gateway.take([(1000, 0, ("queue.joined", {**JOINED, "unique_id": f"c{number}"})) for number in range(2, 4)])
    new.write_bytes(b"\n".join(gateway.lines).replace(epoch, b"~later"))
    assert offered("--from", str(old), str(new)) == ["2", "4", "0", "1"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--from", "{none}"), "No such file"),
        (("--from", "{empty}"), "have no event"),
        (("--from", "{lines}", "--tenant", "other"), "no event of tenant other"),
        (("--from", "{lines}", "{other}"), "choose one with --tenant"),
        (("--from", "{lines}", "--url", "http://localhost"), "--url asks a gateway"),
        (("--from", "{lines}", "--since", "yesterday"), "--since: expected a date"),
        (("--at", "2026-11-23"), "--at needs --from"),
    ],
)
def test_what_is_refused(gateway: Gateway, tmp_path: Path, arguments: Sequence[str], problem: str) -> None:
    contents = {"empty": b"", "lines": gateway.lines[0], "other": gateway.lines[0].replace(A.encode(), b"another")}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    paths = {name: str(tmp_path / name) for name in (*contents, "none")}
    status, _, errors = command(*[argument.format(**paths) for argument in arguments])
    assert status == 1
    assert problem in errors
