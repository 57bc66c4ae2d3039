/** Tokens: from the callback of the page, with a time-out; and what can be read in them. */

/** A token callback throws this to stop the client for good: the user is signed out. */
export class TokenRefused extends Error {
  /** @param {string} [text] for a person */
  constructor(text = "signed out") {
    super(text);
    this.name = "TokenRefused";
  }
}

const TIMEOUT_MS = 30000;

/**
 * Ask a callback for a token.
 *
 * @param {(request: {reason: "connect" | "expiring" | "retry", signal: AbortSignal}) => any} callback
 * @param {"connect" | "expiring" | "retry"} reason
 * @param {import("./env.js").Env} env
 * @returns {Promise<string>}
 */
export async function askForToken(callback, reason, env) {
  const abort = new AbortController();
  /** @type {any} */
  let timer;
  const late = new Promise((_, reject) => {
    timer = env.setTimeout(() => {
      reject(new Error(`the token callback did not answer within ${TIMEOUT_MS / 1000} s`));
      abort.abort();
    }, TIMEOUT_MS);
  });
  try {
    return checkedToken(await Promise.race([callback({ reason, signal: abort.signal }), late]));
  } finally {
    env.clearTimeout(timer);
  }
}

/**
 * Return a token of a callback, without the newline with which many servers end it.
 *
 * @param {any} token
 * @returns {string}
 */
export function checkedToken(token) {
  // Other characters are not allowed in a subprotocol: the constructor of WebSocket would throw, and name the token.
  if (typeof token !== "string" || !/^[\w.-]+\s*$/.test(token)) throw new Error("the token callback returned no token");
  return token.trim();
}

/**
 * Return the claims of a token, not verified; empty if it cannot be read.
 *
 * @param {string} token
 * @returns {Record<string, any>}
 */
export function claims(token) {
  try {
    const text = atob(token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/"));
    return Object(JSON.parse(new TextDecoder().decode(Uint8Array.from(text, (one) => one.charCodeAt(0)))));
  } catch {
    return {};
  }
}

/**
 * Return whom a token is for, as text: two tabs with the same may share a socket.
 *
 * @param {string} token
 * @returns {string}
 */
export function identityOf(token) {
  const { tenant_id, sub, role, session_id, sid } = claims(token);
  return JSON.stringify([tenant_id, sub, role, session_id ?? sid ?? ""].map((value) => String(value ?? "")));
}
