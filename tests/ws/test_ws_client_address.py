"""The client's address behind trusted proxies."""

from __future__ import annotations

import pytest

from callcenter_ws.ws.client_address import UNIX_SOCKET, TrustedProxies

PROXIES = TrustedProxies(["10.0.0.0/8", "2001:db8::/32"])


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "client"),
    [
        ("203.0.113.1", [], "203.0.113.1"),
        ("203.0.113.1", ["198.51.100.1"], "203.0.113.1"),  # not a proxy of ours: what it says is not believed
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.1"], "203.0.113.1"),
        ("10.0.0.1", ["198.51.100.1, 203.0.113.1"], "203.0.113.1"),  # the left one was made up by the client
        ("10.0.0.1", ["198.51.100.1", "203.0.113.1"], "203.0.113.1"),
        ("10.0.0.1", ["203.0.113.1, 10.0.0.2"], "203.0.113.1"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["unknown"], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.1, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.1,"], "10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", ["unix"], "10.0.0.1"),
        ("10.0.0.1", ["\xff\x00"], "10.0.0.1"),
        ("10.0.0.1", ["2001:DB8::0001, 2001:db8::2"], "2001:db8::1"),
        ("2001:db8::9", ["203.0.113.1"], "203.0.113.1"),
        ("::ffff:10.0.0.1", ["203.0.113.1"], "203.0.113.1"),  # an IPv4 peer of an IPv6 socket
        ("::ffff:203.0.113.1", [], "203.0.113.1"),
        ("10.0.0.1", ["::ffff:203.0.113.1"], "203.0.113.1"),
        ("fe80::1%eth0", ["203.0.113.1"], "fe80::1%eth0"),
        (None, [], UNIX_SOCKET),
        (None, ["203.0.113.1"], "203.0.113.1"),
    ],
)
def test_the_first_address_that_is_not_a_trusted_proxy(peer: str | None, forwarded_for: list[str], client: str) -> None:
    assert PROXIES.client_ip(peer, forwarded_for) == client


@pytest.mark.parametrize("peer", ["203.0.113.1", None])
def test_without_trusted_proxies_the_header_is_ignored(peer: str | None) -> None:
    assert TrustedProxies([]).client_ip(peer, ["198.51.100.1"]) == (peer or UNIX_SOCKET)
