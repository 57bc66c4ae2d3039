"""Parts of a connection that is made again whenever it is lost, and that reports each failure itself."""

from __future__ import annotations

from collections.abc import Callable

from twisted.application.internet import ClientService
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.logger import Logger, LogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

_NO_OBSERVER = LogPublisher()


class QuietClientService(ClientService):
    """A ``ClientService`` that does not log each attempt."""

    _log = Logger(observer=_NO_OBSERVER)


@implementer(IStreamClientEndpoint)
class ReportingEndpoint:
    """An endpoint that reports why it cannot connect.

    Args:
        failed: called with the error of each attempt that fails.
    """

    def __init__(self, endpoint: IStreamClientEndpoint, failed: Callable[[BaseException | None], None]) -> None:
        self._endpoint = endpoint
        self._failed = failed

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:  # noqa: N803 - Twisted's name
        """Connect; report a failure, and fail."""
        connecting: Deferred[IProtocol] = self._endpoint.connect(protocolFactory)
        return connecting.addErrback(self._report)

    def _report(self, failure: Failure) -> Failure:
        self._failed(failure.value)
        return failure
