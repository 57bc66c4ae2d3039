"""A service that gives ``twistd`` the log observer of its settings."""

from __future__ import annotations

from twisted.application.service import MultiService, Service
from twisted.logger import ILogObserver
from twisted.python.components import Componentized


class LoggedService(MultiService):
    """Runs a service, and gives ``twistd`` the log observer that the settings ask for.

    ``twistd`` makes the application, adds this service to it, and then asks the application for an observer.
    """

    def __init__(self, service: Service, observer: ILogObserver | None) -> None:
        super().__init__()
        self._observer = observer
        service.setServiceParent(self)

    def setServiceParent(self, parent: object) -> None:  # noqa: N802 - a name of Twisted
        """Add the service to the application."""
        super().setServiceParent(parent)
        if self._observer is not None and isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self._observer)
