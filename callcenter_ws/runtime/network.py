"""Network addresses: as proxies write them, and the network that a peer's connections are counted by.

A peer with IPv6 has at least a /64 of addresses (RFC 6177, RFC 7934), so that a limit on each address would not limit
it.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address

MAX_ADDRESS_LENGTH = 128
"""A longer text is no address; the longest real one is an IPv6 address with a zone and a port."""

_PREFIX_BITS = 64
_BRACKETED = re.compile(r"\[([^\[\]]+)\](?::([0-9]{1,5}))?")
_IPV4_WITH_PORT = re.compile(r"([0-9.]+):([0-9]{1,5})")
_MAX_PORT = 65_535


def network_of(address: str) -> str:
    """Return the network that an address is counted by: itself if IPv4, the /64 if IPv6.

    An IPv4-mapped IPv6 address counts as IPv4. A text that is no address, such as the name of a unix socket, is
    returned unchanged.
    """
    if ":" not in address:
        return address  # An IPv4 address has one spelling only.
    parsed = _parsed(address)
    if not isinstance(parsed, IPv6Address):
        return address if parsed is None else str(parsed)
    prefix = int(parsed) >> _PREFIX_BITS << _PREFIX_BITS
    return f"{IPv6Address(prefix)}/{_PREFIX_BITS}"


def parse_address(text: str) -> str | None:
    """Parse an address as a proxy writes it, with or without a port, and return it without the port.

    Accepted are ``203.0.113.19``, ``203.0.113.19:1001``, ``2001:db8::1``, ``[2001:db8::1]`` and ``[2001:db8::1]:443``.
    A zone (``fe80::1%eth0``) is dropped: it is a name of the proxy's own interface.

    Returns:
        The address in its usual spelling, IPv4-mapped IPv6 as IPv4; None if the text is anything else, such as a name
        or a quoted string.
    """
    if len(text) > MAX_ADDRESS_LENGTH:
        return None
    port = None
    if match := _BRACKETED.fullmatch(text):
        text, port = match[1], match[2]
        if ":" not in text:
            return None
    elif match := _IPV4_WITH_PORT.fullmatch(text):
        text, port = match[1], match[2]
    if port is not None and int(port) > _MAX_PORT:
        return None
    parsed = _parsed(text)
    return None if parsed is None else str(parsed)


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    """Return an address without its zone, IPv4-mapped IPv6 as IPv4; None if it is malformed."""
    try:
        parsed = ip_address(text)
    except ValueError:
        return None
    if isinstance(parsed, IPv6Address):
        return parsed.ipv4_mapped or IPv6Address(int(parsed))
    return parsed
