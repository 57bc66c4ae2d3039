"""Checks the descriptions of endpoints that this program connects to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from callcenter_ws.runtime.endpoints import EndpointDescription
from callcenter_ws.runtime.setting_values import shown

_NETWORK = ("host", "port", "timeout", "bindAddress")
_OPTIONS: Mapping[str, tuple[str, ...]] = {
    "tcp": _NETWORK,
    "tls": (*_NETWORK, "certificate", "privateKey", "trustRoots", "endpoint"),
    "unix": ("path", "timeout", "lockfile", "checkPID"),
}
"""The options of Twisted's client endpoints, first those that may be given without a name, in order."""

_POSITIONAL = {"tcp": 2, "tls": 2, "unix": 1}

_FORMS = "tcp:HOST:PORT, tls:HOST:PORT or unix:path=PATH"


def client_endpoint(text: str) -> EndpointDescription:
    """Parse a Twisted client endpoint description.

    Raises:
        ValueError: with the reason; another kind, an unknown, missing or repeated option, no port.
    """
    kind, _, rest = text.partition(":")
    if kind == "ssl":
        raise ValueError(f"{shown(text)}: ssl: does not verify the name of the server; write tls:HOST:PORT")
    if kind not in _OPTIONS or not rest:
        raise ValueError(f"{shown(text)} is not an endpoint to connect to; write {_FORMS}")
    description = EndpointDescription.parse(text)
    options = _options(description)
    if kind == "unix":
        if not options.get("path"):
            raise ValueError(f"{shown(text)}: the path of the socket is missing; write unix:path=PATH")
        return description
    if not options.get("host"):
        raise ValueError(f"{shown(text)}: the host is missing; write {kind}:HOST:PORT")
    port = options.get("port", "")
    if not (port.isascii() and port.isdecimal() and 0 < int(port) <= 65_535):
        raise ValueError(f"{shown(text)}: the port is not a number from 1 to 65535; write {kind}:HOST:PORT")
    _check_files(description)
    return description


def _options(description: EndpointDescription) -> dict[str, str]:
    """Return all options by name."""
    names = _OPTIONS[description.kind]
    given = description.positional
    if len(given) > _POSITIONAL[description.kind]:
        raise ValueError(f"{shown(description.text)}: {shown(given[-1])} is more than expected; write {_FORMS}")
    options = dict(zip(names, given, strict=False))
    for name, value in description.options.items():
        if name not in names or name in options:
            what = "given twice" if name in options else "no option of it"
            raise ValueError(f"{shown(description.text)}: {name[:40]} is {what}")
        options[name] = value
    return options


def _check_files(description: EndpointDescription) -> None:
    """Raise ``ValueError`` if a certificate of a ``tls:`` endpoint cannot be found."""
    for name in ("certificate", "privateKey", "trustRoots"):
        path = description.options.get(name)
        if path is not None and not Path(path).exists():
            raise ValueError(f"{shown(description.text)}: {name}: there is no {path}")
