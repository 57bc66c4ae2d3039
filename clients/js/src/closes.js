// Generated from the gateway's code by clients/js/generate.py. Do not edit.

/** From this close code on, clients do not reconnect. */
export const FIRST_FINAL_CLOSE = 4500;

/** The names of the close codes. @type {Readonly<{[code: number]: string}>} */
export const CLOSE_NAMES = {
  1000: "normal",
  1001: "going_away",
  1002: "protocol_error",
  1003: "unsupported_data",
  1006: "abnormal",
  1007: "invalid_payload",
  1009: "too_large",
  1011: "internal_error",
  4001: "slow_consumer",
  4002: "keepalive_timeout",
  4003: "draining",
  4004: "rate_limited",
  4005: "token_expired",
  4006: "try_later",
  4500: "unauthorized",
  4501: "protocol_abuse",
  4502: "auth_timeout",
  4503: "revoked",
  4504: "connection_limit",
  4505: "replaced",
  4506: "tenant_suspended",
};
