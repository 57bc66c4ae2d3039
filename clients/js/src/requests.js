/** Requests that are answered: kept, sent again and given up as their type allows. It has no socket: `send` is passed in. */

/** How long the gateway recognizes a repeated `client_message_id` (300 s), less a margin. */
export const CHAT_TIMEOUT_MS = 270000;
const TIMEOUT_MS = 30000;
const MAX_REQUESTS = 200;
const FIRST_RETRY_MS = 1000;
const MAX_RETRY_MS = 8000;
/** After these codes the same request may succeed later. */
const TEMPORARY = new Set(["unavailable", "rate_limited"]);

/** A request was refused, or it is not known whether it was carried out (`code` "not_known"). */
export class RequestRefused extends Error {
  /** @param {string} code @param {string} message */
  constructor(code, message) {
    super(message);
    this.name = "RequestRefused";
    this.code = code;
  }
}

/**
 * @typedef {{id: string, frame: object, retry: boolean, lane: string | null, sent: boolean, tried: boolean, notBefore: number,
 *   tries: number, end: number, resolve: (payload: any) => void, reject: (error: Error) => void, forget: () => void}} Entry
 * `sent`: on the present connection; `tried`: on any. Of the entries of a `lane` one is under way at a time.
 */

export class Requests {
  /** @type {Map<string, Entry>} */
  #entries = new Map();
  #prefix;
  #counter = 0;
  #live = false;
  #send;
  #env;
  /** @type {any} */
  #timer = null;

  /**
   * @param {string} prefix distinguishes the requests of this tab
   * @param {(frame: object) => boolean} send
   * @param {{now: () => number, setTimeout: (callback: () => void, ms: number) => any, clearTimeout: (timer: any) => void}} env
   */
  constructor(prefix, send, env) {
    this.#prefix = prefix;
    this.#send = send;
    this.#env = env;
  }

  /**
   * Send a request as soon as the connection is live, and return the payload of its answer.
   *
   * @param {string} type
   * @param {object} [payload]
   * @param {{signal?: AbortSignal, timeoutMs?: number, retry?: boolean, lane?: string | null}} [options] `retry`: it may be
   *   sent again although an earlier one may have been carried out
   * @returns {Promise<any>}
   */
  add(type, payload = {}, { signal, timeoutMs = TIMEOUT_MS, retry = false, lane = null } = {}) {
    if (this.#entries.size >= MAX_REQUESTS) return refused("overloaded", "too many requests wait for an answer");
    if (signal?.aborted) return Promise.reject(signal.reason);
    const id = `${this.#prefix}:${++this.#counter}`;
    return new Promise((resolve, reject) => {
      const abort = () => this.#end(id, (entry) => entry.reject(signal?.reason));
      signal?.addEventListener("abort", abort);
      this.#entries.set(id, {
        id, retry, lane, resolve, reject, frame: { type, id, payload },
        sent: false, tried: false, notBefore: 0, tries: 0, end: this.#env.now() + timeoutMs,
        forget: () => signal?.removeEventListener("abort", abort),
      });
      this.#run();
    });
  }

  /** Begin or cease to send. What was sent on a connection that ended is sent again on the next one, or given up. @param {boolean} live */
  live(live) {
    if (live === this.#live) return;
    this.#live = live;
    if (!live) this.lost();
    this.#run();
  }

  /** Note that what was sent and not answered will not be answered: the connection ended, or another tab leads. */
  lost() {
    for (const entry of [...this.#entries.values()]) {
      if (!entry.sent) continue;
      entry.sent = false;
      if (!entry.retry) this.#giveUp(entry);
    }
    this.#run();
  }

  /**
   * Take the answer to a request.
   *
   * @param {{type: string, in_reply_to?: any, payload?: any}} message
   * @returns {boolean} whether it answered one of these requests
   */
  take({ type, in_reply_to, payload }) {
    const entry = this.#entries.get(in_reply_to);
    if (!entry) return false;
    if (type !== "error") {
      this.#end(entry.id, (one) => one.resolve(payload));
    } else if (entry.retry && (TEMPORARY.has(payload.code) || payload.retry_after_ms !== undefined)) {
      this.#delay(entry, payload.retry_after_ms);
    } else {
      this.#end(entry.id, (one) => one.reject(new RequestRefused(payload.code, payload.message)));
    }
    this.#run();
    return true;
  }

  /** Note a `rate_limited` that does not name its request: whatever is not answered was perhaps not handled. @param {number} [retryAfterMs] */
  limited(retryAfterMs) {
    for (const entry of this.#entries.values()) if (entry.sent && entry.retry) this.#delay(entry, retryAfterMs);
    this.#run();
  }

  /** Reject everything. @param {string} code @param {string} message */
  close(code, message) {
    for (const id of [...this.#entries.keys()]) this.#end(id, (entry) => entry.reject(new RequestRefused(code, message)));
  }

  /** @param {Entry} entry @param {number} [retryAfterMs] */
  #delay(entry, retryAfterMs) {
    const delay = retryAfterMs ?? Math.min(MAX_RETRY_MS, FIRST_RETRY_MS * 2 ** entry.tries);
    entry.tries += 1;
    entry.sent = false;
    entry.notBefore = this.#env.now() + delay;
  }

  /** @param {Entry} entry */
  #giveUp(entry) {
    const error = entry.tried
      ? new RequestRefused("not_known", "the answer was lost: it may have been carried out")
      : new RequestRefused("unavailable", "there was no connection: it was not sent");
    this.#end(entry.id, (one) => one.reject(error));
  }

  /** @param {string} id @param {(entry: Entry) => void} settle */
  #end(id, settle) {
    const entry = this.#entries.get(id);
    if (!entry) return;
    this.#entries.delete(id);
    entry.forget();
    settle(entry);
    this.#run();
  }

  /** Send what is due, give up what took too long, and come back when the next one is due. */
  #run() {
    this.#env.clearTimeout(this.#timer);
    this.#timer = null;
    const now = this.#env.now();
    const lanes = new Set();
    let next = Infinity;
    for (const entry of [...this.#entries.values()]) {
      if (!this.#entries.has(entry.id)) continue;
      if (now >= entry.end) {
        this.#giveUp(entry);
        return; // It has run meanwhile.
      }
      next = Math.min(next, entry.end);
      const first = entry.lane === null || !lanes.has(entry.lane);
      if (entry.lane !== null) lanes.add(entry.lane);
      if (!first || entry.sent || !this.#live) continue;
      if (now < entry.notBefore) next = Math.min(next, entry.notBefore);
      else if (this.#send(entry.frame)) entry.sent = entry.tried = true;
    }
    if (next < Infinity) this.#timer = this.#env.setTimeout(() => this.#run(), Math.max(0, next - now));
  }
}

/** @param {string} code @param {string} message @returns {Promise<never>} */
function refused(code, message) {
  return Promise.reject(new RequestRefused(code, message));
}
