"""What ``--demo`` changes in the settings: its own secret, socket and tenant, and nothing that was set by hand."""

from __future__ import annotations

from msgspec.structs import replace

from callcenter_ws.config.settings import PublicTenant, Settings, Store
from callcenter_ws.demo.state import DemoState
from callcenter_ws.runtime.endpoints import endpoint_arguments

_ANY_INTERFACE = ("", "0.0.0.0", "::")  # noqa: S104 - compared with, not bound to


def page_url(settings: Settings) -> str:
    """Where the demo's page is found from this machine, as ``http://127.0.0.1:8080/``."""
    listen = settings.web.listen[0]
    positional, named = endpoint_arguments(listen)
    port = named.get("port") or positional[0]
    interface = named.get("interface", "")
    host = "127.0.0.1" if interface in _ANY_INTERFACE else interface
    host = f"[{host}]" if ":" in host else host
    return f"{'https' if listen.startswith('ssl:') else 'http'}://{host}:{port}/"


def page_origins(url: str) -> list[str]:
    """The origins under which a browser on this machine finds the page at ``url``, each with its port."""
    page = url.rstrip("/")
    scheme, port = page.partition(":")[0], page.rpartition(":")[2]
    return list(dict.fromkeys([page, f"{scheme}://localhost:{port}", f"{scheme}://127.0.0.1:{port}"]))


def page_hosts(url: str) -> frozenset[str]:
    """What a browser sends as ``Host`` for those origins: without the port, where it is the scheme's own."""
    hosts = [origin.partition("://")[2] for origin in page_origins(url)]
    default = ":443" if url.startswith("https:") else ":80"
    return frozenset([*hosts, *[host.removesuffix(default) for host in hosts]])


def demo_settings(settings: Settings, state: DemoState) -> Settings:
    """Return ``settings`` with what the demo needs.

    Its page may connect, tokens are signed with its development secret, its simulator sends over its own
    unix socket, visitors of its tenant need no token, and its events are kept beside its secret.
    """
    origins = page_origins(state.url)
    tenant = settings.public.tenants.get(state.tenant, PublicTenant(anonymous=True))
    own_secret = settings.jwt.secret_file is None and "HS256" in settings.jwt.algorithms
    # The default TCP listener of AMP needs a shared secret, which the demo has not.
    other_listeners = settings.amp.listen if settings.amp.token_file is not None else ()
    own_store = settings.store.url == Store().url
    return replace(
        settings,
        store=replace(settings.store, url=f"sqlite:{state.store_file}") if own_store else settings.store,
        web=replace(settings.web, demo=True, allowed_origins=(*settings.web.allowed_origins, *origins)),
        jwt=replace(settings.jwt, secret_file=state.secret_file) if own_secret else settings.jwt,
        amp=replace(settings.amp, listen=(state.amp_listen, *other_listeners)),
        public=replace(settings.public, tenants={**settings.public.tenants, state.tenant: tenant}),
    )
