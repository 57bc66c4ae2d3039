"""The settings of ``--demo``: its own secret, socket and tenant, without overriding what the operator has set."""

from __future__ import annotations

from msgspec.structs import replace

from callcenter_ws.config.command_settings import Destination
from callcenter_ws.config.settings import ControlSettings, PublicTenantSettings, Settings, StoreSettings
from callcenter_ws.config.tenant_settings import TenantSettings, TenantStatistics
from callcenter_ws.config.widget import WidgetSettings
from callcenter_ws.demo.sample_data import DEMO_AGENT, QUEUES
from callcenter_ws.demo.state import DemoState, DemoUnavailable
from callcenter_ws.runtime.endpoints import EndpointDescription
from callcenter_ws.statistics.rules import AlertRule, Clear, Raise

_SOURCE_LEASE_SECONDS = 3.0
_ANY_INTERFACE = ("", "0.0.0.0", "::")  # noqa: S104 - compared with, not bound to

DEMO_DESTINATIONS = tuple(
    Destination(name=name.title(), destination=number, queue_name=name) for name, number in QUEUES.items()
)
"""The queues of the simulated exchange, unless the configuration lists destinations."""

DEMO_TENANT = TenantSettings(
    statistics=TenantStatistics(enabled=True),
    alerts=(
        AlertRule(
            name="long wait",
            queues=("*",),
            metric="longest_wait_time",
            raise_=Raise(above=30, for_=5),
            clear=Clear(at_most=15, for_=5),
        ),
        AlertRule(
            name="service level",
            queues=("*",),
            metric="service_level",
            window="last_30m",
            raise_=Raise(below=70, for_=10),
            clear=Clear(at_least=80, for_=10),
            min_offered=5,
        ),
    ),
    widget=WidgetSettings(
        title="Harbour Lamps",
        greeting="Hello! Do you have a question about a lamp?",
        color="#1f5673",
        queue_name=DEMO_AGENT.queues[0],
        # The simulated agents answer if there is no person at a desk.
        available="agents",
    ),
)
"""The settings of the demo's tenant, unless the configuration has a table for it."""


def page_url(settings: Settings) -> str:
    """Return the URL of the demo's pages for a browser on this machine, such as ``http://127.0.0.1:8080/``.

    Raises:
        DemoUnavailable: no browser can reach the listeners.
    """
    endpoint = next((one for one in settings.web.listen if one.kind in ("tcp", "ssl")), None)
    if endpoint is None:
        raise DemoUnavailable(
            "the demo needs a tcp: or ssl: endpoint in web.listen, so that a browser can open its page"
        )
    host = "127.0.0.1" if endpoint.interface in _ANY_INTERFACE else endpoint.interface
    host = f"[{host}]" if ":" in host else host
    return f"{'https' if endpoint.kind == 'ssl' else 'http'}://{host}:{endpoint.port}/"


def page_origins(url: str) -> list[str]:
    """Return the origins of the page for a browser on this machine, each with its port."""
    page = url.rstrip("/")
    scheme, port = page.partition(":")[0], page.rpartition(":")[2]
    return list(dict.fromkeys([page, f"{scheme}://localhost:{port}", f"{scheme}://127.0.0.1:{port}"]))


def page_hosts(url: str) -> frozenset[str]:
    """Return the ``Host`` headers that a browser sends for those origins: with the port, unless it is the default."""
    hosts = [origin.partition("://")[2] for origin in page_origins(url)]
    default = ":443" if url.startswith("https:") else ":80"
    return frozenset([*hosts, *[host.removesuffix(default) for host in hosts]])


def demo_settings(settings: Settings, state: DemoState) -> Settings:
    """Return ``settings`` with what the demo needs.

    The demo's pages may connect, tokens are signed with the development secret, the simulator sends over a unix socket,
    visitors of the demo's tenant need no token, and events and the control socket are in the demo's folder. The gateway
    derives the statistics of the demo's tenant, and raises alerts. Commands are enabled: the simulator takes them.
    """
    origins = page_origins(state.url)
    tenant = settings.public.tenants.get(state.tenant, PublicTenantSettings(anonymous=True))
    own_secret = settings.jwt.secret_file is None and "HS256" in settings.jwt.algorithms
    # Without a shared secret, daemons could not authenticate on the default TCP listener.
    other_listeners = settings.amp.listen if settings.amp.token_file is not None else ()
    own_socket = settings.control == ControlSettings()
    own_store = settings.store.url == StoreSettings().url
    return replace(
        settings,
        store=replace(settings.store, url=f"sqlite:{state.store_file}") if own_store else settings.store,
        web=replace(settings.web, demo=True, allowed_origins=(*settings.web.allowed_origins, *origins)),
        jwt=replace(settings.jwt, secret_file=state.secret_file) if own_secret else settings.jwt,
        amp=replace(
            settings.amp,
            listen=(EndpointDescription.parse(state.amp_listen), *other_listeners),
            # So short that source.down is published before a killed sender starts again.
            source_lease=min(settings.amp.source_lease, _SOURCE_LEASE_SECONDS),
        ),
        control=replace(settings.control, socket=str(state.control_socket)) if own_socket else settings.control,
        public=replace(
            settings.public,
            tenants={**settings.public.tenants, state.tenant: tenant},
            session_key_file=settings.public.session_key_file or state.visitors_secret_file,
        ),
        commands=replace(
            settings.commands, enabled=True, destinations=settings.commands.destinations or DEMO_DESTINATIONS
        ),
        tenants=replace(settings.tenants, by_name={state.tenant: DEMO_TENANT, **settings.tenants.by_name}),
    )
