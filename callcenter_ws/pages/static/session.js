// The session of a page: its tokens, its client, signing out. No token is kept here or in any storage.

import { connect, TokenRefused } from "./client.js";
import { embedder, onSignOut, showSignedOut, tokenOfSite } from "./embedded.js";
import { text } from "./texts.js";

const MAX_TRIES = 3;
const MAX_WAIT_SECONDS = 60;
/** What does not pass by itself: the page where people sign in says what to do. */
const FINAL = new Set(["signed_out", "needs_https", "signing_in_off"]);

/**
 * For telling pages in other tabs that the user has signed out. A page in a frame has no session, and its browser may refuse
 * it a channel.
 */
const channel = embedder() ? null : new BroadcastChannel("callcenter-ws pages");

/** A request of these pages was refused. */
export class SessionRefused extends Error {
  /**
   * @param {number} status
   * @param {string} code
   * @param {string} message
   * @param {number} retryAfter seconds; 0 if the gateway names none
   */
  constructor(status, code, message, retryAfter) {
    super(message);
    this.status = status;
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

/**
 * Send a request to the gateway and return its answer; null without content.
 *
 * @param {string} method
 * @param {string} path
 * @param {object} [fields]
 * @param {AbortSignal} [signal]
 * @param {{[name: string]: string}} [headers]
 * @returns {Promise<any>} rejects with `SessionRefused`, or with another error if the gateway does not answer
 */
export async function ask(method, path, fields, signal, headers = {}) {
  const json = { "Content-Type": "application/json", ...headers };
  const more = method === "GET" ? { headers } : { headers: json, body: JSON.stringify(fields ?? {}) };
  const answer = await fetch(path, { method, signal, cache: "no-store", ...more }).catch((error) => {
    throw signal?.aborted ? error : new Error(text("page.unreachable"));
  });
  const body = await answer.text();
  let answered = null;
  try {
    answered = body ? JSON.parse(body) : null;
  } catch {
    // The page of a proxy.
  }
  if (answer.ok) return answered;
  const { code = "", message = `HTTP ${answer.status}` } = answered?.error ?? {};
  throw new SessionRefused(answer.status, code, message, Number(answer.headers.get("Retry-After")) || 0);
}

/** @type {Promise<{version: string, signing_in: boolean, demo: string[], demo_sender: string | null, embedders: string[]}> | null} */
let asked = null;

/** Return what pages need before a user has signed in (`GET /pages/about`). After a failure the next call asks again. */
export function about() {
  asked ??= ask("GET", "/pages/about").catch((error) => {
    asked = null;
    throw error;
  });
  return asked;
}

/** @param {number} seconds @param {AbortSignal} [signal] @returns {Promise<void>} */
export function wait(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason ?? new Error("given up"));
    });
  });
}

/**
 * Return who is signed in, with a fresh token.
 *
 * @param {AbortSignal} [signal]
 * @returns {Promise<{token: string, user_id: string, tenant_id: string, role: string, name: string | null, session: string}>}
 *   rejects with `SessionRefused`
 */
export async function session(signal) {
  for (let tries = 1; ; tries += 1) {
    try {
      return await ask("POST", "/session/token", {}, signal);
    } catch (error) {
      const passes = error instanceof SessionRefused && (error.status === 429 || error.status === 503);
      if (!passes || tries >= MAX_TRIES) throw error;
      await wait(Math.min(error.retryAfter || tries, MAX_WAIT_SECONDS), signal);
    }
  }
}

/**
 * Return a fresh token, of the session or of the site that shows this page in a frame.
 *
 * @param {{reason?: "connect" | "expiring" | "retry", signal?: AbortSignal}} [request]
 * @returns {Promise<string>} rejects with `TokenRefused` if no one is signed in
 */
export async function token({ reason = "connect", signal } = {}) {
  if (embedder()) return tokenOfSite((await about()).embedders, reason, signal);
  try {
    return (await session(signal)).token;
  } catch (error) {
    if (error instanceof SessionRefused && FINAL.has(error.code)) throw new TokenRefused(error.message);
    throw error;
  }
}

/** Return the JSON of a resource that needs a token. Rejects as `ask`, or as `token`. @param {string} path */
export async function read(path) {
  return ask("GET", path, undefined, undefined, { Authorization: `Bearer ${await token({ reason: "retry" })}` });
}

/**
 * Return a client of the gateway that has served this page. If it stops because no one is signed in, the browser goes to
 * the page where people sign in; in a frame, the page says that the user is signed out.
 *
 * @param {{events?: string[], queues?: string[], acknowledge?: "auto" | "manual" | false, heartbeat?: {idleMs: number, answerMs: number}}} [options]
 * @returns {import("./client.js").Client}
 */
export function openClient(options = {}) {
  const client = connect(new URL("/ws", location.href).href, { token, ...options });
  client.on("status", ({ state, reason }) => {
    if (state !== "stopped" || reason?.code === "closed") return;
    if (!embedder()) leave();
    else if (reason?.code === "signed_out") showSignedOut(reason.text);
  });
  channel?.addEventListener("message", ({ data }) => data === "signed-out" && client.signOut());
  if (embedder()) onSignOut(() => client.signOut());
  return client;
}

async function leave() {
  try {
    await token();
  } catch (error) {
    if (error instanceof TokenRefused) signIn();
  }
}

/** Go to the page where people sign in, which comes back to this one. */
export function signIn() {
  location.replace(`/login?next=${encodeURIComponent(location.pathname + location.search + location.hash)}`);
}

/**
 * End the session, in all tabs, and go to the page where people sign in. Not for a page in a frame: its user is signed in at
 * the site around it.
 *
 * @param {{signOut(): void}} [client]
 */
export async function signOut(client) {
  await ask("DELETE", "/session/token");
  channel?.postMessage("signed-out");
  client?.signOut();
  location.replace("/login");
}
