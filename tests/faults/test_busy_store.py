"""A store that another program keeps busy, as one that copies it may: what waits is neither lost nor forgotten."""

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


async def come_while_a_letter_is_written(gateway: RestartableGateway) -> None:
    ledger = Ledger()
    await asyncio.to_thread(gateway.start)
    link = await AmpLink(ledger).open(gateway.amp_path)
    try:
        await come_while_it_is_busy(gateway, ledger, link)
    finally:
        await link.close()


async def come_while_it_is_busy(gateway: RestartableGateway, ledger: Ledger, link: AmpLink) -> None:
    assert not await link.publish(Offer("acme", "alert", TEXT, "first"))
    reader = Reader(ledger, Viewer("acme", "agent", "n1"), forgetful=True)
    # The answer to its request comes behind what the mailbox brings.
    reader.asks = True
    client = RoamingClient(gateway, reader, random.Random(0), acknowledges=True)
    with closing(sqlite3.connect(gateway.store, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        letter = Offer("acme", "notification", {"type": "callback", **TEXT}, "letter", user_id="n1")
        publishing = asyncio.create_task(link.publish(letter))
        # Who is refused at once comes behind the letter: when it is answered, that has been handed in.
        assert (await link.publish(Offer("acme", "alert", {}, "nonsense"))).startswith("INVALID_EVENT")
        client.start()
        await client.until(lambda: client.is_here)
        client.break_off()
        await client.leave()
        assert not publishing.done() and not reader.letters
        other.execute("ROLLBACK")
    assert not await publishing
    await client.come_back()
    await client.leave()
    # Its mailbox was found empty a moment before the letter was in it.
    assert reader.letters == {"letter": 1}


def test_who_came_while_a_letter_was_being_written_gets_it_the_next_time(
    make_gateway: Callable[..., RestartableGateway],
) -> None:
    asyncio.run(come_while_a_letter_is_written(make_gateway()))
