"""A broadcaster with Python's ``websockets``. A program.

Events come in by a unix socket, one a line; a line ``?`` is answered with the number of messages that were dropped,
which is none: it queues without bound. Arguments: the unix socket's path; then, for TLS, the files of the certificate
and of its key.
"""

from __future__ import annotations

import asyncio
import ssl
import sys

from websockets.asyncio.server import ServerConnection, broadcast, serve

_clients: set[ServerConnection] = set()


async def attend(client: ServerConnection) -> None:
    """Keep a client until it goes."""
    _clients.add(client)
    try:
        await client.wait_closed()
    finally:
        _clients.discard(client)


async def feed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send each line to everybody."""
    async for line in reader:
        if line == b"?\n":
            writer.write(b"0\n")
        else:
            broadcast(_clients, line[:-1].decode())


async def main(path: str, *files: str) -> None:
    """Listen, for ever."""
    context = None
    if files:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(*files)
    await asyncio.start_unix_server(feed, path)
    async with serve(attend, "127.0.0.1", 0, ssl=context, compression=None, ping_interval=54) as server:
        (socket,) = server.sockets
        sys.stdout.write(f"listening on {socket.getsockname()[1]}\n")
        sys.stdout.flush()
        await asyncio.Future()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
