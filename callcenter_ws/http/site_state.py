"""What the connections of an HTTP site share: the requests in progress, and whether the site is about to end."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class SiteState:
    """The state of a site.

    Attributes:
        requests_in_progress: complete requests that have not been answered.
        is_draining: whether each connection ends after its current or next response.
        refuses_requests: whether all requests but probes are refused, because the node stops.
    """

    requests_in_progress: int = 0
    is_draining: bool = False
    refuses_requests: bool = False

    def request_ended(self, result: object) -> None:
        """Count a request no longer: it was answered, or its connection is lost."""
        self.requests_in_progress -= 1
