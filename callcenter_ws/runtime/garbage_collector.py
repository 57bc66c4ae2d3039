"""How often Python's garbage collector scans the objects of a long-lived process."""

from __future__ import annotations

import gc


def tune_garbage_collector() -> None:
    """Make the garbage collector scan long-lived objects less often; call it once the process is ready to start.

    The modules loaded so far are not scanned any more, which takes about 30 ms. A connection consists of about forty
    long-lived objects. With Python's default thresholds, creating them makes the collector scan the young generations
    again and again, which took a fifth of the cost of a connect. The old generation must not be scanned less often than
    it is: when a peer aborts TLS, Twisted leaves a reference cycle that keeps OpenSSL's memory allocated.
    """
    gc.freeze()
    gc.set_threshold(10_000, 5, 2)
