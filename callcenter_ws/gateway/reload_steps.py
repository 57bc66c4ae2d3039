"""What a reload exchanges in a running gateway: one step for each part that can change.

``STEPS`` lists them with the keys that they are for. A step builds what the new settings need and returns a function
that has the part use it. Building may fail; using it cannot.
"""

from __future__ import annotations

from collections.abc import Sequence

from callcenter_ws.amp.authenticator import PeerAuthenticator
from callcenter_ws.auth.jwkset import JwkSet
from callcenter_ws.auth.page_tokens import PageTokens
from callcenter_ws.auth.tokens import TokenVerifier
from callcenter_ws.auth.visitors import session_key as session_verification_key
from callcenter_ws.config.changes import changes_in_place
from callcenter_ws.config.settings import KEYS
from callcenter_ws.config.verification import token_rules
from callcenter_ws.gateway.assembly import admission_limits, deflater, history_limits
from callcenter_ws.gateway.authentication import (
    amp_secret,
    jwks_source,
    key_ring,
    origin_policy,
    page_token_keys,
    session_key,
    token_sources,
)
from callcenter_ws.gateway.core import time_zones_of
from callcenter_ws.gateway.descriptors import divide_descriptors
from callcenter_ws.gateway.figure_plan import plan_of
from callcenter_ws.gateway.network_limits import peer_limit_values
from callcenter_ws.gateway.reload_commands import COMMAND_KEYS, prepare_audit, prepare_command_policy, prepare_commands
from callcenter_ws.gateway.reload_step import Commit, Reloading, Step
from callcenter_ws.gateway.setting_files import LISTEN_KEYS
from callcenter_ws.http.page_options import wallboards_of
from callcenter_ws.http.public_widget import widgets_of
from callcenter_ws.runtime.client_address import TrustedProxies
from callcenter_ws.runtime.setting_problems import ConfigError, Problem
from callcenter_ws.runtime.tls import server_context
from callcenter_ws.runtime.web_origin import OriginList


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
        except (OSError, ValueError) as error:
            problems.append(Problem("", ", ".join(keys), str(error)))
    if problems:
        raise ConfigError(problems)
    return commits


def _log_level(reloading: Reloading) -> Commit:
    level = reloading.new.log.level
    return lambda: reloading.set_log_level(level)


def _connection_log(reloading: Reloading) -> Commit:
    parts, connections = reloading.parts, reloading.new.log.connections

    def commit() -> None:
        parts.log.connections = parts.amp_factory.log.connections = connections

    return commit


def _origins(reloading: Reloading) -> Commit:
    parts = reloading.parts
    policy, listed = origin_policy(reloading.new), OriginList(reloading.new.web.allowed_origins)
    widgets = widgets_of(reloading.new)

    def commit() -> None:
        parts.widget_options.widgets = widgets
        parts.core.left_messages.tenants = sorted(widgets)
        parts.websocket_factory.context.authenticator.origins = policy
        parts.cors.origins = listed

    return commit


def _proxies(reloading: Reloading) -> Commit:
    trusted, proxies = TrustedProxies(reloading.new.web.trusted_proxies), reloading.parts.peer_limits.proxies
    return lambda: proxies.replace_with(trusted)


def _token_keys(reloading: Reloading) -> Commit:
    """Replace the keys and rules of tokens. Connected sessions stay; their next token is verified by the new ones."""
    parts, jwt = reloading.parts, reloading.new.jwt
    accepted, clock, rules = parts.authentication, parts.core.clock, token_rules(jwt)
    fetching = accepted.jwks
    known = None
    if jwt.jwks_url is not None and accepted.jwt.has_keys:
        # Until the first fetch from another URL succeeds, the keys of the previous one verify tokens.
        known = fetching.current if fetching is not None else JwkSet((), ())
    ring = key_ring(jwt, known)
    is_same = (jwt.jwks_url, jwt.jwks_refresh) == (accepted.jwt.jwks_url, accepted.jwt.jwks_refresh)
    source = fetching if is_same else jwks_source(reloading.service.reactor, clock, jwt, ring, known)
    verifier, sources = TokenVerifier(ring, rules, clock.time), token_sources(jwt)

    def commit() -> None:
        accepted.tokens.tokens, accepted.jwt, accepted.jwks = verifier, jwt, source
        parts.core.hub.revocations.tolerance = rules.iat_tolerance
        parts.endpoints.replace_token_sources(sources)
        if source is fetching:
            if source is not None:
                source.use_ring(ring)
            return
        if fetching is not None:
            fetching.disownServiceParent()
        if source is not None:
            source.setServiceParent(reloading.service)

    return commit


def _session_key(reloading: Reloading) -> Commit:
    visitors = reloading.parts.authentication.visitors
    key = session_key(reloading.new, reloading.service.handoff)
    verification_key = session_verification_key(key)
    return lambda: visitors.replace_key(key, verification_key)


def _page_keys(reloading: Reloading) -> Commit:
    """Replace the keys of the pages' tokens: a token whose key is gone is refused, and the page asks for another."""
    pages, keys = reloading.parts.authentication.pages, page_token_keys(reloading.new)
    PageTokens(keys, reloading.parts.core.clock.time)  # raises ValueError for keys that cannot be used
    # With the same source a key that is only in memory stays, as with the key of visitors' sessions.
    if reloading.new.session_key_file is None and reloading.old.session_key_file is None:
        return lambda: None
    return lambda: pages.replace_keys(keys)


def _sessions(reloading: Reloading) -> Commit:
    rules, session = reloading.parts.signing_in.rules, reloading.new.session

    def commit() -> None:
        rules.lifetime, rules.screen_lifetime = session.lifetime, session.screen_lifetime

    return commit


def _embedders(reloading: Reloading) -> Commit:
    options, embedders = reloading.parts.page_options, reloading.new.web.embedders

    def commit() -> None:
        options.embedders = embedders

    return commit


def _tenants(reloading: Reloading) -> Commit:
    """Replace what tenants have: statistics, alerts and their receivers, wallboards, commands, chat widgets."""
    plan, wallboards, widgets = plan_of(reloading.new), wallboards_of(reloading.new), widgets_of(reloading.new)
    core, options, time_zones = reloading.parts.core, reloading.parts.page_options, time_zones_of(reloading.new)
    use_command_policy = prepare_command_policy(reloading)

    def commit() -> None:
        use_command_policy()
        core.figures.use(plan)
        core.call_log.time_zone = time_zones
        core.hub.use_figures(core.store.figures, core.plan)
        options.wallboards = wallboards
        reloading.parts.widget_options.widgets = widgets

    return commit


def _amp_secret(reloading: Reloading) -> Commit:
    secret, authenticator = amp_secret(reloading.new), reloading.parts.amp_factory.authenticator
    PeerAuthenticator(secret, None)  # raises ValueError for a secret that cannot be used
    return lambda: authenticator.replace_secret(secret)


def _certificates(reloading: Reloading) -> Commit:
    """Show new handshakes the new certificates; open connections keep theirs."""
    renewed, problems = [], []
    for listener in reloading.service.listeners:
        # Without contexts the socket is not used yet: its files are read then.
        if listener.setting in reloading.changed and listener.contexts is not None:
            try:
                renewed.append((listener.contexts, server_context(listener.endpoint)))
            except (OSError, ValueError) as error:
                problems.append(Problem("", listener.setting, str(error)))
    if problems:
        raise ConfigError(problems)

    def commit() -> None:
        for contexts, context in renewed:
            contexts.replace(context)

    return commit


def _public_endpoint(reloading: Reloading) -> Commit:
    endpoints, enabled = reloading.parts.endpoints, reloading.new.public.enabled
    return lambda: endpoints.serve_public(enabled)


def _policy(reloading: Reloading) -> Commit:
    hub, chats, policy = reloading.parts.core.hub, reloading.parts.chats, reloading.new.policy
    use_command_policy = prepare_command_policy(reloading)

    def commit() -> None:
        use_command_policy()
        chats.agent_chats = policy.agent_chats
        hub.change_policy(policy.agent_calls, policy.agent_chats)

    return commit


def _open_sessions(reloading: Reloading) -> Commit:
    chats, open_sessions = reloading.parts.chats, reloading.new.public.open_sessions

    def commit() -> None:
        chats.open_sessions = open_sessions

    return commit


def _chat_idle(reloading: Reloading) -> Commit:
    chats, seconds = reloading.parts.core.idle_chats, reloading.new.public.chat_idle

    def commit() -> None:
        chats.seconds = seconds

    return commit


def _compression(reloading: Reloading) -> Commit:
    context, compressor = reloading.parts.websocket_factory.context, deflater(reloading.new)

    def commit() -> None:
        context.deflater = compressor

    return commit


def _limits(reloading: Reloading) -> Commit:
    """Replace the limits. What is above a lower one stays; connections are counted when the next one is opened."""
    service, parts, new = reloading.service, reloading.parts, reloading.new
    limits, over_user_limit = new.limits, new.policy.over_user_limit
    descriptors = divide_descriptors(limits)
    peers, admission = peer_limit_values(new, descriptors), admission_limits(new, descriptors)
    sites = [parts.site, *([] if parts.metrics_site is None else [parts.metrics_site])]

    def commit() -> None:
        parts.descriptors = descriptors
        parts.peer_limits.change(peers)
        parts.signing_in.rules.failed_per_name = limits.failed_sign_ins_per_name
        parts.admission.limits, parts.admission.over_user_limit = admission, over_user_limit
        parts.core.store.change_limits(limits, over_user_limit)
        parts.core.hub.change_limits(limits)
        parts.websocket_factory.change_limits(limits)
        parts.websocket_factory.context.requests.quotas.change(limits, **history_limits(new))
        parts.body_writing.limits = limits
        for site in sites:
            site.change_handshake_timeout(limits.handshake_timeout)
        for factory in service.proxied_factories:
            factory.timeout = limits.handshake_timeout
        service.change_stop_timeout(limits)

    return commit


_TENANT_KEYS = tuple(
    key for key in KEYS if key.startswith(("statistics.", "archive.", "tenants.")) and changes_in_place(key)
)

STEPS: tuple[Step, ...] = (
    Step(("log.level",), _log_level),
    Step(("log.connections",), _connection_log),
    Step(LISTEN_KEYS, _certificates),
    Step(("jwt.",), _token_keys),
    Step(("amp.token_file",), _amp_secret),
    Step(("public.session_key_file",), _session_key),
    Step(("session.key_file",), _page_keys),
    Step(("session.lifetime", "session.screen_lifetime"), _sessions),
    Step(("web.embedders",), _embedders),
    Step(("web.allowed_origins", "public.tenants"), _origins),
    Step(("web.trusted_proxies",), _proxies),
    Step(("public.enabled",), _public_endpoint),
    Step(("public.open_sessions",), _open_sessions),
    Step(("public.chat_idle",), _chat_idle),
    Step(("policy.agent_calls", "policy.agent_chats"), _policy),
    Step(("limits.", "policy.over_user_limit"), _limits),
    Step(("compression.",), _compression),
    Step(_TENANT_KEYS, _tenants),
    Step(COMMAND_KEYS, prepare_commands),
    Step(("audit.file",), prepare_audit),
)
"""The steps, in the order in which they are carried out."""
