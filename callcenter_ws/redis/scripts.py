"""The scripts that run within Redis, each in one piece: nobody else's commands come between."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Script:
    """One script, and the name by which Redis knows it once it has been loaded.

    Attributes:
        writes: it changes something; that it could be run shows that Redis can be written.
    """

    name: str
    source: bytes
    writes: bool
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sha", hashlib.sha1(self.source, usedforsecurity=False).hexdigest())


def _script(name: str, *parts: str, writes: bool = True) -> Script:
    folder = files(__package__).joinpath("lua")
    source = b"\n".join(folder.joinpath(f"{part}.lua").read_bytes() for part in (*parts, name))
    return Script(name, source, writes)


PUBLISH = _script("publish", "keys", "history", "losses", "stream")
SYNC = _script("sync", "keys", "history", writes=False)
READ = _script("read", writes=False)
LOAD = _script("load", "keys", "history", writes=False)
PAGE = _script("page", writes=False)
MAIL = _script("mail", "keys", "losses", writes=False)
TAKE = _script("take")
ATTEND = _script("attend", "keys", "history", "losses", "stream", "presence", "telling")
FAREWELL = _script("farewell", "keys", "history", "losses", "stream", "presence", "telling")
DEPART = _script("depart", "keys", "presence")
WHEREABOUTS = _script("whereabouts", writes=False)
DUE = _script("due", writes=False)
LEASE = _script("lease")
ORDER = _script("order")
BURY = _script("bury")
RESTORE = _script("restore")
SWEEP = _script("sweep")

ALL = (
    *(PUBLISH, SYNC, READ, LOAD, PAGE, MAIL, TAKE, ATTEND, FAREWELL),
    *(DEPART, WHEREABOUTS, DUE, LEASE, ORDER, BURY, RESTORE, SWEEP),
)
