/** The side of a site that shows a page of the gateway in a frame, and hands it tokens. An entry of its own: `dist/embed.js`. */

import { checkedToken, TokenRefused } from "./tokens.js";

export { TokenRefused };

const VERSION = 1;
/** The page waits as long for an answer, and then asks again. */
const TIMEOUT_MS = 10000;
/** Whatever the page sends, the callback is called at most so often. */
const INTERVAL_MS = 1000;
/** As many requests wait for a token; of more, the oldest are dropped. */
const MAX_OPEN = 8;

/**
 * Hand tokens to the page of the gateway in a frame, whenever it asks for one: when it connects, and before its token
 * expires. Only the page of `origin` in this frame is answered.
 *
 * @param {HTMLIFrameElement} frame
 * @param {object} options
 * @param {string} options.origin the origin of the gateway, exactly: `https://gateway.example`
 * @param {(request: {reason: string, signal: AbortSignal}) => string | Promise<string>} options.token returns a token for
 *   the user who is signed in at the site. Throw `TokenRefused` if no one is; after any other error the page asks again.
 * @param {AbortSignal} [options.signal] ends it
 * @returns {{signOut(): void, close(): void}} `signOut` closes the connection of the page, in all tabs, and removes from it
 *   what it shows; load the frame again after signing in. `close` stops handing out tokens.
 */
export function embed(frame, { origin, token, signal }) {
  if (!isOrigin(origin)) throw new TypeError(`origin: expected an exact origin, for example https://gateway.example, got ${origin}`);
  if (typeof token !== "function") throw new TypeError("token: expected a function");
  const closing = new AbortController();
  /** @type {Set<number>} */
  const open = new Set();
  let isAsking = false;
  let mayAskAt = 0;

  /** @param {object} message */
  const send = (message) => frame.contentWindow?.postMessage({ ...message, version: VERSION }, origin);

  /** @param {string} reason */
  const answer = async (reason) => {
    isAsking = true;
    const wait = mayAskAt - performance.now();
    if (wait > 0) await new Promise((done) => setTimeout(done, wait));
    mayAskAt = performance.now() + INTERVAL_MS;
    const message = closing.signal.aborted ? null : await answerOf(token, reason, closing.signal);
    isAsking = false;
    if (message && !closing.signal.aborted) for (const id of open) send({ ...message, id });
    open.clear();
  };

  addEventListener("message", ({ source, origin: from, data }) => {
    if (source === null || source !== frame.contentWindow || from !== origin) return;
    if (data?.type !== "callcenter.token.request" || data.version !== VERSION || !Number.isSafeInteger(data.id)) return;
    open.delete(data.id);
    open.add(data.id);
    if (open.size > MAX_OPEN) open.delete([...open][0]);
    if (!isAsking) answer(String(data.reason));
  }, { signal: closing.signal });

  const close = () => closing.abort();
  if (signal?.aborted) close();
  signal?.addEventListener("abort", close, { signal: closing.signal });
  return { signOut: () => send({ type: "callcenter.sign-out" }), close };
}

/**
 * Return the message that answers the page.
 *
 * @param {(request: {reason: string, signal: AbortSignal}) => any} callback
 * @param {string} reason
 * @param {AbortSignal} closing
 */
async function answerOf(callback, reason, closing) {
  const late = new AbortController();
  /** @type {any} */
  let timer;
  try {
    const timeout = new Promise((_, reject) => {
      const end = () => {
        late.abort();
        reject(new Error("the token callback did not answer in time"));
      };
      timer = setTimeout(end, TIMEOUT_MS);
      closing.addEventListener("abort", end, { signal: late.signal });
    });
    const token = checkedToken(await Promise.race([callback({ reason, signal: late.signal }), timeout]));
    return { type: "callcenter.token", token };
  } catch (error) {
    const { name, message } = /** @type {Error} */ (error ?? {});
    // By its name: the class of the other entry is another one.
    if (name === "TokenRefused") return { type: "callcenter.token.refused", message };
    if (!closing.aborted) console.error("callcenter-ws: no token for the page in the frame:", error);
    return { type: "callcenter.token.refused", message: "the site has no token at present", retry: true };
  } finally {
    clearTimeout(timer);
    late.abort();
  }
}

/** @param {unknown} text */
function isOrigin(text) {
  try {
    const url = new URL(String(text));
    return (url.protocol === "https:" || url.protocol === "http:") && url.origin === text;
  } catch {
    return false;
  }
}
