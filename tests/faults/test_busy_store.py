"""A store that another program has locked: events that wait for it are not lost."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing

from checker import Ledger, Offer, Reader, Viewer
from restartable import RestartableGateway
from roaming import RoamingClient
from senders import AmpLink

TEXT = {"title": "Call back", "message": "in five minutes"}


async def connect_while_mail_is_written(gateway: RestartableGateway) -> None:
    ledger = Ledger()
    await asyncio.to_thread(gateway.start)
    link = await AmpLink(ledger).open(gateway.amp_path)
    try:
        await connect_while_the_store_is_locked(gateway, ledger, link)
    finally:
        await link.close()


async def connect_while_the_store_is_locked(gateway: RestartableGateway, ledger: Ledger, link: AmpLink) -> None:
    assert not await link.publish(Offer("acme", "alert", TEXT, "first"))
    reader = Reader(ledger, Viewer("acme", "agent", "n1"), forgets_position=True)
    # The answer to its resume request follows the mailbox items.
    reader.resumes_by_request = True
    client = RoamingClient(gateway, reader, random.Random(0), acknowledges=True)
    with closing(sqlite3.connect(gateway.store, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        notification = Offer("acme", "notification", {"type": "callback", **TEXT}, "notification", user_id="n1")
        publishing = asyncio.create_task(link.publish(notification))
        # An invalid event is refused at once: its answer shows that the notification was submitted before.
        assert (await link.publish(Offer("acme", "alert", {}, "invalid"))).startswith("INVALID_EVENT")
        client.start()
        await client.until(lambda: client.is_up_to_date)
        client.abort()
        await client.leave()
        assert not publishing.done() and not reader.mail_seen
        other.execute("ROLLBACK")
    assert not await publishing
    await client.reconnect()
    await client.leave()
    # Its mailbox was read, and was empty, just before the notification was committed.
    assert reader.mail_seen == {"notification": 1}


def test_mail_committed_after_a_user_has_connected_is_delivered_on_the_next_connection(
    make_gateway: Callable[..., RestartableGateway],
) -> None:
    asyncio.run(connect_while_mail_is_written(make_gateway()))
