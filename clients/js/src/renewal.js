/** The token in place of one that expires, on the connection that lives. */

import { messageOf } from "./status.js";
import { TokenRefused } from "./tokens.js";

const EXTENDED_TIMEOUT_MS = 10000;
const FIRST_RENEWAL_MS = 5000;
const MAX_RENEWAL_MS = 20000;

/**
 * Send a fresh token, and again until the timer "renew" is canceled because the session is extended.
 *
 * @param {{host: import("./types.js").Host, timers: import("./timers.js").Timers, send: (frame: object) => void,
 *   isOpen: () => boolean, refused: (text: string) => void}} connection `isOpen`: whether the same socket is open
 * @param {number} [delay] until the next attempt, if this one fails
 * @returns {Promise<void>}
 */
export async function renew(connection, delay = FIRST_RENEWAL_MS) {
  const { host, timers, isOpen } = connection;
  const again = () => timers.after("renew", delay, () => renew(connection, Math.min(2 * delay, MAX_RENEWAL_MS)));
  try {
    const token = await host.token("expiring");
    if (!isOpen() || !token) return;
    connection.send({ type: "auth", id: "auth", payload: { token } });
    timers.after("renew", EXTENDED_TIMEOUT_MS, again);
  } catch (error) {
    if (!isOpen()) return;
    if (error instanceof TokenRefused) return connection.refused(error.message);
    host.log("warning", "no fresh token", { error: messageOf(error) });
    again();
  }
}
