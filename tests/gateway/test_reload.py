"""A reload of the settings of a gateway: what each key does, and that a bad configuration changes nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import jwt as pyjwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fake_reactor import FakeReactor
from tls_material import make_certificate, new_certificate

from callcenter_ws.amp.authenticator import SHARED_SECRET
from callcenter_ws.auth.jwkset import JwkSet
from callcenter_ws.auth.keys import read_public_key
from callcenter_ws.config.changes import EFFECTS, Effect, changes_in_place
from callcenter_ws.config.command_settings import AllowedCommands, Destination, Disposition
from callcenter_ws.config.load import load
from callcenter_ws.config.settings import KEYS, PublicTenantSettings, Settings
from callcenter_ws.config.tenant_settings import TenantSettings, TenantStatistics
from callcenter_ws.config.wallboards import WallboardSettings
from callcenter_ws.config.widget import WidgetSettings
from callcenter_ws.errors import Refusal
from callcenter_ws.gateway.reload import GatewayReload
from callcenter_ws.gateway.reload_steps import STEPS
from callcenter_ws.gateway.service import GatewayService
from callcenter_ws.runtime.endpoints import EndpointDescription
from callcenter_ws.runtime.log_output import LogLevelFilter
from callcenter_ws.runtime.peer_budget import Credential
from callcenter_ws.runtime.setting_problems import ConfigError
from callcenter_ws.runtime.setting_values import range_of

SECRET = "the secret of the tests, which has at least 48 bytes"
OTHER_SECRET = "another secret of at least thirty-two bytes, for tests"
PAGE = "https://desk.example"


class Running:
    """A gateway that is not listening, and the settings that it loads at the next reload.

    Attributes:
        next: the settings that ``load`` returns, or the exception that it raises.
    """

    def __init__(self, settings: Settings) -> None:
        self.reactor = FakeReactor()
        self.lowest = LogLevelFilter(settings.log.level)
        self.next: Settings | ConfigError = settings
        self.service = GatewayService(cast(Any, self.reactor), settings)
        self.reload = GatewayReload(self.service, self._load, self.lowest.set)

    def _load(self) -> Settings:
        if isinstance(self.next, ConfigError):
            raise self.next
        return self.next

    @property
    def parts(self) -> Any:
        return self.service.parts

    def use(self, settings: Settings) -> Any:
        """Reload these settings; return the report."""
        self.next = settings
        prepared = self.reload.prepare()
        prepared.commit()
        for _ in range(3):
            self.reactor.advance(0)
        return prepared.report


def secret_file(folder: Path, name: str, content: str = SECRET) -> Path:
    file = folder / name
    file.write_text(content)
    file.chmod(0o600)
    return file


def public_key_file(folder: Path, name: str) -> tuple[Path, Ed25519PrivateKey]:
    key, file = Ed25519PrivateKey.generate(), folder / name
    file.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return file, key


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    secret_file(tmp_path, "jwt.secret")
    path = tmp_path / "gateway.toml"
    path.write_text(
        """
        [web]
        listen = ["tcp:0:interface=127.0.0.1"]
        metrics_listen = "tcp:0:interface=127.0.0.1"
        [amp]
        listen = ["unix:amp.sock"]
        [jwt]
        secret_file = "jwt.secret"
        [store]
        url = "redis://127.0.0.1:1/0"
        [public.tenants.acme]
        origins = ["https://shop.example"]
        anonymous = true
        """
    )
    return load(path)


def changed(settings: Settings, key: str, value: object) -> Settings:
    section, _, name = key.partition(".")
    old = getattr(settings, section)
    replace: Any = dataclasses.replace if section == "limits" else msgspec.structs.replace
    return msgspec.structs.replace(settings, **{section: replace(old, **{name: value})})


# Each key does what its effect says


def other_value(settings: Settings, key: str, folder: Path) -> Any:
    """Return a valid value that differs from the present one."""
    section, _, name = key.partition(".")
    present = getattr(getattr(settings, section), name)
    found = {
        "web.listen": lambda: (EndpointDescription.parse("tcp:1"),),
        "web.metrics_listen": lambda: None,
        "web.allowed_origins": lambda: (PAGE,),
        "web.trusted_proxies": lambda: ("192.0.2.0/24",),
        "amp.listen": lambda: (),
        "amp.token_file": lambda: secret_file(folder, "amp.secret"),
        "jwt.algorithms": lambda: ("HS256", "HS384"),
        "jwt.secret_file": lambda: secret_file(folder, "other.secret", OTHER_SECRET),
        "jwt.public_key_files": lambda: (public_key_file(folder, "key.pem")[0],),
        "jwt.jwks_url": lambda: "https://login.example/jwks",
        "jwt.issuer": lambda: "https://login.example",
        "jwt.audience": lambda: "desk",
        "jwt.cookie": lambda: "session",
        "session.key_file": lambda: secret_file(folder, "pages.secret", OTHER_SECRET),
        "web.embedders": lambda: (PAGE,),
        "store.url": lambda: "memory:",
        "store.synchronous": lambda: "full",
        "store.key_prefix": lambda: "other",
        "store.password_file": lambda: secret_file(folder, "redis.secret"),
        "store.ca_file": lambda: folder / "ca.pem",
        "public.session_key_file": lambda: secret_file(folder, "session.secret", OTHER_SECRET),
        "public.tenants": lambda: {"globex": PublicTenantSettings(origins=(PAGE,), anonymous=True)},
        "statistics.enabled": lambda: True,
        "statistics.time_zone": lambda: "Europe/Berlin",
        "statistics.service_level_method": lambda: "answered_of_all",
        "statistics.queue_stats": lambda: "producer",
        "statistics.interval_minutes": lambda: 30,
        "archive.folder": lambda: folder / "archive",
        "tenants.by_name": lambda: {"globex": TenantSettings(statistics=TenantStatistics(enabled=True))},
        "policy.agent_calls": lambda: "own",
        "policy.agent_chats": lambda: "all",
        "policy.over_user_limit": lambda: "replace_oldest",
        "cluster.node_id": lambda: "other",
        "control.socket": lambda: "other.sock",
        "log.level": lambda: "error",
        "audit.file": lambda: folder / "audit.jsonl",
        "commands.allow": lambda: AllowedCommands(agent=("call.hangup",)),
        "commands.destination_pattern": lambda: r"^[0-9]{3}$",
        "commands.pause_reasons": lambda: ("lunch",),
        "commands.dispositions": lambda: (Disposition(code="sold", label="Sold"),),
        "commands.destinations": lambda: (Destination(name="Night desk", destination="0"),),
        "log.format": lambda: "json",
    }.get(key)
    if found is not None:
        return found()
    if isinstance(present, bool):
        return not present
    allowed = range_of(KEYS[key])
    assert allowed is not None, f"{key}: which other value has it?"
    doubled = type(present)(present * 2 or 5)
    return doubled if doubled <= allowed.largest else type(present)(present / 2)


def refused(check: Callable[[], object]) -> bool:
    try:
        check()
    except Refusal:
        return True
    return False


def accepts(gateway: Running, algorithm: str = "HS256", secret: str = SECRET, **claims: Any) -> bool:
    return not refused(lambda: gateway.parts.authentication.tokens.verify(signed(secret, algorithm, **claims)))


def signed(secret: Any, algorithm: str = "HS256", **claims: Any) -> str:
    present = {"sub": "7", "tenant_id": "acme", "exp": 4_000_000_000, **claims}
    return pyjwt.encode(present, secret, algorithm=algorithm)


def rates(gateway: Running, name: str) -> Any:
    return getattr(gateway.parts.websocket_factory.context.requests.quotas._rates, name)


def limit(name: str) -> Callable[[Running], Any]:
    """Return the probe of a limit that is read from ``Hub.limits``, or from the context of a connection."""
    return lambda gateway: (
        getattr(gateway.parts.core.hub.limits, name),
        getattr(gateway.parts.websocket_factory.context.limits, name),
        getattr(gateway.parts.websocket_factory.context.requests.limits, name),
        getattr(gateway.parts.body_writing.limits, name),
    )


def admission(name: str) -> Callable[[Running], Any]:
    return lambda gateway: getattr(gateway.parts.admission.limits, name)


def new_connection(name: str) -> Callable[[Running], Any]:
    return lambda gateway: getattr(gateway.parts.websocket_factory.build(), name)


def budget(read: Callable[[Any], Any]) -> Callable[[Running], Any]:
    return lambda gateway: read(gateway.parts.peer_limits.budget)


def origins(gateway: Running) -> Any:
    return gateway.parts.websocket_factory.context.authenticator.origins


def grace(gateway: Running) -> Any:
    cluster = gateway.parts.core.store._cluster
    return (cluster.presence._grace, cluster.presence._drain_grace, cluster._reaper.grace)


def connection_limit(gateway: Running) -> Any:
    limits = gateway.parts.core.store._cluster._connection_limit
    return limits._per_user, limits.replaces


PROBES: Mapping[str, Callable[[Running], Any]] = {
    "web.allowed_origins": lambda gateway: (
        refused(lambda: origins(gateway).check_staff(PAGE)),
        gateway.parts.cors.origins.allows(PAGE),
        gateway.parts.site._cors is gateway.parts.metrics_site._cors is gateway.parts.cors,
    ),
    "web.trusted_proxies": lambda gateway: gateway.parts.peer_limits.proxies.trusts("192.0.2.1"),
    "amp.token_file": lambda gateway: refused(lambda: gateway.parts.amp_factory.authenticator.verify(SECRET)),
    "jwt.algorithms": lambda gateway: accepts(gateway, "HS384"),
    "jwt.secret_file": lambda gateway: (accepts(gateway), accepts(gateway, secret=OTHER_SECRET)),
    "jwt.public_key_files": lambda gateway: bool(
        gateway.parts.authentication.tokens.tokens._keys._by_algorithm.get("EdDSA")
    ),
    "jwt.jwks_url": lambda gateway: (source := gateway.parts.authentication.jwks) and source._url,
    "jwt.jwks_refresh": lambda gateway: (source := gateway.parts.authentication.jwks) and source._interval,
    "jwt.issuer": accepts,
    "jwt.audience": accepts,
    "jwt.leeway": lambda gateway: (
        gateway.parts.authentication.tokens.tokens._rules.leeway,
        gateway.parts.core.hub.revocations.tolerance,
    ),
    "jwt.cookie": lambda gateway: gateway.parts.endpoints.staff.token_sources,
    "jwt.allow_query_token": lambda gateway: gateway.parts.endpoints._public.token_sources,
    "limits.outbox": lambda gateway: (gateway.parts.core.hub.limits.outbox, gateway.parts.core.hub._burst),
    "limits.message_bytes": lambda gateway: (
        gateway.parts.websocket_factory.context.limits.message_bytes,
        rates(gateway, "tenant"),
    ),
    "limits.visitor_message_bytes": limit("visitor_message_bytes"),
    "limits.fragments": limit("fragments"),
    "limits.rate": lambda gateway: rates(gateway, "connection").messages,
    "limits.burst": lambda gateway: rates(gateway, "connection").message_burst,
    "limits.byte_rate": lambda gateway: rates(gateway, "connection").bytes,
    "limits.bad_messages": limit("bad_messages"),
    "limits.connections_per_user": lambda gateway: (
        admission("connections_per_user")(gateway),
        connection_limit(gateway),
    ),
    "limits.user_rate": lambda gateway: rates(gateway, "user").messages,
    "limits.user_byte_rate": lambda gateway: rates(gateway, "user").bytes,
    "limits.connections_per_ip": admission("connections_per_ip"),
    "limits.tenant_rate": lambda gateway: rates(gateway, "tenant").messages,
    "limits.tenant_byte_rate": lambda gateway: rates(gateway, "tenant").bytes,
    "limits.visitor_rate": lambda gateway: rates(gateway, "session").messages,
    "limits.visitor_burst": lambda gateway: rates(gateway, "session").message_burst,
    "limits.visitor_byte_rate": lambda gateway: (rates(gateway, "session").bytes, rates(gateway, "visitor").bytes),
    "limits.visitor_sessions": lambda gateway: rates(gateway, "sessions").message_burst,
    "limits.visitor_network_rate": lambda gateway: rates(gateway, "visitor_network").messages,
    "limits.visitor_network_byte_rate": lambda gateway: rates(gateway, "visitor_network").bytes,
    "limits.visitor_tenant_rate": lambda gateway: rates(gateway, "visitor_tenant").messages,
    "limits.visitor_tenant_byte_rate": lambda gateway: rates(gateway, "visitor_tenant").bytes,
    "limits.visitor_history_share": lambda gateway: rates(gateway, "history"),
    "limits.connections_per_tenant": admission("connections_per_tenant"),
    "limits.connections": lambda gateway: (
        admission("connections")(gateway),
        gateway.parts.descriptors.websockets,
        gateway.parts.core.metrics.registry.get_sample_value("callcenter_ws_connections_limit"),
    ),
    "limits.unauthenticated": lambda gateway: (
        gateway.parts.descriptors.unauthenticated,
        gateway.parts.peer_limits.budget._limits.sockets,
    ),
    "limits.unauthenticated_per_network": budget(lambda budget: budget._limits.sockets_per_network),
    "limits.requests_per_network": budget(lambda budget: budget._sizes.requests.rate),
    "limits.request_burst_per_network": budget(lambda budget: budget._sizes.requests.burst),
    "limits.requests_per_connection": lambda gateway: gateway.parts.peer_limits.requests_per_connection,
    "limits.bytes_per_network": budget(lambda budget: budget._sizes.received),
    "limits.failed_tokens_per_network": budget(lambda budget: budget._sizes.failed[Credential.TOKEN]),
    "limits.failed_secrets_per_network": budget(lambda budget: budget._sizes.failed[Credential.SECRET]),
    "limits.failed_sign_ins_per_network": budget(lambda budget: budget._sizes.failed[Credential.PASSWORD]),
    "limits.failed_sign_ins_per_name": lambda gateway: gateway.parts.signing_in.rules.failed_per_name,
    "limits.log_lines_per_network": lambda gateway: [log._lines_per_network for log in gateway.parts.peer_limits.logs],
    "limits.log_lines": lambda gateway: [log._lines for log in gateway.parts.peer_limits.logs],
    "limits.handshake_timeout": lambda gateway: [
        (site.first_bytes_deadline._seconds, site._request_timeouts.head)
        for site in (gateway.parts.site, gateway.parts.metrics_site)
    ],
    "limits.auth_timeout": limit("auth_timeout"),
    "limits.ping_interval": lambda gateway: (
        new_connection("autoPingInterval")(gateway),
        limit("ping_interval")(gateway),
    ),
    "limits.ping_timeout": new_connection("autoPingTimeout"),
    "limits.slow_timeout": limit("slow_timeout"),
    "limits.min_rate": limit("min_rate"),
    "limits.incoming_bytes": lambda gateway: gateway.parts.peer_limits.incoming.bound,
    "limits.outgoing_bytes": lambda gateway: (
        gateway.parts.core.hub.outgoing.limit,
        gateway.parts.core.hub._prepared_views.max_bytes,
    ),
    "limits.presence_grace": grace,
    "limits.drain_timeout": lambda gateway: (grace(gateway), gateway.service.settings.limits.drain_timeout),
    "public.enabled": lambda gateway: (
        gateway.parts.endpoints.serves_public,
        b"public" in gateway.parts.endpoints.staff.children,
        b"/ws/public" in gateway.parts.site._upgrade_handlers,
    ),
    "public.session_key_file": lambda gateway: gateway.parts.authentication.visitors._key == OTHER_SECRET.encode(),
    "session.key_file": lambda gateway: gateway.parts.authentication.pages.has_keys,
    "session.lifetime": lambda gateway: gateway.parts.signing_in.rules.lifetime,
    "session.screen_lifetime": lambda gateway: gateway.parts.signing_in.rules.screen_lifetime,
    "web.embedders": lambda gateway: gateway.parts.page_options.embedders,
    "public.open_sessions": lambda gateway: gateway.parts.chats.open_sessions,
    "public.chat_idle": lambda gateway: gateway.parts.core.idle_chats.seconds,
    "public.tenants": lambda gateway: [
        *(origins(gateway).anonymous_tenant(name, None) for name in ("acme", "globex")),
        *gateway.parts.widget_options.widgets,
        *gateway.parts.core.left_messages.tenants,
    ],
    "policy.agent_calls": lambda gateway: gateway.parts.core.hub.tenant_to_read("acme")._index.agent_calls,
    "policy.agent_chats": lambda gateway: (
        gateway.parts.core.hub.tenant_to_read("acme")._index.agent_chats,
        gateway.parts.chats.agent_chats,
    ),
    "policy.over_user_limit": lambda gateway: (gateway.parts.admission.over_user_limit, connection_limit(gateway)),
    "compression.enabled": lambda gateway: gateway.parts.websocket_factory.context.deflater is None,
    "compression.level": lambda gateway: gateway.parts.websocket_factory.context.deflater._level,
    "compression.threshold": lambda gateway: gateway.parts.websocket_factory.context.deflater._threshold,
    **{
        key: lambda gateway: gateway.parts.core.plan.plan
        for key in KEYS
        if key.startswith(("statistics.", "archive.", "tenants.")) and changes_in_place(key)
    },
    "log.level": lambda gateway: gateway.lowest.predicate.logLevelForNamespace("callcenter_ws"),
    "log.connections": lambda gateway: gateway.parts.log.connections,
    "commands.allow": lambda gateway: gateway.parts.core.commands.policy.allowed,
    "commands.rate": lambda gateway: gateway.parts.core.command_budgets.rate.messages,
    "commands.burst": lambda gateway: gateway.parts.core.command_budgets.rate.message_burst,
    "commands.destination_pattern": lambda gateway: gateway.parts.core.commands.policy.destination,
    "commands.pause_reasons": lambda gateway: gateway.parts.core.commands.policy.choices.pause_reasons,
    "commands.dispositions": lambda gateway: gateway.parts.core.commands.policy.choices.dispositions,
    "commands.destinations": lambda gateway: gateway.parts.core.commands.policy.choices.destinations,
    "audit.file": lambda gateway: (file := gateway.parts.audit._file) and file.path,
}
"""For each key that a reload changes: what a running gateway uses of it."""


def base_of(settings: Settings, key: str, folder: Path) -> Settings:
    """Return settings with which a change of a key can be seen."""
    if key == "jwt.jwks_refresh":
        return changed(settings, "jwt.jwks_url", "https://login.example/jwks")
    if key == "jwt.leeway":
        return changed(settings, "jwt.leeway", 100.0)
    if key.startswith("statistics.") and key != "statistics.enabled":
        return changed(settings, "statistics.enabled", True)
    if key == "jwt.public_key_files":
        return changed(settings, "jwt.algorithms", ("HS256", "EdDSA"))
    return settings


def test_each_key_that_a_reload_changes_is_probed() -> None:
    assert PROBES.keys() == {key for key in KEYS if changes_in_place(key)}


def test_each_key_that_a_reload_changes_has_one_step() -> None:
    for key in KEYS:
        expected = changes_in_place(key) or key in ("web.listen", "web.metrics_listen", "amp.listen")
        assert sum(step.covers(key) for step in STEPS) == expected, key


@pytest.mark.parametrize("key", [key for key in KEYS if changes_in_place(key)])
def test_a_changed_key_is_in_use_after_a_reload(settings: Settings, tmp_path: Path, key: str) -> None:
    old = base_of(settings, key, tmp_path)
    new = changed(old, key, other_value(old, key, tmp_path))
    gateway, fresh, probe = Running(old), Running(new), PROBES[key]
    before = msgspec.structs.replace(old)
    seen = repr(probe(gateway))
    assert seen != repr(probe(fresh)), "the probe does not see the change"
    report = gateway.use(new)
    assert repr(probe(gateway)) == repr(probe(fresh))
    assert (report.applied, report.waiting, report.files) == ((key,), (), ())
    assert gateway.service.settings == new
    assert old == before
    # And back again.
    gateway.use(old)
    assert repr(probe(gateway)) == seen


def test_wallboards_of_the_new_settings_are_in_use_after_a_reload(settings: Settings) -> None:
    gateway = Running(settings)
    assert gateway.parts.page_options.wallboards == {}
    board = WallboardSettings(name="floor")
    gateway.use(changed(settings, "tenants.by_name", {"acme": TenantSettings(wallboards=(board,))}))
    assert gateway.parts.page_options.wallboards == {"acme": (board,)}
    gateway.use(settings)
    assert gateway.parts.page_options.wallboards == {}


@pytest.mark.parametrize("key", [key for key in KEYS if not changes_in_place(key)])
def test_a_key_that_a_reload_does_not_change_is_named(settings: Settings, tmp_path: Path, key: str) -> None:
    if key == "store.ca_file":
        (tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE-----")
    gateway = Running(settings)
    assert EFFECTS[key] in (Effect.PROCESS, Effect.RESTART)
    for _ in range(2):
        report = gateway.use(changed(settings, key, other_value(settings, key, tmp_path)))
        # It is named again as long as it waits.
        assert (report.applied, report.waiting) == ((), ((key, EFFECTS[key].value),))
        assert gateway.service.settings == settings
    assert gateway.use(settings).waiting == ()


def test_limits_that_are_copied_to_connections_stay_as_they_were(settings: Settings) -> None:
    gateway = Running(settings)
    connected = gateway.parts.websocket_factory.build()
    gateway.use(changed(changed(settings, "limits.ping_interval", 7.0), "limits.message_bytes", 2_048))
    assert connected.autoPingInterval == settings.limits.ping_interval
    assert connected.maxMessagePayloadSize == settings.limits.message_bytes
    assert gateway.parts.websocket_factory.build().maxMessagePayloadSize == 2_048


def test_budgets_in_use_follow_a_new_rate(settings: Settings) -> None:
    gateway = Running(settings)
    context = gateway.parts.websocket_factory.context
    agent = gateway.parts.authentication.tokens.verify(signed(SECRET))
    quotas = context.requests.quotas
    connection, charges = quotas.connection_budget(agent), quotas.charges(agent, "192.0.2.1")
    assert quotas.charge(connection, charges, 10) is None
    limits = dataclasses.replace(settings.limits, burst=1, rate=0.01)
    gateway.use(msgspec.structs.replace(settings, limits=limits))
    assert quotas.charge(connection, charges, 10) is None
    # The clock is the real one.
    assert 10 < quotas.charge(connection, charges, 10).seconds <= 100


# Keys and sessions


def test_a_token_of_the_new_key_is_accepted_and_one_of_the_old_key_is_not(settings: Settings, tmp_path: Path) -> None:
    gateway = Running(settings)
    (tmp_path / "jwt.secret").write_text(OTHER_SECRET)
    report = gateway.use(settings)
    assert (report.applied, report.files) == ((), ("jwt.secret_file",))
    assert (accepts(gateway), accepts(gateway, secret=OTHER_SECRET)) == (False, True)
    assert gateway.use(settings).files == ()


def test_sessions_of_visitors_stay_valid_with_another_key(settings: Settings, tmp_path: Path) -> None:
    old = changed(settings, "public.session_key_file", secret_file(tmp_path, "session.secret"))
    gateway = Running(old)
    accepted = gateway.parts.authentication
    tokens = [accepted.visitors.open("acme")[1]]
    for number in range(3):
        secret_file(tmp_path, "session.secret", f"{OTHER_SECRET} {number}")
        assert gateway.use(old).files == ("public.session_key_file",)
        tokens.append(accepted.visitors.open("acme")[1])
    assert len({token.rpartition(".")[2] for token in tokens}) == len(tokens)
    for session in tokens:
        assert accepted.tokens.verify(session).is_visitor


def test_the_widget_of_a_tenant_has_the_new_texts(settings: Settings) -> None:
    public = {"acme": PublicTenantSettings(origins=(PAGE,))}
    gateway = Running(changed(settings, "public.tenants", public))
    options = gateway.parts.widget_options
    assert (options.widgets["acme"].settings.title, options.queue_of("acme")) == ("", None)
    own = TenantSettings(widget=WidgetSettings(title="Acme", queue_name="web", queues=("vip",)))
    gateway.use(changed(gateway.service.settings, "tenants.by_name", {"acme": own}))
    assert (options.widgets["acme"].settings.title, options.queue_of("acme")) == ("Acme", "web")
    assert (options.open_queues("acme"), options.open_queues("globex")) == ({"web", "vip"}, set())


def test_without_a_session_key_file_the_key_stays(settings: Settings) -> None:
    gateway = Running(settings)
    key = gateway.parts.authentication.visitors._key
    gateway.use(changed(settings, "public.open_sessions", True))
    assert gateway.parts.authentication.visitors._key == key


@pytest.fixture
def fetching(settings: Settings, tmp_path: Path) -> Settings:
    algorithms = changed(settings, "jwt.algorithms", ("HS256", "EdDSA"))
    return changed(algorithms, "jwt.jwks_url", "https://login.example/jwks")


def fetch(gateway: Running, folder: Path, name: str) -> Ed25519PrivateKey:
    """Have the JWK set fetched, with one key; return its private key."""
    file, private = public_key_file(folder, name)
    key_set = JwkSet((read_public_key(file),), ())
    source = gateway.parts.authentication.jwks
    source._ring.renew(key_set.keys)
    source._note_success(key_set)
    return private


def test_fetched_keys_survive_a_change_of_the_others(fetching: Settings, tmp_path: Path) -> None:
    gateway = Running(fetching)
    private = fetch(gateway, tmp_path, "first.pem")
    source = gateway.parts.authentication.jwks
    (tmp_path / "jwt.secret").write_text(OTHER_SECRET)
    gateway.use(changed(fetching, "jwt.leeway", 5.0))
    assert gateway.parts.authentication.jwks is source
    assert accepts(gateway, "EdDSA", cast(Any, private))
    assert (accepts(gateway), accepts(gateway, secret=OTHER_SECRET)) == (False, True)
    # The next fetch renews the keys that are in use now.
    renewed = fetch(gateway, tmp_path, "second.pem")
    assert accepts(gateway, "EdDSA", cast(Any, renewed))
    assert not accepts(gateway, "EdDSA", cast(Any, private))


def test_keys_that_are_fetched_between_prepare_and_commit_are_used(fetching: Settings, tmp_path: Path) -> None:
    gateway = Running(fetching)
    fetch(gateway, tmp_path, "first.pem")
    gateway.next = changed(fetching, "jwt.leeway", 5.0)
    prepared = gateway.reload.prepare()
    private = fetch(gateway, tmp_path, "second.pem")
    prepared.commit()
    assert accepts(gateway, "EdDSA", cast(Any, private))


def test_with_another_url_the_fetched_keys_are_used_until_the_first_fetch(fetching: Settings, tmp_path: Path) -> None:
    gateway = Running(fetching)
    private = fetch(gateway, tmp_path, "first.pem")
    former = gateway.parts.authentication.jwks
    former.setServiceParent(gateway.service)
    gateway.use(changed(fetching, "jwt.jwks_url", "https://other.example/jwks"))
    assert former.parent is None
    assert gateway.parts.authentication.jwks.parent is gateway.service
    assert gateway.parts.authentication.missing_keys() is None
    assert accepts(gateway, "EdDSA", cast(Any, private))
    fetch(gateway, tmp_path, "second.pem")
    assert not accepts(gateway, "EdDSA", cast(Any, private))


def test_a_gateway_without_keys_waits_for_the_first_fetch(settings: Settings) -> None:
    without = changed(settings, "jwt.secret_file", None)
    gateway = Running(without)
    assert "no key is configured" in str(gateway.parts.authentication.missing_keys())
    with_url = changed(changed(without, "jwt.algorithms", ("EdDSA",)), "jwt.jwks_url", "https://login.example/jwks")
    gateway.use(with_url)
    assert "have not been fetched" in str(gateway.parts.authentication.missing_keys())
    gateway.use(settings)
    assert gateway.parts.authentication.jwks is None
    assert gateway.parts.authentication.missing_keys() is None


def test_daemons_authenticate_with_the_new_secret(settings: Settings, tmp_path: Path) -> None:
    old = changed(settings, "amp.token_file", secret_file(tmp_path, "amp.secret"))
    gateway = Running(old)
    verify = gateway.parts.amp_factory.authenticator.verify
    assert verify(SECRET) is SHARED_SECRET
    secret_file(tmp_path, "amp.secret", OTHER_SECRET + "\n")
    assert gateway.use(old).files == ("amp.token_file",)
    assert verify(OTHER_SECRET) is SHARED_SECRET
    assert refused(lambda: verify(SECRET))


# All or nothing


def test_a_configuration_that_cannot_be_loaded_changes_nothing(settings: Settings, tmp_path: Path) -> None:
    gateway = Running(settings)
    (tmp_path / "gateway.toml").write_text("[web]\nallowed_origins = ['nonsense']\n[limits]\nrate = -1\n")
    with pytest.raises(ConfigError) as caught:
        gateway.use(load(tmp_path / "gateway.toml"))
    assert {problem.key for problem in caught.value.problems} == {"web.allowed_origins", "limits.rate"}
    assert gateway.service.settings == settings


def test_all_problems_of_files_are_reported_and_nothing_changes(settings: Settings, tmp_path: Path) -> None:
    gateway = Running(settings)
    new = changed(settings, "web.allowed_origins", (PAGE,))
    for key, value in (
        ("jwt.secret_file", secret_file(tmp_path, "short.secret", "short")),
        ("amp.token_file", secret_file(tmp_path, "empty.secret", " \n")),
        ("public.session_key_file", tmp_path / "missing.secret"),
    ):
        new = changed(new, key, value)
    with pytest.raises(ConfigError) as caught:
        gateway.use(new)
    reasons = {problem.key: problem.reason for problem in caught.value.problems}
    assert reasons.keys() == {"jwt.secret_file", "amp.token_file", "public.session_key_file"}
    assert "5 bytes" in reasons["jwt.secret_file"]
    assert PROBES["web.allowed_origins"](gateway) == PROBES["web.allowed_origins"](Running(settings))
    assert accepts(gateway)
    assert gateway.service.settings == settings
    gateway.use(changed(settings, "web.allowed_origins", (PAGE,)))
    assert not refused(lambda: origins(gateway).check_staff(PAGE))


def test_nothing_changes_before_commit(settings: Settings, tmp_path: Path) -> None:
    gateway = Running(settings)
    for key in PROBES:
        settings_of_key = base_of(settings, key, tmp_path)
        gateway.next = changed(settings_of_key, key, other_value(settings_of_key, key, tmp_path))
        gateway.reload.prepare()
    fresh = Running(settings)
    for key, probe in PROBES.items():
        assert repr(probe(gateway)) == repr(probe(fresh)), key
    assert gateway.service.settings == settings


def test_old_endpoints_are_checked_together_with_the_new_settings(settings: Settings) -> None:
    behind_proxy = changed(settings, "web.trusted_proxies", ("192.0.2.0/24",))
    old = changed(behind_proxy, "web.listen", (EndpointDescription.parse("haproxy:tcp:0:interface=127.0.0.1"),))
    gateway = Running(old)
    # Valid by itself, but the socket for proxies is open until the restart.
    with pytest.raises(ConfigError) as caught:
        gateway.use(settings)
    (problem,) = caught.value.problems
    assert problem.key == "web.listen"
    assert "web.trusted_proxies lists none; a change of web.listen is used after a restart only" in problem.reason


@pytest.mark.logs_errors
def test_a_bug_in_one_step_does_not_prevent_the_others(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = Running(settings)
    monkeypatch.setattr(gateway.parts.endpoints, "serve_public", lambda enabled: 1 / 0)
    gateway.use(changed(changed(settings, "public.enabled", False), "compression.level", 9))
    assert PROBES["compression.level"](gateway) == 9


def test_warnings_of_the_new_settings_are_reported(settings: Settings) -> None:
    gateway = Running(settings)
    report = gateway.use(msgspec.structs.replace(settings, warnings=("jwt.secret_file: a warning",)))
    assert report.warnings == gateway.service.settings.warnings == ("jwt.secret_file: a warning",)


def test_what_the_next_start_cannot_use_is_a_warning(settings: Settings, tmp_path: Path) -> None:
    gateway = Running(settings)
    new = changed(settings, "amp.listen", (EndpointDescription.parse(f"unix:{tmp_path}/no/folder/amp.sock"),))
    report = gateway.use(new)
    assert [key for key, _ in report.waiting] == ["amp.listen"]
    assert any("does not exist" in text for text in report.warnings)


# Certificates


@pytest.fixture
def with_tls(settings: Settings, tmp_path: Path) -> Running:
    certificate, key = make_certificate(tmp_path)
    text = f"ssl:0:interface=127.0.0.1:certKey={certificate}:privateKey={key}"
    gateway = Running(changed(settings, "web.listen", (EndpointDescription.parse(text),)))
    for listener in gateway.service.web_listeners:
        # Makes the TLS contexts, as listening does.
        listener._wrapped_factory()
    return gateway


def test_a_new_certificate_is_used(with_tls: Running, tmp_path: Path) -> None:
    (listener,) = with_tls.service.web_listeners
    contexts: Any = listener.contexts
    before = contexts.getContext()
    assert with_tls.use(with_tls.service.settings).files == ()
    # Its tickets stay valid while nothing changes.
    assert contexts.getContext() is before
    make_certificate(tmp_path, new_certificate())
    assert with_tls.use(with_tls.service.settings).files == ("web.listen",)
    assert contexts.getContext() is not before


@pytest.mark.parametrize("damage", ["key", "certificate", "missing"])
def test_a_certificate_that_cannot_be_used_is_refused(with_tls: Running, tmp_path: Path, damage: str) -> None:
    (listener,) = with_tls.service.web_listeners
    contexts: Any = listener.contexts
    before = contexts.getContext()
    key = (tmp_path / "key.pem").read_bytes()
    make_certificate(tmp_path, new_certificate())
    if damage == "key":
        (tmp_path / "key.pem").write_bytes(key)
    elif damage == "certificate":
        (tmp_path / "certificate.pem").write_text("nonsense")
    else:
        (tmp_path / "key.pem").unlink()
    with pytest.raises(ConfigError) as caught:
        with_tls.use(changed(with_tls.service.settings, "web.allowed_origins", (PAGE,)))
    (problem,) = caught.value.problems
    assert problem.key == "web.listen"
    if damage == "key":
        assert f"{tmp_path}/key.pem is not the key of the certificate in {tmp_path}/certificate.pem" in problem.reason
    assert contexts.getContext() is before
    assert refused(lambda: origins(with_tls).check_staff(PAGE))


def test_a_certificate_is_read_again_when_it_changes_after_prepare(with_tls: Running, tmp_path: Path) -> None:
    make_certificate(tmp_path, new_certificate())
    with_tls.next = with_tls.service.settings
    prepared = with_tls.reload.prepare()
    make_certificate(tmp_path, new_certificate())
    prepared.commit()
    assert with_tls.use(with_tls.service.settings).files == ("web.listen",)


def test_a_reload_does_not_remove_the_last_key(settings: Settings) -> None:
    gateway = Running(settings)
    with pytest.raises(ConfigError, match="no key to verify tokens with"):
        gateway.use(changed(settings, "jwt.secret_file", None))
    assert accepts(gateway)
