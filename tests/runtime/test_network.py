"""Addresses as proxies write them, and the networks that peers are counted by."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callcenter_ws.runtime.network import MAX_ADDRESS_LENGTH, network_of, parse_address


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.19", "203.0.113.19"),
        ("::ffff:203.0.113.19", "203.0.113.19"),
        ("::FFFF:CB00:7113", "203.0.113.19"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:0DB8:0001:0002::", "2001:db8:1:2::/64"),
        ("::1", "::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("fe80::1", "fe80::/64"),
        ("unix", "unix"),
        ("unix:/run/gateway.sock", "unix:/run/gateway.sock"),
        ("", ""),
    ],
)
def test_an_address_belongs_to_a_network(address: str, network: str) -> None:
    assert network_of(address) == network


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("203.0.113.19", "203.0.113.19"),
        ("203.0.113.19:1001", "203.0.113.19"),
        ("203.0.113.19:0", "203.0.113.19"),
        ("2001:db8::1", "2001:db8::1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("2001:db8::1:443", "2001:db8::1:443"),
        ("[::ffff:203.0.113.19]:443", "203.0.113.19"),
        ("::ffff:203.0.113.19", "203.0.113.19"),
        ("fe80::1%eth0", "fe80::1"),
        ("[fe80::1%25]:80", "fe80::1"),
    ],
)
def test_an_address_is_read_with_and_without_its_port(text: str, address: str) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        " 203.0.113.19",
        '"203.0.113.19"',
        '"[2001:db8::1]:443"',
        "203.0.113.19:",
        "203.0.113.19:65536",
        "203.0.113.19:123456",
        "203.0.113.19:٣",
        "203.0.113.19:1001:1002",
        "203.0.113.019",
        "203.0.113",
        "[203.0.113.19]:80",
        "[2001:db8::1",
        "2001:db8::1]:443",
        "[2001:db8::1]443",
        "[2001:db8::1]:",
        "[[2001:db8::1]]:443",
        "[]:443",
        "unknown",
        "_hidden",
        "localhost:80",
        "unix:",
        "203.0.113.19\0",
        "fe80::1%" + "x" * MAX_ADDRESS_LENGTH,
    ],
)
def test_anything_else_is_no_address(text: str) -> None:
    assert parse_address(text) is None


@given(st.ip_addresses(), st.integers(0, 65_535))
def test_a_port_changes_nothing(address: object, port: int) -> None:
    text = str(address)
    with_port = f"[{text}]:{port}" if ":" in text else f"{text}:{port}"
    assert parse_address(with_port) == parse_address(text)


@given(st.ip_addresses(v=6), st.integers(0, 2**64 - 1))
def test_addresses_of_one_prefix_are_of_one_network(address: object, host: int) -> None:
    other = str(ip_address((int(ip_address(str(address))) >> 64 << 64) | host))
    if network_of(str(address)).endswith("/64") and network_of(other).endswith("/64"):  # mapped ones count as IPv4
        assert network_of(str(address)) == network_of(other)


@given(st.text())
def test_no_text_raises(text: str) -> None:
    network_of(text)
    parse_address(text)
