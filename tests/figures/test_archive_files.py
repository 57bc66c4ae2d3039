"""The files of an archive."""

from __future__ import annotations

import gzip
import hashlib
import stat
import subprocess
import tracemalloc
from pathlib import Path

import pytest

from callcenter_ws.figures import archive_files
from callcenter_ws.figures.archive_files import DIGESTS, TenantFolder, folder_name, read_lines

DAY = 20_780  # 2026-11-23


def lines_of(path: Path) -> list[bytes]:
    with path.open("rb") as file:
        return list(read_lines(file))


@pytest.fixture
def folder(tmp_path: Path) -> TenantFolder:
    return TenantFolder(tmp_path / "archive" / "streams", "acme", "pbx1/2")


def test_each_append_adds_a_member_for_the_owner_alone(folder: TenantFolder) -> None:
    name = folder.new_file(DAY)
    assert name == "2026-11-23.pbx1%2F2.jsonl.gz"
    size = folder.append(name, 0, [b'{"a":1}', b'{"a":2}'])
    path = folder.path / name
    assert size == path.stat().st_size
    assert folder.append(name, size, [b'{"a":3}']) == path.stat().st_size
    assert lines_of(path) == [b'{"a":1}', b'{"a":2}', b'{"a":3}']
    assert gzip.decompress(path.read_bytes()).count(b"\n") == 3
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for one in (folder.path, folder.path.parent, folder.path.parent.parent):
        assert stat.S_IMODE(one.stat().st_mode) == 0o700


@pytest.mark.parametrize("torn", [1, 9, 40, 200])
def test_what_is_behind_the_recorded_size_is_removed(folder: TenantFolder, torn: int) -> None:
    name = folder.new_file(DAY)
    size = folder.append(name, 0, [b"one"])
    path = folder.path / name
    lines = [hashlib.sha256(b"%d" % number).hexdigest().encode() for number in range(20)]
    whole = folder.append(name, size, lines)
    path.write_bytes(path.read_bytes()[: whole - torn])
    # A reader yields whole lines only; the next append removes what is torn.
    found = lines_of(path)
    assert found == [b"one", *lines[: len(found) - 1]]
    folder.append(name, size, [b"four"])
    assert lines_of(path) == [b"one", b"four"]


def test_a_file_that_someone_shortened_is_continued(folder: TenantFolder) -> None:
    name = folder.new_file(DAY)
    size = folder.append(name, 0, [b"one"])
    (folder.path / name).unlink()
    assert folder.append(name, size, [b"two"]) == (folder.path / name).stat().st_size
    assert lines_of(folder.path / name) == [b"two"]


def test_a_file_of_another_run_is_not_touched(folder: TenantFolder) -> None:
    folder.append(folder.new_file(DAY), 0, [b"one"])
    second = folder.new_file(DAY)
    assert second == "2026-11-23.pbx1%2F2.2.jsonl.gz"
    folder.append(second, 0, [b"two"])
    assert [lines_of(path) for path in folder.files()] == [[b"two"], [b"one"]]


def test_ended_days_are_listed_with_digests_and_removed_when_they_are_old(folder: TenantFolder) -> None:
    names = []
    for day in range(3):
        names.append(folder.new_file(DAY + day))
        folder.append(names[-1], 0, [b"%d" % day])
        folder.close_day(names[-1])
    # Closed again, as after a crash: it is listed once.
    folder.close_day(names[1])
    listed = (folder.path / DIGESTS).read_text().splitlines()
    assert listed == [f"{hashlib.sha256((folder.path / name).read_bytes()).hexdigest()}  {name}" for name in names]
    subprocess.run(["sha256sum", "--check", "--quiet", DIGESTS], cwd=folder.path, check=True)
    assert stat.S_IMODE((folder.path / DIGESTS).stat().st_mode) == 0o600
    assert folder.remove_before(DAY + 2) == 2
    assert [path.name for path in folder.files()] == names[2:]
    assert (folder.path / DIGESTS).read_text().splitlines() == listed[2:]
    assert folder.remove_before(DAY + 2) == 0


@pytest.mark.parametrize("tenant", ["acme", "a/b", "..", ".", "ä" * 255, "a" * 255, "A b", "%2E"])
def test_each_tenant_has_a_folder_of_its_own_below_the_archive(tenant: str) -> None:
    name = folder_name(tenant)
    assert "/" not in name
    assert name not in (".", "..")
    assert len(name) <= 200
    others = ["acme", "a/b", "..", ".", "ä" * 255, "ä" * 254, "a" * 255, "a" * 254, "A b", "%2E"]
    assert [other for other in others if folder_name(other) == name] == [tenant]


def test_lines_of_a_plain_file_may_end_without_a_line_feed(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"one\ntwo")
    assert lines_of(path) == [b"one", b"two"]
    path.write_bytes(b"")
    assert lines_of(path) == []


@pytest.mark.parametrize(
    ("content", "is_torn"),
    [
        (gzip.compress(b"one\n"), False),
        (gzip.compress(b"one\n") + gzip.compress(b"two\n")[:-3], True),
        (gzip.compress(b"one\n") + b"no member", True),
        (gzip.compress(b"one\n") + gzip.compress(b""), False),
    ],
    ids=["whole", "cut", "followed by something else", "followed by nothing"],
)
def test_compressed_lines_that_end_too_early_are_said(tmp_path: Path, content: bytes, is_torn: bool) -> None:
    path = tmp_path / "lines.gz"
    path.write_bytes(content)
    said: list[bool] = []
    with path.open("rb") as file:
        found = list(read_lines(file, lambda: said.append(True)))
    assert found[0] == b"one"
    assert bool(said) == is_torn


@pytest.mark.parametrize("is_compressed", [False, True])
def test_long_lines_are_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_compressed: bool) -> None:
    monkeypatch.setattr(archive_files, "MAX_LINE_BYTES", 10)
    monkeypatch.setattr(archive_files, "_READ_BYTES", 7)
    text = b"0123456789\n" + b"x" * 1_000 + b"\n" + b"\n" * 20 + b"last\n"
    path = tmp_path / "lines"
    path.write_bytes(gzip.compress(text) if is_compressed else text)
    assert lines_of(path) == [b"0123456789", b"x" * 11, *[b""] * 20, b"last"]


def test_little_memory_is_needed_for_much_that_was_compressed_well(tmp_path: Path) -> None:
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(b"x" * 50_000_000 + b"\n" * 2_000, 1))
    tracemalloc.start()
    with path.open("rb") as file:
        assert sum(1 for _ in read_lines(file)) == 2_000
    assert tracemalloc.get_traced_memory()[1] < 25_000_000
    tracemalloc.stop()
