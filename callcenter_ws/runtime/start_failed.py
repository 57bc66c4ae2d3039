"""How a start that cannot succeed ends the process."""

from __future__ import annotations

import errno

from callcenter_ws.runtime.endpoints import EndpointDescription


class StartFailed(SystemExit, Exception):
    """The process cannot start; the reason has been logged. Ends it with status 1, without a traceback.

    It is an ``Exception`` too: for these alone a ``twistd`` that becomes a daemon removes its pid file and tells the
    waiting parent process that the start has failed.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(1)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


def cannot_listen(endpoint: EndpointDescription, setting: str, error: object) -> str:
    """Return the reason that a socket cannot be opened, with what an operator may do about it.

    Args:
        setting: the key that has the endpoint.
        error: the exception, most often an ``OSError``.
    """
    reason = getattr(error, "strerror", None) or error
    return f"cannot listen on {endpoint.text} ({setting}): {reason}{_hint(endpoint, setting, error)}"


def _hint(endpoint: EndpointDescription, setting: str, error: object) -> str:
    number = getattr(error, "errno", None)
    if endpoint.kind == "systemd":
        return "; see callcenter-ws-web.socket in etc/, and: systemctl status callcenter-ws-web.socket"
    if endpoint.kind in ("tcp", "ssl") and number == errno.EADDRINUSE:
        other = endpoint.text.replace(endpoint.port, str(int(endpoint.port) + 1), 1)
        return f"; another process uses the port: end it, or choose another port, as in --set {setting}={other}"
    if endpoint.kind in ("tcp", "ssl") and number == errno.EACCES and int(endpoint.port) < 1024:
        return "; ports below 1024 need the capability CAP_NET_BIND_SERVICE, as in etc/callcenter-ws.service"
    if endpoint.kind == "unix" and number in (errno.EACCES, errno.ENOENT):
        return f"; the folder {endpoint.socket_path.parent} must exist, and this user must be allowed to write to it"
    return ""
