"""A TCP proxy that can be made to forward nothing, like a partitioned network."""

from __future__ import annotations

import asyncio
import contextlib


class Partition:
    """Forwards TCP connections to a port. After ``cut`` it still accepts connections, and forwards nothing."""

    def __init__(self, port: int, target: int) -> None:
        self._port = port
        self._target = target
        self._connected = asyncio.Event()
        self._connected.set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> Partition:
        """Start forwarding."""
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", self._port)
        return self

    def cut(self) -> None:
        """Forward nothing from now on, and close nothing."""
        self._connected.clear()

    def mend(self) -> None:
        """Forward again, beginning with what was received meanwhile."""
        self._connected.set()

    async def close(self) -> None:
        """Close all connections."""
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._connected.wait()
            with contextlib.suppress(OSError):
                there_reader, there = await asyncio.open_connection("127.0.0.1", self._target)
                try:
                    await self._forward_both_ways(reader, writer, there_reader, there)
                finally:
                    there.transport.abort()
        except asyncio.CancelledError:
            return
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _forward_both_ways(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        there_reader: asyncio.StreamReader,
        there: asyncio.StreamWriter,
    ) -> None:
        ways = [asyncio.create_task(self._forward(*way)) for way in ((reader, there), (there_reader, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            await self._connected.wait()
            writer.write(data)
            await writer.drain()
