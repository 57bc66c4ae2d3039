"""Which addresses count as of the internet."""

from __future__ import annotations

import pytest

from callcenter_ws.webhooks.address_check import is_public

INNER_4 = [
    *("0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.254", "169.254.169.254"),
    *("172.16.0.1", "192.0.0.1", "192.0.2.1", "192.168.1.1", "198.18.0.1", "203.0.113.1"),
    *("224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"),
]


@pytest.mark.parametrize("inner", INNER_4)
def test_inner_addresses_are_not_public_however_they_are_written(inner: str) -> None:
    high, low = (int.from_bytes(bytes(map(int, inner.split(".")))[part]) for part in (slice(0, 2), slice(2, 4)))
    assert not is_public(inner)
    assert not is_public(f"::ffff:{inner}")
    assert not is_public(f"::{inner}")
    assert not is_public(f"64:ff9b::{inner}")
    assert not is_public(f"2002:{high:x}:{low:x}::1")


@pytest.mark.parametrize(
    "inner",
    [
        *("::", "::1", "fe80::1", "fe80::1%eth0", "2600::1%eth0", "fec0::1", "fc00::1", "fd12:3456::1", "ff02::1"),
        *("2001::1", "2001:db8::1", "64:ff9b:1::808:808", "4000::1", "100::1", "localhost", "127.1", "", "0x7f000001"),
    ],
)
def test_other_addresses_are_not_public(inner: str) -> None:
    assert not is_public(inner)


@pytest.mark.parametrize(
    "outer", ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1"]
)
def test_addresses_of_the_internet_are_public(outer: str) -> None:
    assert is_public(outer)
