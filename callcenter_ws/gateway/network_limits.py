"""The limits of peers that have not authenticated, from the settings."""

from __future__ import annotations

from callcenter_ws.config.settings import Settings
from callcenter_ws.gateway.descriptors import Descriptors
from callcenter_ws.runtime.client_address import TrustedProxies
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.peer_budget import BudgetLimits, Credential
from callcenter_ws.runtime.peer_limits import PeerLimits, PeerLimitValues


def peer_limits(settings: Settings, clock: Clock, descriptors: Descriptors) -> PeerLimits:
    """Return the limits that all ports of the process share."""
    values = peer_limit_values(settings, descriptors)
    return PeerLimits.create(clock, values, proxies=TrustedProxies(settings.web.trusted_proxies))


def peer_limit_values(settings: Settings, descriptors: Descriptors) -> PeerLimitValues:
    """Return the values of these limits."""
    limits = settings.limits
    sockets = descriptors.unauthenticated
    budget = BudgetLimits(
        sockets=sockets,
        sockets_per_network=min(limits.unauthenticated_per_network, sockets),
        requests=limits.requests_per_network,
        request_burst=limits.request_burst_per_network,
        bytes_per_second=limits.bytes_per_network,
        failed={
            Credential.TOKEN: limits.failed_tokens_per_network,
            Credential.SECRET: limits.failed_secrets_per_network,
            Credential.PASSWORD: limits.failed_sign_ins_per_network,
        },
    )
    return PeerLimitValues(
        budget=budget,
        log_lines=limits.log_lines,
        log_lines_per_network=limits.log_lines_per_network,
        requests_per_connection=limits.requests_per_connection,
        incoming_bytes=limits.incoming_bytes,
        authenticated_http=descriptors.http,
    )
