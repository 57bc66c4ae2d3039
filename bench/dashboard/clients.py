"""The clients of the run: a process with many WebSockets; ``python -m bench.dashboard.clients FILE``.

``FILE`` has the URLs of the nodes, their certificate, and a token for each client as JSON. Lines on standard input are
orders: ``slow`` stops some clients from reading for a while, ``attack`` tries wrong tokens, ``quit`` ends.
"""

from __future__ import annotations

import asyncio
import json
import random
import ssl
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import websockets
from websockets.asyncio.client import ClientConnection, connect

SLOW_CLIENTS = 6
SLOW_SECONDS = 15.0
ATTACK_SECONDS = 18.0
ATTACKERS = 8


class Client:
    """A client that follows the protocol: it reconnects and resumes until the process ends."""

    def __init__(self, urls: list[str], token: str, context: ssl.SSLContext) -> None:
        self._urls = urls
        self._headers = {"Authorization": f"Bearer {token}"}
        self._context = context
        self._position: tuple[str, int] | None = None
        self.reads = asyncio.Event()
        self.reads.set()

    async def run(self) -> None:
        """Stay connected."""
        while True:
            delay = 0.5 + random.random()  # noqa: S311 - no secret
            with suppress(OSError, websockets.WebSocketException, TimeoutError):
                delay = await self._session() or delay
            await asyncio.sleep(delay)

    async def _session(self) -> float:
        """Use one connection until its end; return the seconds after which ``drain`` asks to reconnect."""
        epoch, seq = self._position or ("", 0)
        resume = f"&epoch={epoch}&seq={seq}" if self._position else "&snapshot=1"
        url = f"{random.choice(self._urls)}?events=call.*,queue.*,notification,agent.*{resume}"  # noqa: S311
        delay = 0.0
        # Without compression and with a small buffer, so that a client that does not read is noticed soon.
        async with connect(
            url, additional_headers=self._headers, ssl=self._context, compression=None, max_queue=4, open_timeout=10
        ) as socket:
            with suppress(websockets.ConnectionClosed):
                while True:
                    await self.reads.wait()
                    delay = self._received(json.loads(await socket.recv())) or delay
        return delay

    def _received(self, message: dict[str, Any]) -> float:
        payload = message.get("payload", {})
        if message["type"] in ("welcome", "reset", "snapshot"):
            self._position = (payload["epoch"], payload["seq"])
        elif message["type"] == "drain":
            return float(payload["reconnect_after_ms"]) / 1_000
        elif "seq" in message and self._position is not None:
            self._position = (self._position[0], message["seq"])
        return 0.0


async def attack(urls: list[str], context: ssl.SSLContext) -> None:
    """Guess tokens for a while."""
    headers = {"Authorization": "Bearer wrong"}
    end = asyncio.get_running_loop().time() + ATTACK_SECONDS
    while asyncio.get_running_loop().time() < end:
        with suppress(OSError, websockets.WebSocketException, TimeoutError):
            socket: ClientConnection = await connect(
                random.choice(urls),  # noqa: S311 - no secret
                additional_headers=headers,
                ssl=context,
            )
            await socket.close()


async def be_slow(clients: list[Client]) -> None:
    """Stop some clients from reading for a while."""
    for client in clients:
        client.reads.clear()
    await asyncio.sleep(SLOW_SECONDS)
    for client in clients:
        client.reads.set()


async def main(course: dict[str, Any]) -> None:
    """Run all clients, and follow the orders."""
    urls: list[str] = course["urls"]
    context = ssl.create_default_context(cafile=course["certificate"])
    clients = [Client(urls, token, context) for token in course["tokens"]]
    tasks = [asyncio.create_task(client.run()) for client in clients]
    loop = asyncio.get_running_loop()
    while (order := (await loop.run_in_executor(None, sys.stdin.readline)).strip()) != "quit":
        if order == "slow":
            tasks.append(asyncio.create_task(be_slow(clients[:SLOW_CLIENTS])))
        elif order == "attack":
            tasks += [asyncio.create_task(attack(urls, context)) for _ in range(ATTACKERS)]
        elif not order:
            break
    for task in tasks:
        task.cancel()


if __name__ == "__main__":
    asyncio.run(main(json.loads(Path(sys.argv[1]).read_text())))
