"""Distinguishes addresses of the internet from those of this machine and of private networks."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

_NAT64 = IPv6Network("64:ff9b::/96")
_IPV4_COMPATIBLE = IPv6Network("::/96")
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_TEREDO = IPv6Network("2001::/32")


def is_public(text: str) -> bool:
    """Return whether an IP address is one host of the internet.

    False for private, link-local, unique local, shared (RFC 6598), loopback, multicast, reserved and unspecified
    addresses, also for those that are within an IPv6 address (IPv4-mapped, IPv4-compatible, 6to4, NAT64), and for what
    is no address.
    """
    try:
        address = ip_address(text)
    except ValueError:
        return False
    return _is_public_4(address) if isinstance(address, IPv4Address) else _is_public_6(address)


def _is_public_4(address: IPv4Address) -> bool:
    return address.is_global and not (address.is_multicast or address.is_reserved)


def _is_public_6(address: IPv6Address) -> bool:
    if address.scope_id is not None:
        return False
    if address.ipv4_mapped is not None:
        return _is_public_4(address.ipv4_mapped)
    if address in _NAT64 or address in _IPV4_COMPATIBLE:
        return _is_public_4(IPv4Address(int(address) & 0xFFFFFFFF))
    if address.sixtofour is not None:
        return _is_public_4(address.sixtofour)
    return address in _GLOBAL_UNICAST and address not in _TEREDO and address.is_global
