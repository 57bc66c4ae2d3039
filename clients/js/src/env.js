/** What the client uses of its surroundings: a browser, or Node. Tests pass their own. */

/**
 * @typedef {{WebSocket: any, fetch: any, now: () => number, wall: () => number, random: () => number,
 *   setTimeout: (callback: () => void, ms: number) => any, clearTimeout: (timer: any) => void,
 *   report: (error: unknown) => void, page: EventTarget | null, isVisible: () => boolean, locks: any, BroadcastChannel: any, base: string | undefined}} Env
 * `page` is the target of `online`, `visibilitychange` and the like; null outside a browser.
 */

/** @returns {Env} */
export function environment() {
  const all = /** @type {any} */ (globalThis);
  const { document, navigator } = all;
  return {
    WebSocket: all.WebSocket,
    fetch: (/** @type {any[]} */ ...given) => all.fetch(...given),
    now: () => performance.now(),
    wall: () => Date.now(),
    random: Math.random,
    setTimeout: (callback, ms) => setTimeout(callback, ms),
    clearTimeout: (timer) => clearTimeout(timer),
    // In a browser as what is not caught: in the console, and to `window.onerror`.
    report: (error) => (all.reportError ?? console.error)(error),
    page: document ? all : null,
    isVisible: () => document?.visibilityState !== "hidden",
    locks: document ? navigator.locks : undefined,
    BroadcastChannel: document && all.BroadcastChannel,
    base: all.location?.href,
  };
}

/** Return a random identifier, which is no secret. @returns {string} */
export function randomId() {
  // In an insecure context there is no `randomUUID`; in Node 18, no `crypto`.
  const source = globalThis.crypto;
  if (source?.randomUUID) return source.randomUUID();
  const bytes = source ? [...source.getRandomValues(new Uint8Array(16))] : Array.from({ length: 16 }, () => Math.random() * 256 | 0);
  return bytes.map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
