"""Metrics of signing in at the pages that the gateway serves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client.core import Metric

from callcenter_ws.ops.families import counters

OUTCOMES = ("ok", "wrong_password", "rate_limited", "paired", "ended")


class AccountMetrics:
    """Reads how many attempts to sign in had each outcome."""

    def __init__(self, outcomes: Mapping[str, int]) -> None:
        self._outcomes = outcomes

    def __call__(self) -> Iterator[Metric]:
        """Return the families with their present values."""
        text = "Passwords that were tried, screens that were paired, and people who signed out, by outcome."
        yield counters("sign_ins", text, "outcome", self._outcomes, OUTCOMES)
