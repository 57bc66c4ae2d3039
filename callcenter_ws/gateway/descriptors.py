"""Divides the file descriptors of the process among what opens them."""

from __future__ import annotations

import resource
from contextlib import suppress
from dataclasses import dataclass

from callcenter_ws.delivery.limits import Limits

MAX_AUTHENTICATED_HTTP = 1_000
"""HTTP connections that are not counted as unauthenticated any more."""

MAX_RESERVED = 1_128
"""Descriptors for AMP (1,000 network connections), the ports, the store and the log."""


def raise_descriptor_limit() -> None:
    """Let the process open as many files as its hard limit permits: the usual soft limit of 1,024 is for select(2)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        # A system may refuse a hard limit that it has lowered since.
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@dataclass(frozen=True, slots=True)
class Descriptors:
    """How many descriptors each part may use; together not more than the process has.

    Attributes:
        total: those of the process.
        websockets: ``limits.connections``, or as many as the others leave.
        unauthenticated: sockets whose peers have not authenticated.
        http: HTTP connections whose peers have.
    """

    total: int
    websockets: int
    unauthenticated: int
    http: int


def divide_descriptors(limits: Limits, total: int | None = None) -> Descriptors:
    """Divide the descriptors of the process, or ``total``: of few, WebSockets have half."""
    if total is None:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        total = 2**31 if soft == resource.RLIM_INFINITY else soft
    unauthenticated = min(limits.unauthenticated, max(1, total // 4))
    http, reserved = min(MAX_AUTHENTICATED_HTTP, total // 8), min(MAX_RESERVED, total // 8)
    websockets = limits.connections or max(1, total - unauthenticated - http - reserved)
    return Descriptors(total, websockets, unauthenticated, http)
