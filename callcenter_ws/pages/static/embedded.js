// A page in a frame of another site gets its tokens from that site (`embed()` of the client's package answers).

import { TokenRefused } from "./client.js";

const TIMEOUT_MS = 10000;
const VERSION = 1;

let lastId = 0;

/** Return the window of the site that shows this page in a frame; null if it is shown by itself. */
export function embedder() {
  return parent === window ? null : parent;
}

/**
 * Ask the site around this frame for a token. Only listed sites are asked, by their exact origins, and only their answers
 * count.
 *
 * @param {string[]} origins those of `web.embedders`
 * @param {string} reason
 * @param {AbortSignal} [signal]
 * @returns {Promise<string>} rejects with `TokenRefused` if the site says so
 */
export function tokenOfSite(origins, reason, signal) {
  const present = location.ancestorOrigins?.[0];
  const asked = present === undefined ? origins : origins.filter((origin) => origin === present);
  if (!asked.length) return Promise.reject(new TokenRefused("the site around this frame is not listed in web.embedders"));
  const id = (lastId += 1);
  return new Promise((resolve, reject) => {
    const ended = new AbortController();
    const end = (/** @type {() => void} */ settle) => {
      clearTimeout(timer);
      ended.abort();
      settle();
    };
    const timer = setTimeout(() => end(() => reject(new Error("the site around this frame did not answer"))), TIMEOUT_MS);
    signal?.addEventListener("abort", () => end(() => reject(new Error("given up"))), { signal: ended.signal });
    addEventListener("message", ({ source, origin, data }) => {
      if (source !== parent || !asked.includes(origin) || data?.version !== VERSION || data.id !== id) return;
      if (data.type === "callcenter.token") end(() => resolve(String(data.token)));
      if (data.type === "callcenter.token.refused") end(() => reject(new TokenRefused(String(data.message ?? "signed out"))));
    }, { signal: ended.signal });
    const request = { type: "callcenter.token.request", version: VERSION, id, reason };
    for (const origin of asked) parent.postMessage(request, origin);
  });
}
