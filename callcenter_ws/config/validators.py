"""What a setting's text must mean. Each function returns the text as the gateway uses it.

All raise ``ValueError`` with a reason for the person who wrote the text. No reason shows what a file holds,
nor a URL that may carry a password.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from pathlib import Path
from urllib.parse import urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificate
from twisted.internet.endpoints import serverFromString

from callcenter_ws.auth.keys import EC_OF_CURVE, EDDSA, HMAC_BYTES, RSA, UnusableKey, read_public_key, read_secret
from callcenter_ws.redis.address import SCHEMES as REDIS_SCHEMES
from callcenter_ws.redis.address import redis_address
from callcenter_ws.runtime.endpoints import endpoint_options

ENDPOINT_KINDS = ("tcp", "ssl", "unix", "systemd")

ALGORITHMS = (*HMAC_BYTES, *sorted(RSA), *EC_OF_CURVE.values(), EDDSA)
"""The JWS algorithms that the gateway verifies."""

_DEFAULT_PORT = {"http": 80, "https": 443}
_ORIGIN = re.compile(r"(https?)://(\*\.)?([a-z0-9_.-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?", re.ASCII)
_LABELS = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*", re.ASCII)
_COOKIE_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", re.ASCII)


def shown(text: str) -> str:
    """A piece of what was written, safe to print."""
    return repr(text if len(text) <= 80 else text[:77] + "...")


# Endpoints


def endpoint(description: str) -> str:
    """A Twisted server endpoint description of a kind that the gateway is tested with."""
    kind, _, rest = description.partition(":")
    if kind not in ENDPOINT_KINDS or not rest:
        kinds = ", ".join(f"{kind}:" for kind in ENDPOINT_KINDS)
        raise ValueError(f"{shown(description)} is not an endpoint; it starts with one of {kinds}")
    if kind == "systemd":
        _systemd(endpoint_options(description), description)
        return description
    if kind in ("tcp", "ssl"):
        _port(endpoint_options(description).get("port", rest.partition(":")[0]), description)
    try:
        # Parsing asks nothing of the reactor; only listening does.
        serverFromString(object(), description)
    except OSError as error:
        raise ValueError(f"{shown(description)}: cannot read {error.filename}: {error.strerror}") from None
    except TypeError:
        raise ValueError(f"{shown(description)}: an option is unknown, missing or given twice") from None
    except Exception as error:
        # The parsers of keys and certificates raise errors of their own kinds, which do not tell the file.
        reason = (_unusable_pem(description) if kind == "ssl" else None) or _first_line(error)
        raise ValueError(f"{shown(description)}: {reason}") from None
    return description


def private_key_file(description: str) -> Path:
    """The file with the private key of an ``ssl:`` endpoint. Relative paths start where the process was started."""
    return Path(endpoint_options(description).get("privateKey", "server.pem"))


def _unusable_pem(description: str) -> str | None:
    """Which file of an ``ssl:`` endpoint does not hold what it should; None: both do."""
    key_file = private_key_file(description)
    certificate_file = Path(endpoint_options(description).get("certKey", key_file))
    try:
        load_pem_private_key(key_file.read_bytes(), None)
    except TypeError:
        return f"the private key in {key_file} is encrypted; the gateway has nobody to ask for the passphrase"
    except (ValueError, UnsupportedAlgorithm):
        return f"{key_file} holds no private key in PEM form"
    try:
        load_pem_x509_certificate(certificate_file.read_bytes())
    except ValueError:
        return f"{certificate_file} holds no certificate in PEM form"
    return None


def _systemd(options: Mapping[str, str], description: str) -> None:
    # Twisted looks for the descriptor itself, which is there only when systemd started this very process.
    if options.get("domain") not in ("INET", "INET6", "UNIX") or ("index" in options) == ("name" in options):
        raise ValueError(f"{shown(description)}: write systemd:domain=INET:name=… (or INET6, UNIX; or index=0)")
    if not options.get("index", "0").isdecimal():
        raise ValueError(f"{shown(description)}: index is not a number")


def _port(text: str, description: str) -> None:
    if not (text.isdecimal() and int(text) <= 65_535):
        raise ValueError(f"{shown(description)}: the port is not a number from 0 to 65535")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


# Names on the network


def origin(text: str) -> str:
    """An origin as browsers send it (RFC 6454 section 6.2), or ``https://*.`` before a domain."""
    if text in ("*", "null") or text.endswith("://*"):
        raise ValueError(f"{text!r} would let every web site act as your users; list the sites one by one")
    match = _ORIGIN.fullmatch(text.lower())
    if match is None:
        raise ValueError(
            f"{shown(text)} is not an origin: write scheme://host or scheme://host:port, nothing behind it"
        )
    scheme, wildcard, host, port = match.groups()
    _host(host, text)
    if wildcard and (scheme != "https" or "." not in host or host[-1].isdecimal() or host.startswith("[")):
        raise ValueError(f"{shown(text)}: a wildcard stands before a domain of your own, as https://*.example.com")
    if port and not 0 < int(port) <= 65_535:
        raise ValueError(f"{shown(text)}: there is no such port")
    suffix = "" if port is None or int(port) == _DEFAULT_PORT[scheme] else f":{int(port)}"
    return f"{scheme}://{wildcard or ''}{host}{suffix}"


def _host(host: str, text: str) -> None:
    if host.startswith("["):
        ip_address(host[1:-1])
    elif not _LABELS.fullmatch(host):
        raise ValueError(f"{shown(text)}: {shown(host)} is not a host name")


def network(text: str) -> str:
    """An IP address or network in CIDR notation."""
    try:
        return str(ip_network(text))
    except ValueError as error:
        raise ValueError(f"{shown(text)}: {_first_line(error)}") from None


def jwks_url(text: str) -> str:
    """An https URL, or an http one that stays on this machine."""
    try:
        url = urlsplit(text)
        host, port = url.hostname or "", url.port
    except ValueError:
        raise ValueError("is not a URL") from None
    if url.scheme not in ("http", "https") or not host or port == 0 or re.search(r"[\x00-\x20\x7f]", text):
        raise ValueError("is not an https:// URL")
    if url.scheme == "http" and not _is_loopback(host):
        raise ValueError("must be https: who can change the keys on their way can make any token")
    if url.username is not None or url.password is not None:
        raise ValueError("must not hold a user name or password")
    return text


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


# Tokens


def algorithm(text: str) -> str:
    """The name of a JWS algorithm that the gateway verifies."""
    if text.lower() == "none":
        raise ValueError(f"{text!r} would accept tokens that anybody wrote")
    if text not in ALGORITHMS:
        raise ValueError(f"{shown(text)} is not one of {', '.join(ALGORITHMS)}")
    return text


def cookie_name(text: str) -> str:
    """The name of a cookie (RFC 6265 section 4.1.1)."""
    if not _COOKIE_NAME.fullmatch(text):
        raise ValueError(f"{shown(text)} cannot be the name of a cookie")
    return text


# Files


def secret(path: Path) -> bytes:
    """What a secret's file holds, if nobody else can put something else there.

    A path that leads nowhere is not shown: some write the secret itself where its file belongs. The last folder on
    the way that exists is, because that tells what a relative path was taken to be relative to.
    """
    _no_pipe(path)
    try:
        content = read_secret(path)
    except UnusableKey as error:
        folder = next((folder for folder in path.absolute().parents if os.path.isdir(folder)), "/")
        raise ValueError(f"{error}; looked in {folder}") from None
    if path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ValueError(f"others than its owner may write to {path}; run: chmod go-w {path}")
    return content


def readable_by_others(path: Path) -> bool:
    """Whether every user of the machine may read a file."""
    return bool(path.stat().st_mode & stat.S_IROTH)


def public_key_file(path: Path) -> Path:
    """The path of a PEM public key or certificate."""
    _no_pipe(path)
    read_public_key(path)
    return path


def _no_pipe(path: Path) -> None:
    # Reading one would wait for ever.
    if path.is_fifo():
        raise ValueError("the file is a pipe")


# The store


def store_url(text: str) -> str:
    """The URL of a store that this release has."""
    scheme, _, path = text.partition(":")
    if scheme in REDIS_SCHEMES:
        redis_address(text)
        return text
    if scheme == "sqlite":
        if not path or path.startswith("//") or "\0" in path or path.endswith("/"):
            raise ValueError("write sqlite: and the path of a file, as sqlite:/var/lib/callcenter-ws/events.sqlite")
        return text
    if text != "memory:":
        raise ValueError("there is no such store; write sqlite:PATH, memory: or redis://host:6379/0")
    return text


def store_url_from(text: str, base: Path) -> str:
    """The URL of a store, with a relative path made whole: it begins in ``base``."""
    scheme, _, path = text.partition(":")
    return f"sqlite:{base / path}" if scheme == "sqlite" else text


def key_prefix(text: str) -> str:
    """What the names of all keys in Redis begin with. Braces would take the place of the tenants' hash tags."""
    if not re.fullmatch(r"[A-Za-z0-9_.:/-]{1,64}", text):
        raise ValueError(f"{shown(text)} is not a prefix of 1 to 64 letters, digits and _ . : / -")
    return text


def node_id(text: str) -> str:
    """A name for a node, fit for a log line and a metric's label."""
    if not re.fullmatch(r"[!-~]{1,255}", text):
        raise ValueError(f"{shown(text)} is not a name of 1 to 255 printable ASCII characters without spaces")
    return text
