"""A TCP relay on the loopback interface, by which tests cut, hold and delay the connections of a browser."""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
import time
from collections import deque

_PIECE = 65_536
_MAX_WAITING = 1 << 20
_RESET = struct.pack("ii", 1, 0)


class _Way:
    """One direction of a connection: what was read and is not written yet."""

    def __init__(self, source: socket.socket, target: socket.socket) -> None:
        self.source = source
        self.target = target
        self.waiting: deque[tuple[float, bytes]] = deque()
        self.size = 0
        self.has_ended = False
        self.is_shut = False


class Line:
    """Relays connections to ``target`` in a thread of its own.

    A page is opened at the relay's port, so that ``Origin`` and ``Host`` agree.

    Args:
        target: the port of the gateway on 127.0.0.1.
        port: the port to listen on; 0: any.

    Attributes:
        port: the port it listens on.
    """

    def __init__(self, target: int, port: int = 0) -> None:
        self._target = target
        self._listener: socket.socket | None = None
        self._selector = selectors.DefaultSelector()
        self._wake_receiver, self._wake_sender = socket.socketpair()
        self._wake_receiver.setblocking(False)
        self._selector.register(self._wake_receiver, selectors.EVENT_READ)
        self._lock = threading.RLock()
        self._ways: dict[socket.socket, _Way] = {}
        self._holds = False
        self._delay = 0.0
        self._is_closed = False
        self.port = port
        self._listen()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """Reset all present connections; new ones are relayed."""
        with self._lock:
            for sock in list(self._ways):
                self._close(sock)
        self._wake()

    def hold(self) -> None:
        """Read and drop what either side sends, from now on and on new connections too, as a dead line does."""
        with self._lock:
            self._holds = True
            for way in self._ways.values():
                way.waiting.clear()
                way.size = 0
        self._wake()

    def refuse(self) -> None:
        """Reset all present connections, and refuse new ones."""
        with self._lock:
            if self._listener is not None:
                self._selector.unregister(self._listener)
                self._listener.close()
                self._listener = None
        self.cut()

    def delay(self, seconds: float) -> None:
        """Pass on what is read from now on after this time."""
        with self._lock:
            self._delay = seconds
        self._wake()

    def mend(self) -> None:
        """Relay again. Connections that were held have lost bytes and are reset."""
        with self._lock:
            self._delay = 0.0
            if self._holds:
                self._holds = False
                self.cut()
            if self._listener is None:
                self._listen()
        self._wake()

    def close(self) -> None:
        """Close all connections and end the thread."""
        self.refuse()
        with self._lock:
            self._is_closed = True
        self._wake()
        self._thread.join(30)
        self._selector.close()
        self._wake_receiver.close()
        self._wake_sender.close()

    def _listen(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        self._selector.register(self._listener, selectors.EVENT_READ)

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            self._wake_sender.send(b".")

    def _run(self) -> None:
        while True:
            ready = self._selector.select(0.01 if self._delay else 1)
            with self._lock:
                if self._is_closed:
                    return
                for key, events in ready:
                    sock = key.fileobj
                    assert isinstance(sock, socket.socket)
                    self._serve(sock, events)
                for way in list(self._ways.values()):
                    self._flush(way)

    def _serve(self, sock: socket.socket, events: int) -> None:
        if sock is self._wake_receiver:
            with contextlib.suppress(BlockingIOError):
                sock.recv(_PIECE)
        elif sock is self._listener:
            self._accept(sock)
        elif events & selectors.EVENT_READ and sock in self._ways:
            self._read(sock)

    def _accept(self, listener: socket.socket) -> None:
        try:
            near, _ = listener.accept()
        except OSError:
            return
        try:
            far = socket.create_connection(("127.0.0.1", self._target), 5)
        except OSError:
            self._abort(near)
            return
        for source, target in ((near, far), (far, near)):
            source.setblocking(False)
            source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._ways[source] = _Way(source, target)
            self._selector.register(source, selectors.EVENT_READ)

    def _read(self, sock: socket.socket) -> None:
        way = self._ways[sock]
        try:
            data = sock.recv(_PIECE)
        except BlockingIOError:
            return
        except OSError:
            self._close(sock)
            return
        if not data:
            way.has_ended = True
        elif not self._holds:
            way.waiting.append((time.monotonic() + self._delay, data))
            way.size += len(data)
        self._watch(way)

    def _flush(self, way: _Way) -> None:
        if way.source not in self._ways:
            return
        now = time.monotonic()
        try:
            while way.waiting and way.waiting[0][0] <= now:
                due, data = way.waiting.popleft()
                sent = way.target.send(data)
                way.size -= sent
                if sent < len(data):
                    way.waiting.appendleft((due, data[sent:]))
        except BlockingIOError:
            way.waiting.appendleft((due, data))
        except OSError:
            self._close(way.source)
            return
        if way.has_ended and not way.waiting and not way.is_shut and not self._holds:
            way.is_shut = True
            with contextlib.suppress(OSError):
                way.target.shutdown(socket.SHUT_WR)
            if self._ways[way.target].is_shut:
                self._close(way.source)
                return
        self._watch(way)
        if way.target in self._ways:
            self._watch(self._ways[way.target])

    def _watch(self, way: _Way) -> None:
        """Wait to read the source of ``way`` unless much waits, and to write it if the other way waits."""
        reads = not way.has_ended and way.size < _MAX_WAITING
        back = self._ways.get(way.target)
        now = time.monotonic()
        writes = back is not None and bool(back.waiting) and back.waiting[0][0] <= now
        events = (selectors.EVENT_READ if reads else 0) | (selectors.EVENT_WRITE if writes else 0)
        known = self._selector.get_map().get(way.source)
        if known is not None and not events:
            self._selector.unregister(way.source)
        elif known is None and events:
            self._selector.register(way.source, events)
        elif known is not None and known.events != events:
            self._selector.modify(way.source, events)

    def _close(self, sock: socket.socket) -> None:
        way = self._ways.pop(sock, None)
        if way is None:
            return
        self._ways.pop(way.target, None)
        for each in (way.source, way.target):
            if self._selector.get_map().get(each) is not None:
                self._selector.unregister(each)
            self._abort(each)

    def _abort(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        sock.close()
