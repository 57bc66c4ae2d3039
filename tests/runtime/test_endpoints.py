"""Endpoint descriptions and their parts."""

from __future__ import annotations

from pathlib import Path

import pytest

from callcenter_ws.runtime.endpoints import EndpointDescription
from callcenter_ws.runtime.listener import with_private_mode

parse = EndpointDescription.parse


@pytest.mark.parametrize(
    ("text", "kind", "positional", "options"),
    [
        ("tcp:8080:interface=127.0.0.1", "tcp", ("8080",), {"interface": "127.0.0.1"}),
        (r"tcp:port=80:interface=\:\:1", "tcp", (), {"port": "80", "interface": "::1"}),
        (r"unix:/run/a\:b.sock:mode=660", "unix", ("/run/a:b.sock",), {"mode": "660"}),
        (r"unix:/run/a\\b.sock", "unix", ("/run/a\\b.sock",), {}),
        ("systemd:domain=INET:name=web", "systemd", (), {"domain": "INET", "name": "web"}),
        ("tcp:8080:x=a=b", "tcp", ("8080",), {"x": "a=b"}),
        ("", "", (), {}),
    ],
)
def test_a_description_is_split(text: str, kind: str, positional: tuple[str, ...], options: dict[str, str]) -> None:
    endpoint = parse(text)
    assert (endpoint.kind, endpoint.positional, endpoint.options) == (kind, positional, options)
    assert str(endpoint) == endpoint.text == text


def test_the_proxy_protocol_precedes_an_endpoint() -> None:
    endpoint, plain = parse("haproxy:tcp:8080:interface=127.0.0.1"), parse("tcp:8080:interface=127.0.0.1")
    assert (endpoint.is_proxied, plain.is_proxied) == (True, False)
    assert (endpoint.kind, endpoint.port, endpoint.interface) == ("tcp", "8080", "127.0.0.1")
    assert endpoint.socket == plain.socket == plain
    assert endpoint.with_option("backlog", "5").text == "haproxy:tcp:8080:interface=127.0.0.1:backlog=5"


def test_arguments_may_be_positional_or_named() -> None:
    assert parse("tcp:8080").port == parse("tcp:port=8080").port == "8080"
    assert parse("unix:/a").socket_path == parse("unix:address=/a").socket_path == Path("/a")
    assert parse("tcp:8080").interface == ""


def test_the_certificate_may_be_in_the_file_of_the_key() -> None:
    both, separate = parse("ssl:443:privateKey=/k.pem"), parse("ssl:443:privateKey=/k.pem:certKey=/c.pem")
    assert (both.private_key_file, both.certificate_file) == (Path("/k.pem"), Path("/k.pem"))
    assert (separate.private_key_file, separate.certificate_file) == (Path("/k.pem"), Path("/c.pem"))
    assert parse("ssl:443").private_key_file == Path("server.pem")


def test_descriptions_are_equal_by_their_text() -> None:
    assert {parse("tcp:1"), parse("tcp:1")} == {parse("tcp:1")}
    assert parse("tcp:1") != parse("tcp:port=1")


@pytest.mark.parametrize(
    ("text", "private"),
    [("unix:/a", "unix:/a:mode=660"), ("unix:/a:mode=600", "unix:/a:mode=600"), ("tcp:80", "tcp:80")],
)
def test_unix_endpoints_without_a_mode_are_private(text: str, private: str) -> None:
    assert with_private_mode(parse(text)) == parse(private)
    assert with_private_mode(parse(text)).options.get("mode") == parse(private).options.get("mode")
