"""Listening sockets that systemd has opened (``systemd:`` endpoints, systemd.socket(5))."""

from __future__ import annotations

import os
import socket

from twisted.internet.endpoints import serverFromString

from callcenter_ws.runtime.endpoints import EndpointDescription


def systemd_socket(endpoint: EndpointDescription) -> socket.socket:
    """Return a socket that systemd passed on, with a descriptor of its own.

    Raises:
        LookupError: systemd passed on no such socket, or one that does not listen; the text says which.
        OSError: what it passed on is no socket.
    """
    try:
        descriptor = serverFromString(object(), endpoint.socket.text).fileno
    except LookupError:
        raise LookupError("systemd has passed on no such socket to this process") from None
    inherited = socket.socket(fileno=os.dup(descriptor))
    if not inherited.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        inherited.close()
        # The gateway would start, serve no client, and be called for the socket again and again.
        raise LookupError("the socket of systemd does not listen: its unit needs ListenStream= and not Accept=yes")
    inherited.setblocking(False)
    return inherited
