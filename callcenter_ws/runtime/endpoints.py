"""Twisted endpoint descriptions, parsed once where the settings are read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

PROXY_PREFIX = "haproxy:"
"""Precedes the description of an endpoint whose peers speak the PROXY protocol, as in Twisted."""


@dataclass(frozen=True, slots=True)
class EndpointDescription:
    r"""A Twisted server endpoint description, such as ``tcp:8080:interface=127.0.0.1``.

    The syntax is that of https://docs.twisted.org/en/stable/core/howto/endpoints.html. Whether the arguments make sense
    is checked by ``config.validators``. Two descriptions are equal if their texts are.

    Attributes:
        text: the description as it was written.
        kind: what precedes the first colon, such as ``tcp``; behind ``haproxy:``, what follows that.
        positional: the arguments without a name, without the escapes (``\:``).
        options: the arguments with a name, without the escapes.
    """

    text: str
    kind: str = field(compare=False)
    positional: tuple[str, ...] = field(compare=False)
    options: Mapping[str, str] = field(compare=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Split a description into its parts; no text is refused."""
        kind, *parts = re.split(r"(?<!\\):", text.removeprefix(PROXY_PREFIX))
        named = [part.partition("=") for part in parts if "=" in part]
        return cls(
            text=text,
            kind=kind,
            positional=tuple(_unescaped(part) for part in parts if "=" not in part),
            options={name: _unescaped(value) for name, _, value in named},
        )

    def __str__(self) -> str:
        return self.text

    def with_option(self, name: str, value: str) -> EndpointDescription:
        """Return the description with one more option; ``value`` holds no colon and no backslash."""
        return self.parse(f"{self.text}:{name}={value}")

    @property
    def is_proxied(self) -> bool:
        """Whether its peers are proxies that send the header of the PROXY protocol."""
        return self.text.startswith(PROXY_PREFIX)

    @property
    def socket(self) -> EndpointDescription:
        """The description without ``haproxy:``."""
        return self.parse(self.text.removeprefix(PROXY_PREFIX)) if self.is_proxied else self

    @property
    def port(self) -> str:
        """The port of a ``tcp:`` or ``ssl:`` endpoint, as it was written."""
        return self.options.get("port") or self.positional[0]

    @property
    def interface(self) -> str:
        """The interface of a ``tcp:`` or ``ssl:`` endpoint; empty for all IPv4 interfaces."""
        return self.options.get("interface", "")

    @property
    def socket_path(self) -> Path:
        """The path of a ``unix:`` endpoint."""
        return Path(self.options.get("address") or self.positional[0])

    @property
    def private_key_file(self) -> Path:
        """The private key of an ``ssl:`` endpoint. Relative paths start in the process's current folder."""
        return Path(self.options.get("privateKey", "server.pem"))

    @property
    def certificate_file(self) -> Path:
        """The certificate of an ``ssl:`` endpoint, which may be in the file of the private key."""
        return Path(self.options["certKey"]) if "certKey" in self.options else self.private_key_file


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)
