"""Listening sockets that systemd has opened (``systemd:`` endpoints, systemd.socket(5))."""

from __future__ import annotations

import os
import socket

from twisted.internet.endpoints import serverFromString

from callcenter_ws.runtime.endpoints import EndpointDescription


def systemd_socket(endpoint: EndpointDescription) -> socket.socket:
    """Return a socket that systemd passed on, with a descriptor of its own.

    Raises:
        LookupError: systemd passed on no such socket.
    """
    twisted_endpoint = serverFromString(object(), endpoint.socket.text)
    inherited = socket.socket(fileno=os.dup(twisted_endpoint.fileno))
    inherited.setblocking(False)
    return inherited
