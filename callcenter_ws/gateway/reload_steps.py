"""What a reload exchanges in a running gateway: one step for each part that can change.

``STEPS`` lists them with the keys that they are for. A step builds what the new settings need and returns a function
that has the part use it. Building may fail; using it cannot.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from OpenSSL import SSL

from callcenter_ws.config.load import ConfigError, Problem
from callcenter_ws.config.settings import Settings
from callcenter_ws.gateway.assembly import GatewayParts
from callcenter_ws.gateway.authentication import origin_policy
from callcenter_ws.gateway.service import GatewayService
from callcenter_ws.runtime.client_address import TrustedProxies
from callcenter_ws.runtime.web_origin import OriginList

Commit = Callable[[], None]
"""Has a part use what was prepared. Does not raise."""


@dataclass(frozen=True, slots=True)
class Reloading:
    """One reload.

    Attributes:
        old: the settings that are in use now.
        new: those that are in use after it.
        changed: the keys that it changes in place, and those of files that have new contents.
        set_log_level: sets the lowest level that is written to the log.
    """

    service: GatewayService
    old: Settings
    new: Settings
    changed: frozenset[str]
    set_log_level: Callable[[str], None]

    @property
    def parts(self) -> GatewayParts:
        """The parts of the gateway."""
        return self.service.parts


class Step(NamedTuple):
    """What a reload does for some keys.

    Attributes:
        keys: the keys, or sections with a dot at the end.
        prepare: builds what is needed; raises ConfigError, OSError or ValueError for settings that cannot be used.
    """

    keys: tuple[str, ...]
    prepare: Callable[[Reloading], Commit]

    def covers(self, key: str) -> bool:
        """Return whether the step is for a key."""
        return key in self.keys or f"{key.partition('.')[0]}." in self.keys


def prepare_steps(reloading: Reloading) -> Sequence[Commit]:
    """Prepare every step that a changed key needs.

    Raises:
        ConfigError: with the problems of all steps.
    """
    commits: list[Commit] = []
    problems: list[Problem] = []
    for step in STEPS:
        keys = sorted(filter(step.covers, reloading.changed))
        if not keys:
            continue
        try:
            commits.append(step.prepare(reloading))
        except ConfigError as error:
            problems += error.problems
        except (OSError, ValueError, SSL.Error) as error:
            problems.append(Problem("", ", ".join(keys), str(error)))
    if problems:
        raise ConfigError(problems)
    return commits


def _log_level(reloading: Reloading) -> Commit:
    level = reloading.new.log.level
    return lambda: reloading.set_log_level(level)


def _connection_log(reloading: Reloading) -> Commit:
    log, connections = reloading.parts.log, reloading.new.log.connections

    def commit() -> None:
        log.connections = connections

    return commit


def _origins(reloading: Reloading) -> Commit:
    parts = reloading.parts
    policy, listed = origin_policy(reloading.new), OriginList(reloading.new.web.allowed_origins)

    def commit() -> None:
        parts.websocket_factory.context.authenticator.origins = policy
        parts.cors.origins = listed

    return commit


def _proxies(reloading: Reloading) -> Commit:
    trusted, proxies = TrustedProxies(reloading.new.web.trusted_proxies), reloading.parts.peer_limits.proxies
    return lambda: proxies.replace_with(trusted)


STEPS: tuple[Step, ...] = (
    Step(("log.level",), _log_level),
    Step(("log.connections",), _connection_log),
    Step(("web.allowed_origins", "public.tenants"), _origins),
    Step(("web.trusted_proxies",), _proxies),
)
"""The steps, in the order in which they are carried out."""
