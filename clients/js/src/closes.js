// Generated from the gateway's code by clients/js/generate.py. Do not edit.

/** @type {Readonly<{[code: number]: {name: string, text: string, reconnect: boolean}}>} */
export const CLOSES = {
  1000: {"name": "normal", "text": "closed normally", "reconnect": true},
  1001: {"name": "going_away", "text": "the peer is going away", "reconnect": true},
  1002: {"name": "protocol_error", "text": "the peer violated the WebSocket protocol", "reconnect": true},
  1003: {"name": "unsupported_data", "text": "binary messages are not accepted; send JSON text", "reconnect": true},
  1006: {"name": "abnormal", "text": "the connection was lost without a close frame", "reconnect": true},
  1007: {"name": "invalid_payload", "text": "a message is not valid UTF-8 or not compressed as negotiated", "reconnect": true},
  1009: {"name": "too_large", "text": "the message is larger than the limit", "reconnect": true},
  1011: {"name": "internal_error", "text": "internal error of the gateway", "reconnect": true},
  4001: {"name": "slow_consumer", "text": "the client reads too slowly", "reconnect": true},
  4002: {"name": "keepalive_timeout", "text": "the client did not answer a ping", "reconnect": true},
  4003: {"name": "draining", "text": "this node is shutting down; reconnect", "reconnect": true},
  4004: {"name": "rate_limited", "text": "the client sent too many messages", "reconnect": true},
  4005: {"name": "token_expired", "text": "the token has expired; reconnect with a new token", "reconnect": true},
  4006: {"name": "try_later", "text": "not possible now; reconnect after retry_after_ms", "reconnect": true},
  4500: {"name": "unauthorized", "text": "refused; the error message before it says why", "reconnect": false},
  4501: {"name": "protocol_abuse", "text": "too many invalid messages", "reconnect": false},
  4502: {"name": "auth_timeout", "text": "the client did not authenticate in time", "reconnect": false},
  4503: {"name": "revoked", "text": "the session was ended by an administrator", "reconnect": false},
  4504: {"name": "connection_limit", "text": "too many connections", "reconnect": false},
  4505: {"name": "replaced", "text": "replaced by a newer connection of the same user", "reconnect": false},
  4506: {"name": "tenant_suspended", "text": "reserved, not sent: the tenant is suspended", "reconnect": false},
};
