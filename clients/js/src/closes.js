// Generated from the gateway's code by clients/js/generate.py. Do not edit.

export const FIRST_FINAL_CLOSE = 4500;

const ROWS = `1000 normal closed normally
1001 going_away the peer is going away
1002 protocol_error the peer violated the WebSocket protocol
1003 unsupported_data binary messages are not accepted; send JSON text
1006 abnormal the connection was lost without a close frame
1007 invalid_payload a message is not valid UTF-8 or not compressed as negotiated
1009 too_large the message is larger than the limit
1011 internal_error internal error of the gateway
4001 slow_consumer the client reads too slowly
4002 keepalive_timeout the client did not answer a ping
4003 draining this node is shutting down; reconnect
4004 rate_limited the client sent too many messages
4005 token_expired the token has expired; reconnect with a new token
4006 try_later not possible now; reconnect after retry_after_ms
4500 unauthorized refused; the error message before it says why
4501 protocol_abuse too many invalid messages
4502 auth_timeout the client did not authenticate in time
4503 revoked the session was ended by an administrator
4504 connection_limit too many connections
4505 replaced replaced by a newer connection of the same user
4506 tenant_suspended reserved, not sent: the tenant is suspended`;

/** @type {Readonly<{[code: number]: {name: string, text: string, reconnect: boolean}}>} */
export const CLOSES = Object.fromEntries(
  ROWS.split("\n").map((row) => {
    const [code, name, ...words] = row.split(" ");
    return [code, { name, text: words.join(" "), reconnect: +code < FIRST_FINAL_CLOSE }];
  }),
);
