"""One message of the manager interface: an event, or a response to an action."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class AmiMessage:
    """A message as Asterisk sent it.

    Attributes:
        name: the name of the event, from the first ``Event`` header; empty for a response.
        response: the value of ``Response``; empty for an event.
        headers: the first value of each header. Absent values (``<unknown>``) are empty.
    """

    __slots__ = ("headers", "name", "repeated", "response")

    def __init__(
        self, headers: Mapping[str, str], repeated: Mapping[str, Sequence[str]], name: str, response: str
    ) -> None:
        self.headers = headers
        self.repeated = repeated
        self.name = name
        self.response = response

    def get(self, header: str) -> str:
        """Return the first value of a header; empty if it is absent."""
        return self.headers.get(header, "")

    def all(self, header: str) -> Sequence[str]:
        """Return all values of a header, in order."""
        found = self.repeated.get(header)
        if found is not None:
            return found
        value = self.headers.get(header)
        return () if value is None else (value,)
