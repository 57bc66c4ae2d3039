"""A hub with Python's ``websockets``, as a program.

It reads events from a unix socket, one a line. A line ``?`` is answered with the number of dropped messages, which is
0: the library queues without bound. Arguments: the path of the unix socket; then, for TLS, the files of the certificate
and of its key.
"""

from __future__ import annotations

import asyncio
import ssl
import sys

from websockets.asyncio.server import ServerConnection, broadcast, serve

_clients: set[ServerConnection] = set()


async def keep_client(client: ServerConnection) -> None:
    """Register a client until it disconnects."""
    _clients.add(client)
    try:
        await client.wait_closed()
    finally:
        _clients.discard(client)


async def feed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send each line to all clients."""
    async for line in reader:
        if line == b"?\n":
            writer.write(b"0\n")
        else:
            broadcast(_clients, line[:-1].decode())


async def main(path: str, *files: str) -> None:
    """Serve until the process is ended."""
    context = None
    if files:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(*files)
    await asyncio.start_unix_server(feed, path)
    async with serve(keep_client, "127.0.0.1", 0, ssl=context, compression=None, ping_interval=54) as server:
        (socket,) = server.sockets
        sys.stdout.write(f"listening on {socket.getsockname()[1]}\n")
        sys.stdout.flush()
        await asyncio.Future()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
