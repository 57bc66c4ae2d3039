// A page in a frame of another site gets its tokens from that site (`embed()` of the client's package answers).

import { TokenRefused } from "./client.js";
import { text } from "./texts.js";

const VERSION = 1;
const TIMEOUT_MS = 10000;
/** The script of the site may be loaded after this page. */
const REPEAT_MS = 1000;
const MAX_MESSAGE = 300;

let lastId = 0;
/** The origins that were asked, whose messages count. @type {string[]} */
let listed = [];

/** Return the window of the site that shows this page in a frame; null if it is shown by itself. */
export function embedder() {
  return parent === window ? null : parent;
}

/**
 * Return those of the listed sites that may be the one around this frame.
 * @param {string[]} origins
 */
function possible(origins) {
  // Not in all browsers.
  const present = location.ancestorOrigins?.[0];
  return present === undefined ? origins : origins.filter((origin) => origin === present);
}

/**
 * Call back with each message of the site around this frame; messages of other windows and of sites that are not listed are
 * ignored.
 *
 * @param {(data: any) => void} callback
 * @param {AbortSignal} [signal]
 */
function listen(callback, signal) {
  addEventListener("message", ({ source, origin, data }) => {
    if (source !== null && source === embedder() && listed.includes(origin) && data?.version === VERSION) callback(data);
  }, { signal });
}

/**
 * Ask the site around this frame for a token. Only listed sites are asked, by their exact origins, and only their answers
 * count.
 *
 * @param {string[]} origins those of `web.embedders`
 * @param {string} reason
 * @param {AbortSignal} [signal]
 * @returns {Promise<string>} rejects with `TokenRefused` if no one is signed in at the site
 */
export function tokenOfSite(origins, reason, signal) {
  listed = possible(origins);
  if (!listed.length) return Promise.reject(new TokenRefused(text("embedded.not_listed")));
  const id = (lastId += 1);
  return new Promise((resolve, reject) => {
    const ended = new AbortController();
    const end = (/** @type {() => void} */ settle) => {
      clearTimeout(timer);
      clearInterval(repeated);
      ended.abort();
      settle();
    };
    const fail = (/** @type {string} */ words) => end(() => reject(new Error(words)));
    const request = () => {
      for (const origin of listed) parent.postMessage({ type: "callcenter.token.request", version: VERSION, id, reason }, origin);
    };
    const timer = setTimeout(() => fail(text("embedded.no_answer")), TIMEOUT_MS);
    const repeated = setInterval(request, REPEAT_MS);
    signal?.addEventListener("abort", () => fail(text("embedded.no_answer")), { signal: ended.signal });
    listen((data) => {
      if (data.id !== id) return;
      const message = String(data.message ?? "").slice(0, MAX_MESSAGE);
      if (data.type === "callcenter.token") end(() => resolve(String(data.token)));
      else if (data.type !== "callcenter.token.refused") return;
      else if (data.retry === true) fail(message);
      else end(() => reject(new TokenRefused(message || undefined)));
    }, ended.signal);
    request();
  });
}

/**
 * Call back when the site around this frame signs its user out.
 *
 * @param {() => void} callback
 */
export function onSignOut(callback) {
  listen(({ type }) => type === "callcenter.sign-out" && callback());
}

/**
 * Remove what the page shows, and say why: its user is signed out.
 *
 * @param {string} reason of the client: the words of the site, if it says some
 */
export function showSignedOut(reason) {
  const words = document.createElement("p");
  words.dir = "auto";
  words.textContent = reason && reason !== "signed out" ? reason : text("embedded.signed_out");
  const notice = document.createElement("main");
  notice.className = "signed-out";
  notice.setAttribute("role", "alert");
  notice.append(words);
  document.body.replaceChildren(notice);
}
