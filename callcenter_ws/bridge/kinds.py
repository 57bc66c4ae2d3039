"""The kinds of exchanges that a bridge can connect to."""

from __future__ import annotations

from collections.abc import Mapping

from callcenter_ws.bridge.asterisk.exchange import AsteriskConnection
from callcenter_ws.bridge.exchange_connection import NewConnection
from callcenter_ws.bridge.settings import ExchangeKind

KINDS: Mapping[ExchangeKind, NewConnection] = {"asterisk": AsteriskConnection}
"""What makes a connection to an exchange of each kind."""
