/** The state of a connection, and the reasons for it as texts for a person. */

import { CLOSE_NAMES } from "./closes.js";

/** @typedef {import("./types.js").LinkStatus} LinkStatus */
/** @typedef {import("./types.js").Reason} Reason */

/**
 * Return the status before the first attempt.
 *
 * @param {number} now
 * @param {LinkStatus} [before] the status of what is replaced
 * @returns {LinkStatus}
 */
export function firstStatus(now, before) {
  if (!before || before.state === "connecting") {
    return { state: "connecting", since: now, offline_since: now, retry_at: null, attempt: 0, reason: null };
  }
  const since = before.state === "offline" ? before.since : now;
  return { ...before, state: "offline", since, offline_since: before.offline_since ?? now, retry_at: null };
}

/** @param {number | string} code @param {string} text @returns {Reason} */
export const reasonOf = (code, text, name = `${code}`) => ({ code, name, text });

/**
 * Return why the connection ended.
 *
 * @param {number} code
 * @param {string | undefined} message the error that preceded
 * @param {string} text what the close frame says; the gateway's frames always have a text
 */
export function reasonOfClose(code, message, text) {
  const name = CLOSE_NAMES[code];
  return reasonOf(code, message || text || (code === 1006 ? "the connection was lost" : name || "closed"), name);
}

/** @param {string} [text] */
export const signedOut = (text = "signed out") => reasonOf("signed_out", text);

/** @param {unknown} error */
export const messageOf = (error) => (error instanceof Error ? error.message : String(error));
