"""The handoff from the supervisor to a worker: its number, its sockets, and how it reads them at its start."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple, Self

from callcenter_ws.config.settings import Settings
from callcenter_ws.runtime.endpoints import EndpointDescription
from callcenter_ws.runtime.listener import with_private_mode

HANDOFF_VARIABLE = "CALLCENTER_WORKER"
"""The environment variable that holds the handoff, as JSON. It is not a setting, so its name differs from theirs."""

SUPERVISOR_DESCRIPTOR = 0
"""The worker's descriptor of the pipe of requests to it, which reads as closed once the supervisor has ended."""

STATUS_DESCRIPTOR = 3
"""The worker's descriptor of the pipe to which it writes its status and its answers."""

FIRST_SOCKET_DESCRIPTOR = 4
"""The first of the worker's descriptors of listening sockets."""

SESSION_KEY_FILE = "session.key"
"""The name of the file, in the private folder, with the key of visitors' session tokens."""


class ListenEndpoint(NamedTuple):
    """An endpoint to listen on, and the setting that names it. Its text identifies the socket in the handoff."""

    setting: str
    endpoint: EndpointDescription

    def __str__(self) -> str:
        return f"{self.setting} {self.endpoint}"


def listen_endpoints(settings: Settings) -> Iterator[ListenEndpoint]:
    """Return every endpoint that the settings name."""
    yield from (ListenEndpoint("web.listen", endpoint) for endpoint in settings.web.listen)
    yield from (ListenEndpoint("amp.listen", with_private_mode(endpoint)) for endpoint in settings.amp.listen)
    if settings.web.metrics_listen is not None:
        yield ListenEndpoint("web.metrics_listen", settings.web.metrics_listen)


@dataclass(frozen=True, slots=True)
class WorkerHandoff:
    """What one worker receives from its supervisor.

    The names of the attributes are keys of the JSON: a supervisor hands them to workers of later releases, too.

    Attributes:
        number: the number of the worker, from 1 to ``of``.
        of: the number of workers of the node.
        generation: counts the processes that the supervisor started; of two processes with one number, the process with
            the higher generation is the newer.
        replaces: whether another process with this number serves until this one is ready.
        folder: the private folder that the workers share.
        sockets: the descriptors of the listening sockets, by the text of the ``ListenEndpoint``.
        settings: the path of the copy of the settings' file that is read in its place; empty: there is no file.
        pinned: overrides of the settings, ``key=value``: what must stay as it is in the other workers.
    """

    number: int
    of: int
    generation: int
    replaces: bool
    folder: str
    sockets: Mapping[str, int]
    settings: str = ""
    pinned: Sequence[str] = ()

    @classmethod
    def pop(cls, environ: MutableMapping[str, str]) -> Self | None:
        """Remove the handoff from an environment and return it; None if there is none.

        It is removed so that the worker's own child processes do not inherit it.
        """
        text = environ.pop(HANDOFF_VARIABLE, None)
        if text is None:
            return None
        handoff = cls(**json.loads(text))
        # JSON has no tuples.
        return replace(handoff, pinned=tuple(handoff.pinned))

    def environment(self) -> dict[str, str]:
        """Return the environment variables that pass the handoff to a worker."""
        return {HANDOFF_VARIABLE: json.dumps(asdict(self))}

    @property
    def private_socket(self) -> Path:
        """The path of the unix socket on which this worker serves its metrics to the other workers."""
        return Path(self.folder, f"{self.number}-{self.generation}.sock")

    @property
    def session_key(self) -> Path:
        """The file with the key that all workers sign visitors' session tokens with."""
        return Path(self.folder, SESSION_KEY_FILE)

    def descriptor(self, setting: str, endpoint: EndpointDescription) -> int:
        """Return the descriptor of the listening socket of an endpoint."""
        return self.sockets[str(ListenEndpoint(setting, endpoint))]

    def missing(self, settings: Settings) -> list[ListenEndpoint]:
        """Return the endpoints without a socket: the settings were changed after the supervisor had started."""
        return [endpoint for endpoint in listen_endpoints(settings) if str(endpoint) not in self.sockets]
