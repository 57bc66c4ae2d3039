"""Files that a gateway must not or cannot use: it does not start and logs why, or refuses what it cannot do."""

from __future__ import annotations

import asyncio
import itertools
import random
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from checker import Ledger, Offer, Reader, Viewer, stored_events
from restartable import RestartableGateway
from roaming import RoamingClient
from senders import AmpLink
from small_disk import SmallDisk

from callcenter_ws.broker.sqlite.schema import APPLICATION_ID, VERSION

PAGE = 4096
EVENTS = 400
PARTS = 4
TENANTS = ("acme", "globex", "initech")
MARK = "x" * 2_000


@pytest.fixture
def gateway(make_gateway: Callable[..., RestartableGateway]) -> RestartableGateway:
    return make_gateway()


def complaint(gateway: RestartableGateway) -> str:
    """Start the gateway, which must fail; return the one line of output that has the reason and names the file."""
    output = gateway.fail_to_start()
    assert "Traceback" not in output, output
    # Without the lines that Twisted logs at the start, those of ports opened before the store, and warnings.
    lines = [
        line
        for line in output.splitlines()
        if not any(known in line for known in ("starting up.", "reactor class:", " starting on ", "#warn]"))
    ]
    assert len([line for line in lines if str(gateway.store) in line]) == 1, output
    assert lines[-1].strip() and len([line for line in lines if "error" in line or "critical" in line]) <= 1, output
    return next(line for line in lines if str(gateway.store) in line)


def fill_store(gateway: RestartableGateway, events: int = EVENTS) -> None:
    """Make a file with events of all tenants, and close it in order."""
    gateway.start()
    for tenant in TENANTS:
        for start in range(0, events, 200):
            batch = [
                {
                    "tenant_id": tenant,
                    "type": "alert",
                    "payload": {"title": f"{tenant} {number}", "message": MARK},
                    "event_id": f"{tenant}-{number}",
                }
                for number in range(start, min(events, start + 200))
            ]
            status, answer = gateway.publish(batch)
            assert status == 200 and not [result for result in answer["results"] if "error" in result]
    assert gateway.end(signal.SIGTERM) == -signal.SIGTERM


def overwrite(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


# Detected at the start


def test_a_text_file(gateway: RestartableGateway) -> None:
    gateway.store.write_text("These are my notes.\n" * 1_000)
    assert "not a SQLite file" in complaint(gateway)
    assert gateway.store.read_text() == "These are my notes.\n" * 1_000


def test_a_damaged_header(gateway: RestartableGateway) -> None:
    fill_store(gateway, 10)
    overwrite(gateway.store, 0, random.Random(1).randbytes(100))
    assert "its header is damaged" in complaint(gateway)


def test_a_damaged_first_page(gateway: RestartableGateway) -> None:
    fill_store(gateway, 10)
    overwrite(gateway.store, 100, b"\xff" * (PAGE - 100))
    assert "damaged" in complaint(gateway)


def test_a_sqlite_file_of_another_program(gateway: RestartableGateway) -> None:
    with closing(sqlite3.connect(gateway.store)) as db:
        db.execute("CREATE TABLE bookmarks (url TEXT)")
    assert "of another program" in complaint(gateway)
    with closing(sqlite3.connect(gateway.store)) as db:
        assert db.execute("SELECT name FROM sqlite_schema").fetchall() == [("bookmarks",)]


def test_a_file_of_a_newer_version(gateway: RestartableGateway) -> None:
    fill_store(gateway, 10)
    with closing(sqlite3.connect(gateway.store)) as db:
        db.execute(f"PRAGMA user_version = {VERSION + 1}")
    line = complaint(gateway)
    assert f"version {VERSION + 1}" in line and "newer" in line
    with closing(sqlite3.connect(gateway.store)) as db:
        assert db.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert db.execute("SELECT count(*) FROM event").fetchone() == (10 * len(TENANTS),)
        db.execute(f"PRAGMA user_version = {VERSION}")
    gateway.start()


def test_a_file_that_another_gateway_uses(
    gateway: RestartableGateway, make_gateway: Callable[..., RestartableGateway]
) -> None:
    gateway.start()
    second = make_gateway(store=gateway.store)
    assert "in use by another gateway" in complaint(second)
    assert gateway.publish({"tenant_id": "acme", "type": "alert", "payload": {"title": "t", "message": "m"}})[0] == 200
    gateway.end()
    # The lock is released at once, however the other gateway ended.
    second.start()


def test_a_folder_that_is_not_there(make_gateway: Callable[..., RestartableGateway], tmp_path: Path) -> None:
    gateway = make_gateway(store=tmp_path / "missing" / "events.sqlite")
    output = gateway.fail_to_start()
    assert f"store.url: there is no folder {tmp_path / 'missing'}" in output
    assert "Traceback" not in output


def test_a_folder_in_the_place_of_the_file(gateway: RestartableGateway) -> None:
    gateway.store.mkdir()
    assert "is a folder" in complaint(gateway)


@pytest.mark.parametrize("is_new", [True, False])
def test_a_read_only_disk(is_new: bool, small_disk: SmallDisk, make_gateway: Callable[..., RestartableGateway]) -> None:
    gateway = make_gateway(store=small_disk.path / "events.sqlite")
    if not is_new:
        fill_store(gateway, 10)
    small_disk.remount("ro")
    assert "Read-only file system" in complaint(gateway)
    small_disk.remount("rw")
    gateway.start()


def test_a_full_disk_at_the_start(small_disk: SmallDisk, make_gateway: Callable[..., RestartableGateway]) -> None:
    gateway = make_gateway(store=small_disk.path / "events.sqlite")
    small_disk.fill()
    assert "the disk is full" in complaint(gateway)
    small_disk.clear()
    gateway.start()


def test_killed_while_the_disk_is_full(small_disk: SmallDisk, make_gateway: Callable[..., RestartableGateway]) -> None:
    """It starts and refuses what it must, or logs why it does not start; nothing is lost."""
    gateway = make_gateway(store=small_disk.path / "events.sqlite")
    gateway.start()
    ledger = Ledger()
    small_disk.fill(500_000)
    for number in itertools.count():
        offer = Offer("acme", "alert", {"title": f"{number}", "message": MARK}, f"event-{number}")
        ledger.offer(offer)
        status, answer = gateway.publish(offer.fields)
        if status != 200:
            break
        ledger.acknowledge(offer.event_id, answer["epoch"], answer["seq"])
    assert status == 503 and "the disk is full" in answer["error"]["message"]
    gateway.end()
    process = gateway.launch()
    try:
        process.expect(r"callcenter-ws \S+ listens")
    except AssertionError:
        gateway.end()
        assert "the disk is full" in complaint(gateway)
    else:
        ledger.check_store(stored_events(gateway.store))
        gateway.end()
    small_disk.clear()
    gateway.start()
    ledger.check_store(stored_events(gateway.store))
    status, answer = gateway.publish(offer.fields)
    assert (status, answer["seq"], answer["epoch"]) == (200, ledger.head("acme") + 1, ledger.epoch)


# Detected later


def truncated(path: Path, keep: float) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(int(size * keep))


@pytest.mark.parametrize("keep", [0.9, 0.5, 0.003])
def test_a_truncated_file(keep: float, gateway: RestartableGateway) -> None:
    fill_store(gateway)
    truncated(gateway.store, keep)
    starts_or_logs_why_not(gateway)


def test_an_empty_file(gateway: RestartableGateway) -> None:
    """It is handled as a missing file: a new history begins, with a new epoch."""
    fill_store(gateway, 10)
    gateway.store.write_bytes(b"")
    gateway.start()
    status, answer = gateway.publish(alert("acme"))
    assert (status, answer["seq"]) == (200, 1)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_garbage_in_the_middle(part: int, gateway: RestartableGateway) -> None:
    fill_store(gateway)
    pages = gateway.store.stat().st_size // PAGE
    for page in range(1, pages):
        if page * PARTS // pages == part:
            overwrite(gateway.store, page * PAGE, b"\xff" * PAGE)
    starts_or_logs_why_not(gateway)


def test_damage_to_one_tenant_does_not_affect_another(gateway: RestartableGateway) -> None:
    """Another whose events are in other pages; tenants that published at the same time share pages."""
    fill_store(gateway)
    damage_tenant(gateway.store, "acme")
    asyncio.run(serve_damaged(gateway, healthy="initech", damaged="acme"))


def damage_tenant(path: Path, tenant: str) -> None:
    """Overwrite every page that holds events of a tenant and of no other."""
    data = path.read_bytes()
    pages = [data[start : start + PAGE] for start in range(0, len(data), PAGE)]
    others = [one.encode() for one in TENANTS if one != tenant]
    damaged = [
        number
        for number, page in enumerate(pages)
        if MARK.encode()[:100] in page and tenant.encode() in page and not any(other in page for other in others)
    ]
    assert len(damaged) > 100
    for number in damaged:
        overwrite(path, number * PAGE, b"\xff" * PAGE)


def alert(tenant: str) -> dict[str, object]:
    return {"tenant_id": tenant, "type": "alert", "payload": {"title": "t", "message": "m"}}


def starts_or_logs_why_not(gateway: RestartableGateway) -> None:
    process = gateway.launch()
    try:
        process.expect(r"callcenter-ws \S+ listens")
    except AssertionError:
        gateway.end()
        assert "damaged" in complaint(gateway)
        return
    gateway.end()
    asyncio.run(serve_damaged(gateway))


async def publish_some(link: AmpLink, client: RoamingClient) -> list[str]:
    """Publish for the client's tenant once it is connected or refused; return why each was refused, or empty texts."""
    reader = client.reader
    await client.until(lambda: client.is_up_to_date or reader.errors or client.closed_with)
    tenant = reader.viewer.tenant
    outcomes = [
        await link.publish(Offer(tenant, "alert", {"title": "t", "message": MARK}, f"{tenant}-new-{number}"))
        for number in range(20)
    ]
    for refusal in filter(None, outcomes):
        assert refusal.startswith("UNAVAILABLE ") and "damaged" in refusal, refusal
    for error in reader.errors:
        assert error["payload"]["code"] == "unavailable" and "damaged" in error["payload"]["message"], error
    return outcomes


async def serve_damaged(gateway: RestartableGateway, healthy: str | None = None, damaged: str | None = None) -> None:
    """Check that publishing is acknowledged or refused with a reason, and that clients stay connected.

    Args:
        healthy, damaged: a tenant that can be served, and one that cannot.
    """
    ledger = Ledger()
    await asyncio.to_thread(gateway.start)
    clients = []
    for tenant in (*TENANTS, "new"):
        client = RoamingClient(gateway, Reader(ledger, Viewer(tenant, "supervisor", "sue")), random.Random(0))
        client.start()
        clients.append(client)
    link = await AmpLink(ledger).open(gateway.amp_path)
    try:
        outcomes = {client.reader.viewer.tenant: await publish_some(link, client) for client in clients}
        for client in clients:
            client.check()
            if not client.reader.errors:
                assert (client.reader.counts.connections, client.closed_with) == (1, []), outcomes
                await client.wait_for_pongs()
                client.reader.compare(ledger.head(client.reader.viewer.tenant))
    finally:
        await link.close()
        for client in clients:
            await client.leave()
    if healthy is not None and damaged is not None:
        assert not any(outcomes[healthy]) and all(outcomes[damaged])
    ledger.check_refused()
    assert (await asyncio.to_thread(gateway.http, "/livez"))[0] == 200
    assert await asyncio.to_thread(gateway.end, signal.SIGTERM) == -signal.SIGTERM
