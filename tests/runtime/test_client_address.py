"""The client's address behind trusted proxies."""

from __future__ import annotations

import pytest
from twisted.logger import capturedLogs, formatEvent

from callcenter_ws.runtime.client_address import UNIX_SOCKET, TrustedProxies

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
        ("10.0.0.1", ["203.0.113.1, 10.0.0.9, unknown, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["203.0.113.1,"], "10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", ["unix"], "10.0.0.1"),
        ("10.0.0.1", ["\xff\x00"], "10.0.0.1"),
        ("10.0.0.1", ["2001:DB8::0001, 2001:db8::2"], "2001:db8::1"),
        ("2001:db8::9", ["203.0.113.1"], "203.0.113.1"),
        ("::ffff:10.0.0.1", ["203.0.113.1"], "203.0.113.1"),  # an IPv4 peer of an IPv6 socket
        ("::ffff:203.0.113.1", [], "203.0.113.1"),
        ("10.0.0.1", ["::ffff:203.0.113.1"], "203.0.113.1"),
        ("fe80::1%eth0", ["203.0.113.1"], "fe80::1"),
        ("10.0.0.1", ["203.0.113.19:1001"], "203.0.113.19"),
        ("10.0.0.1", ["[2001:db8:1::7]:443, 10.0.0.2:80"], "2001:db8:1::7"),
        ("10.0.0.1", ["198.51.100.1", "203.0.113.1:1, 10.0.0.2:2"], "203.0.113.1"),
        ("10.0.0.1", ['"203.0.113.1"'], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.1," + ",".join(["10.0.0.2"] * 30)], "10.0.0.2"),
        (None, [], UNIX_SOCKET),
        (None, ["203.0.113.1"], "203.0.113.1"),
    ],
)
def test_the_first_address_that_is_not_a_trusted_proxy(peer: str | None, forwarded_for: list[str], client: str) -> None:
    assert PROXIES.client_ip(peer, forwarded_for) == client


@pytest.mark.parametrize("peer", ["203.0.113.1", None])
def test_without_trusted_proxies_the_header_is_ignored(peer: str | None) -> None:
    assert TrustedProxies([]).client_ip(peer, ["198.51.100.1"]) == (peer or UNIX_SOCKET)


def test_what_cannot_be_read_is_counted_and_logged_once_per_kind() -> None:
    proxies = TrustedProxies(["10.0.0.0/8"])
    with capturedLogs() as events:
        for value in ("unknown", "unknown", '"203.0.113.1"', "_hidden", "", "host.example", "1.2.3.4:x", "1:2:3", "\0"):
            assert proxies.client_ip("10.0.0.1", [value]) == "10.0.0.1"
            proxies.client_ip("203.0.113.9", [value])  # not a proxy of ours: nobody reads it
    assert proxies.unreadable == {"unknown": 2, "quoted": 1, "obfuscated": 1, "empty": 1, "name": 1, "malformed": 3}
    lines = [formatEvent(event) for event in events]
    assert len(lines) == 6
    assert "trusted proxy 10.0.0.1" in lines[0] and "unknown" in lines[0]


def test_the_number_of_addresses_that_are_read_is_bounded() -> None:
    values = ["10.0.0.2," * 4_000, "10.0.0.3"]
    assert TrustedProxies(["10.0.0.0/8"]).client_ip("10.0.0.1", ["203.0.113.1", *values]) == "10.0.0.3"
