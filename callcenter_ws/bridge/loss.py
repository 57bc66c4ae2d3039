"""Why there is no session with an exchange."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class LostReason(StrEnum):
    """Why there is no session: ``reason`` of ``source.down``."""

    UNREACHABLE = "unreachable"
    TLS_FAILED = "tls_failed"
    NOT_AMI = "not_ami"
    LOGIN_REFUSED = "login_refused"
    NO_PERMISSION = "no_permission"
    CONNECTION_LOST = "connection_lost"
    TIMEOUT = "timeout"
    SHUTDOWN = "shutdown"
    PROTOCOL_ERROR = "protocol_error"
    OVERLOADED = "overloaded"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Loss:
    """Why a session has ended, or none can begin.

    Attributes:
        text: a sentence for the operator, without its full stop.
    """

    reason: LostReason
    text: str

    @property
    def needs_operator(self) -> bool:
        """Whether it will not pass without a change of settings: attempts may be rare."""
        return self.reason in (LostReason.LOGIN_REFUSED, LostReason.NO_PERMISSION, LostReason.NOT_AMI)
