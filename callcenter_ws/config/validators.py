"""Checks of single settings. Each function returns the value in the form that the gateway uses.

All of them raise ``ValueError`` with a reason for the operator. A reason never contains the content of a file, nor a
URL that may contain a password.
"""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network
from pathlib import Path
from urllib.parse import urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificate
from twisted.internet.endpoints import serverFromString

from callcenter_ws.auth.keys import EC_OF_CURVE, EDDSA, MIN_HMAC_BYTES, RSA, read_public_key
from callcenter_ws.redis.address import SCHEMES as REDIS_SCHEMES
from callcenter_ws.redis.address import redis_address
from callcenter_ws.runtime.endpoints import PROXY_PREFIX, EndpointDescription
from callcenter_ws.runtime.secret_files import check_not_a_pipe
from callcenter_ws.runtime.setting_values import shown
from callcenter_ws.runtime.web_origin import allowed_origin

ENDPOINT_KINDS = ("tcp", "ssl", "unix", "systemd")

ALGORITHMS = (*MIN_HMAC_BYTES, *sorted(RSA), *EC_OF_CURVE.values(), EDDSA)
"""The JWS algorithms that the gateway can verify."""

_COOKIE_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", re.ASCII)


# Endpoints


def endpoint(text: str) -> EndpointDescription:
    """Parse a Twisted server endpoint description of a kind that the gateway is tested with.

    Raises:
        ValueError: another kind, an unknown, missing or repeated option, or a key or certificate that cannot be used.
    """
    kind, _, rest = text.removeprefix(PROXY_PREFIX).partition(":")
    if kind not in ENDPOINT_KINDS or not rest:
        kinds = ", ".join(f"{kind}:" for kind in ENDPOINT_KINDS)
        raise ValueError(f"{shown(text)} is not an endpoint; it starts with one of {kinds}")
    description = EndpointDescription.parse(text)
    if description.is_proxied and (kind == "unix" or description.options.get("domain") == "UNIX"):
        # Over AMP, every peer on a unix socket is trusted, and behind a proxy that would be every client.
        raise ValueError(f"{shown(text)}: {PROXY_PREFIX} is for tcp:, ssl: and systemd: sockets of the network")
    if kind == "systemd":
        _check_systemd(description)
        return description
    if kind in ("tcp", "ssl"):
        _check_port(description.options.get("port", rest.partition(":")[0]), text)
    try:
        # Parsing does not use the reactor; only listening does.
        serverFromString(object(), description.socket.text)
    except OSError as error:
        raise ValueError(f"{shown(text)}: cannot read {error.filename}: {error.strerror}") from None
    except TypeError:
        raise ValueError(f"{shown(text)}: an option is unknown, missing or given twice") from None
    except Exception as error:
        # The parsers of keys and certificates raise errors of several kinds, which do not name the file.
        reason = (_unusable_pem(description) if kind == "ssl" else None) or _first_line(error)
        raise ValueError(f"{shown(text)}: {reason}") from None
    return description


def _unusable_pem(description: EndpointDescription) -> str | None:
    """Return which file of an ``ssl:`` endpoint cannot be used, and why; None if both can."""
    key_file, certificate_file = description.private_key_file, description.certificate_file
    try:
        load_pem_private_key(key_file.read_bytes(), None)
    except TypeError:
        return f"the private key in {key_file} is encrypted; the gateway cannot ask for a passphrase"
    except (ValueError, UnsupportedAlgorithm):
        return f"{key_file} holds no private key in PEM form"
    try:
        load_pem_x509_certificate(certificate_file.read_bytes())
    except ValueError:
        return f"{certificate_file} holds no certificate in PEM form"
    return None


def _check_systemd(description: EndpointDescription) -> None:
    # Twisted's own parser needs the descriptor, which exists only in a process that systemd has started.
    options, text = description.options, description.text
    if options.get("domain") not in ("INET", "INET6", "UNIX") or ("index" in options) == ("name" in options):
        raise ValueError(f"{shown(text)}: write systemd:domain=INET:name=… (or INET6, UNIX; or index=0)")
    if not options.get("index", "0").isdecimal():
        raise ValueError(f"{shown(text)}: index is not a number")


def _check_port(port: str, text: str) -> None:
    if not (port.isdecimal() and int(port) <= 65_535):
        raise ValueError(f"{shown(text)}: the port is not a number from 0 to 65535")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


# Names on the network


def origin(text: str) -> str:
    """Return an entry of an allow-list of origins; see ``runtime.web_origin.allowed_origin``."""
    return allowed_origin(text)


def exact_origin(text: str) -> str:
    """Return the origin of one site; see ``origin``.

    Raises:
        ValueError: not an origin, or one with a wildcard: what may be shown in a frame and is given tokens is named.
    """
    checked = allowed_origin(text)
    if "*" in checked:
        raise ValueError(f"{shown(text)}: a wildcard is not allowed here; list the sites one by one")
    return checked


def network(text: str) -> str:
    """Return an IP address or network in CIDR notation.

    Raises:
        ValueError: not an address or network, or bits of the host are set.
    """
    try:
        return str(ip_network(text))
    except ValueError as error:
        raise ValueError(f"{shown(text)}: {_first_line(error)}") from None


def jwks_url(text: str) -> str:
    """Check an https URL, or an http URL of this machine.

    Raises:
        ValueError: not such a URL, or a URL with a user name or password.
    """
    try:
        url = urlsplit(text)
        host, port = url.hostname or "", url.port
    except ValueError:
        raise ValueError("is not a URL") from None
    if url.scheme not in ("http", "https") or not host or port == 0 or re.search(r"[\x00-\x20\x7f]", text):
        named = f"; it begins with {url.scheme}:" if re.fullmatch(r"[a-z][a-z0-9+.-]{0,19}", url.scheme) else ""
        raise ValueError(f"is not an https:// URL{named}")
    if url.scheme == "http" and not is_loopback(host):
        raise ValueError("must be https: an attacker who can change the keys in transit can forge any token")
    if url.username is not None or url.password is not None:
        raise ValueError("must not contain a user name or password")
    return text


def is_loopback(host: str) -> bool:
    """Return whether a host name or an address is of this machine."""
    if host == "localhost":
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    # Whether an IPv4-mapped IPv6 address (::ffff:127.0.0.1) counts as loopback depends on the version of Python.
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


# Tokens


def algorithm(text: str) -> str:
    """Check the name of a JWS algorithm that the gateway can verify.

    Raises:
        ValueError: ``none``, or not one of ``ALGORITHMS``.
    """
    if text.lower() == "none":
        raise ValueError(f"{text!r} would accept tokens without a signature")
    if text not in ALGORITHMS:
        raise ValueError(f"{shown(text)} is not one of {', '.join(ALGORITHMS)}")
    return text


def cookie_name(text: str) -> str:
    """Check the name of a cookie (RFC 6265 section 4.1.1).

    Raises:
        ValueError: a character is not allowed in a name.
    """
    if not _COOKIE_NAME.fullmatch(text):
        raise ValueError(f"{shown(text)} cannot be the name of a cookie")
    return text


# Files


def public_key_file(path: Path) -> Path:
    """Check the path of a PEM public key or certificate.

    Raises:
        ValueError: the file cannot be read, is a pipe, or holds no usable key.
    """
    check_not_a_pipe(path)
    read_public_key(path)
    return path


# The store


def store_url(text: str) -> str:
    """Check the URL of a store.

    Raises:
        ValueError: an unknown kind of store, or no valid path or address.
    """
    scheme, _, path = text.partition(":")
    if scheme in REDIS_SCHEMES:
        redis_address(text)
        return text
    if scheme == "sqlite":
        if not path or path.startswith("//") or "\0" in path or path.endswith("/"):
            raise ValueError("write sqlite: and the path of a file, as in sqlite:/var/lib/callcenter-ws/events.sqlite")
        return text
    if text != "memory:":
        # Only the scheme is shown: behind it may be a password.
        named = f" {scheme}:" if path and re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]{0,19}", scheme) else ""
        raise ValueError(f"there is no such store{named}; write sqlite:PATH, memory: or redis://host:6379/0")
    return text


def store_url_from(text: str, base: Path) -> str:
    """Return the URL of a store, with a relative path made absolute: it starts in ``base``."""
    scheme, _, path = text.partition(":")
    return f"sqlite:{base / path}" if scheme == "sqlite" else text


def key_prefix(text: str) -> str:
    """Check the prefix of all keys in Redis. Braces are not allowed: they would replace the tenants' hash tags.

    Raises:
        ValueError: not 1 to 64 letters, digits and ``_ . : / -``.
    """
    if not re.fullmatch(r"[A-Za-z0-9_.:/-]{1,64}", text):
        raise ValueError(f"{shown(text)} is not a prefix of 1 to 64 letters, digits and _ . : / -")
    return text


def node_id(text: str) -> str:
    """Check the name of a node, which appears in log lines and metric labels.

    Raises:
        ValueError: not 1 to 255 printable ASCII characters without spaces.
    """
    if not re.fullmatch(r"[!-~]{1,255}", text):
        raise ValueError(f"{shown(text)} is not a name of 1 to 255 printable ASCII characters without spaces")
    return text
