"""WorkerHandoff: what a worker is given by its supervisor, and how it is told of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple, Self

from callcenter_ws.config.settings import Settings
from callcenter_ws.runtime.listener import private_unix

VARIABLE = "CALLCENTER_WORKER"
"""The variable of the environment that holds the inheritance, as JSON. It is no setting, and must not look like one."""

LIFELINE = 0
"""The worker's descriptor that reads as closed when the supervisor is gone."""

STATUS = 3
"""The worker's descriptor that takes its reports."""

FIRST_SOCKET = 4
"""The first of the worker's descriptors that listen."""

SESSION_KEY = "session.key"
"""The file of the private folder with a key that the workers share."""


class Endpoint(NamedTuple):
    """Something to listen on: the setting that asks for it, and its description."""

    setting: str
    description: str

    def __str__(self) -> str:
        return f"{self.setting} {self.description}"


def endpoints(settings: Settings) -> Iterator[Endpoint]:
    """All that the settings want to be listened on."""
    yield from (Endpoint("web.listen", where) for where in settings.web.listen)
    yield from (Endpoint("amp.listen", private_unix(where)) for where in settings.amp.listen)
    if settings.web.metrics_listen is not None:
        yield Endpoint("web.metrics_listen", settings.web.metrics_listen)


@dataclass(frozen=True, slots=True)
class WorkerHandoff:
    """What one worker has from its supervisor.

    Attributes:
        number: which worker it is, from 1 to ``of``.
        of: how many there are to be.
        generation: counts the processes that the supervisor started: of two with the same number the higher is newer.
        replaces: another process with this number serves until this one is ready.
        folder: where the workers' private sockets are.
        sockets: descriptors of listening sockets, by the text of their Endpoint.
    """

    number: int
    of: int
    generation: int
    replaces: bool
    folder: str
    sockets: Mapping[str, int]

    @classmethod
    def take(cls, environ: MutableMapping[str, str]) -> Self | None:
        """Return what is left for this process, None if nothing is, and leave nothing for its own children."""
        text = environ.pop(VARIABLE, None)
        return None if text is None else cls(**json.loads(text))

    def written(self) -> dict[str, str]:
        """The variables for the worker's environment."""
        return {VARIABLE: json.dumps(asdict(self))}

    @property
    def private_socket(self) -> Path:
        """Where this worker answers to the others."""
        return Path(self.folder, f"{self.number}-{self.generation}.sock")

    @property
    def session_key(self) -> Path:
        """A key that all workers sign visitors' sessions with, as long as the supervisor lives."""
        return Path(self.folder, SESSION_KEY)

    def descriptor(self, setting: str, description: str) -> int:
        """The listening socket of an endpoint."""
        return self.sockets[str(Endpoint(setting, description))]

    def missing(self, settings: Settings) -> list[Endpoint]:
        """Endpoints of the settings for which there is no socket: they were changed after the supervisor's start."""
        return [endpoint for endpoint in endpoints(settings) if str(endpoint) not in self.sockets]
