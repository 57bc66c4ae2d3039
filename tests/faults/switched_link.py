"""A link between a source and the gateways that can be cut."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Sequence
from pathlib import Path


class SwitchedLink:
    """A unix socket that forwards each connection to one of the gateways, and can cut all connections."""

    def __init__(self, path: Path, targets: Sequence[Path], rng: random.Random) -> None:
        self.path = path
        self._targets = targets
        self._rng = rng
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_unix_server(self._accepted, str(self.path))

    def cut(self) -> None:
        """End all connections; what is under way is lost."""
        for task in self._tasks:
            task.cancel()

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            there_reader, there = await asyncio.open_unix_connection(str(self._rng.choice(self._targets)))
            try:
                ways = [self._forward(reader, there), self._forward(there_reader, writer)]
                running = [asyncio.create_task(way) for way in ways]
                try:
                    await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for way in running:
                        way.cancel()
                    await asyncio.gather(*running, return_exceptions=True)
            finally:
                there.transport.abort()
        writer.transport.abort()
        self._tasks.discard(task)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
