/** What a page uses: one `Client` in each tab, with a state of its own. */

import { acksOf } from "./acks.js";
import { socketUrl } from "./address.js";
import { ServerClock } from "./clock.js";
import { Connection } from "./connection.js";
import { Credentials } from "./credentials.js";
import { environment, randomId } from "./env.js";
import { Emitter, Notifier } from "./notify.js";
import { listenToPage } from "./page.js";
import { Receiver } from "./receiver.js";
import { CHAT_TIMEOUT_MS, RequestRefused, Requests } from "./requests.js";
import { reasonOf, signedOut } from "./status.js";
import { Store } from "./store.js";
import { Tabs } from "./tabs.js";

/** @typedef {import("./types.js").Identity} Identity */
/** @typedef {import("./types.js").LinkStatus} LinkStatus */
/** @typedef {import("./types.js").Names} Names */
/** @typedef {import("./types.js").Options} Options */
/** @typedef {import("./types.js").Status} Status */

const TYPING_MS = 1000;
/** Chats of which the time of the last notice about typing is remembered. */
const MAX_TYPING = 100;

export class Client {
  /** @type {Store} */
  store;
  #url;
  #options;
  #env;
  #clock = new ServerClock();
  /** @type {Emitter<Names>} */
  #emitter;
  #notifier;
  #requests;
  #acks;
  #credentials;
  #receiver;
  /** @type {Connection | Tabs | null} */
  #link = null;
  #leads = true;
  #shared = 1;
  /** @type {LinkStatus | null} */
  #status = null;
  /** @type {number | null} */
  #asOf = null;
  /** The status that was reported last, as JSON. */
  #reported = "";
  /** @type {Map<string, number>} */
  #typed = new Map();
  #listening = new AbortController();
  #stopped = false;

  /**
   * @overload
   * @param {string} url
   * @param {Options} [options]
   */
  /** @param {string} url @param {Options} [options] @param {import("./env.js").Env} [env] for the tests of this package */
  constructor(url, options = {}, env = environment()) {
    if (!options.token && !options.anonymous) throw new TypeError("token: a function is needed, unless anonymous is true");
    this.#env = env;
    this.#url = socketUrl(url, env.base);
    this.#options = { acknowledge: /** @type {const} */ ("auto"), heartbeat: { idleMs: 20000, answerMs: 10000 }, ...options };
    this.store = new Store({ chatMessages: options.chatMessages, now: () => this.now(), viewer: () => this.identity });
    const failed = (/** @type {unknown} */ error) => this.#failed(error);
    this.#emitter = new Emitter(failed);
    this.#notifier = new Notifier((change) => this.#emitter.emit("change", change), failed);
    const send = (/** @type {object} */ frame) => this.#link?.send(frame) ?? false;
    this.#requests = new Requests(randomId(), send, env);
    this.#acks = acksOf(send, env);
    this.#credentials = new Credentials(options, env, () => this.#restart());
    this.#receiver = new Receiver({
      store: this.store,
      requests: this.#requests,
      acks: this.#acks,
      notifier: this.#notifier,
      emitter: this.#emitter,
      credentials: this.#credentials,
      options: this.#options,
      env,
      now: () => this.now(),
      leads: () => this.#leads,
      send,
    });
    listenToPage(env, this.#listening.signal, {
      online: () => this.#link?.online(),
      probe: () => this.probe(),
      pause: () => this.#pause(),
      resume: () => this.#resume(),
    });
    this.#begin();
  }

  // ---- What a page uses ----

  /** @returns {Status} */
  get status() {
    return { .../** @type {LinkStatus} */ (this.#status), as_of: this.#asOf, leads: this.#leads, shared: this.#shared };
  }

  /** Whose connection it is; null before it is known. @returns {Identity | null} */
  get identity() {
    return this.#receiver.identity;
  }

  /** Return the time of the gateway's clock, in Unix milliseconds. */
  now() {
    return this.#env.wall() + this.#clock.skew;
  }

  /**
   * Call back at each event of this name, until the returned function is called or `signal` is aborted.
   *
   * @template {keyof Names} Name
   * @param {Name} name
   * @param {(value: Names[Name]) => void} callback
   * @param {{signal?: AbortSignal}} [options]
   * @returns {() => void}
   */
  on(name, callback, options) {
    return this.#emitter.on(name, callback, options);
  }

  /**
   * Call back with what `select` returns: now, and at most once a frame when it has changed.
   *
   * @template T
   * @param {(store: Store) => T} select
   * @param {(value: T, before: T | undefined) => void} callback
   * @param {{equal?: (one: T, other: T) => boolean, signal?: AbortSignal}} [options]
   * @returns {() => void} ends it
   */
  watch(select, callback, options) {
    return this.#notifier.watch(() => select(this.store), callback, options);
  }

  /**
   * Send a request and return the payload of its answer.
   *
   * @template {object} [Answer=Record<string, unknown>]
   * @param {string} type
   * @param {object} [payload]
   * @param {{signal?: AbortSignal, timeoutMs?: number, retry?: boolean}} [options] `retry`: send it again if its answer was
   *   lost; only for what may be carried out twice
   * @returns {Promise<Answer>} rejects with `RequestRefused`
   */
  request(type, payload, options) {
    if (this.#stopped) return Promise.reject(new RequestRefused("stopped", "the client is stopped"));
    return this.#requests.add(type, payload, options);
  }

  /**
   * Send a message to a chat; it is sent again until it is known to be published, and published once.
   *
   * @param {string} sessionId
   * @param {string} body
   * @param {{clientMessageId?: string, signal?: AbortSignal}} [options]
   * @returns {Promise<{message_id: string, client_message_id: string, session_id: string, id: string, seq: number, duplicate: boolean}>}
   */
  sendChat(sessionId, body, { clientMessageId = randomId(), signal } = {}) {
    const payload = { session_id: sessionId, body, client_message_id: clientMessageId };
    const options = { signal, timeoutMs: CHAT_TIMEOUT_MS, retry: true, lane: `chat:${sessionId}` };
    return this.request("chat.message", payload, options);
  }

  /**
   * Report that the user is typing, or has stopped; at most once a second, and not at all without a connection.
   *
   * @param {string} sessionId
   * @param {boolean} isTyping
   */
  sendTyping(sessionId, isTyping) {
    const now = this.#env.now();
    if (this.#status?.state !== "live" || now - (this.#typed.get(sessionId) ?? -TYPING_MS) < TYPING_MS) return;
    // At worst a message is sent a little sooner, and the gateway refuses it.
    if (this.#typed.size >= MAX_TYPING) this.#typed.clear();
    this.#typed.set(sessionId, now);
    this.#link?.send({ type: "chat.typing", payload: { session_id: sessionId, is_typing: isTyping } });
  }

  /**
   * Acknowledge an alert.
   *
   * @param {string} alertId
   * @param {string} [note]
   * @returns {Promise<Record<string, unknown>>}
   */
  acknowledgeAlert(alertId, note) {
    return this.request("alert.ack", note ? { alert_id: alertId, note } : { alert_id: alertId }, { retry: true });
  }

  /** Request the state again; the promise is resolved when the store holds it. @returns {Promise<void>} */
  async refresh() {
    await this.request("snapshot", {}, { retry: true, timeoutMs: CHAT_TIMEOUT_MS });
  }

  /** Find out whether the connection is alive, and make one now if there is none. */
  probe() {
    this.#link?.probe();
  }

  /** Close the socket: the user has signed out. */
  signOut() {
    if (this.#link instanceof Tabs) this.#link.signOut(signedOut());
    else this.#stop(signedOut());
  }

  /** Close this client. */
  close() {
    this.#stop(reasonOf("closed", "closed by the page"));
  }

  // ---- The connection ----

  #begin() {
    const { events, queues, tenant, acknowledge, heartbeat } = this.#options;
    /** @type {import("./types.js").LinkOptions} */
    const options = { url: this.#url, events, queues, tenant, acknowledge, heartbeat };
    const receiver = this.#receiver;
    /** @type {import("./types.js").TabHost} */
    const host = {
      receive: (message) => link === this.#link && this.#receive(message),
      status: (status) => link === this.#link && this.#setStatus(status),
      serverTime: () => this.now(),
      clock: (serverTime, rtt) => this.#clock.sample(serverTime, this.#env.wall(), this.#env.now(), rtt),
      token: (reason) => this.#credentials.token(reason),
      position: () => receiver.stream.position,
      log: (level, text, fields) => this.#options.log?.(level, text, fields),
      key: () => JSON.stringify([this.#url, tenant, this.#credentials.key, events, queues, acknowledge]),
      dump: () => ({ position: receiver.stream.position, dump: this.store.dump(), identity: receiver.identity }),
      load: (state) => receiver.takeOver(state),
      leader: () => this.#requests.lost(),
      shared: (leads, tabs) => this.#share(leads, tabs),
      skew: (skew) => (skew === undefined ? this.#clock.skew : (this.#clock.skew = skew)),
    };
    const { locks, BroadcastChannel } = this.#env;
    // Without locks no channel either: each tab would pass on what all receive.
    const shares = this.#options.tabs !== false && locks && BroadcastChannel && !this.#credentials.isAnonymous;
    this.#leads = !shares;
    const link = new (shares ? Tabs : Connection)(host, options, this.#env, this.#status ?? undefined);
    this.#link = link;
    this.#status = link.status;
    // After the page has added its callbacks.
    queueMicrotask(() => link.start());
  }

  /** Begin with another user: nothing of the former one stays. */
  #restart() {
    this.#link?.stop(null);
    this.#status = this.#asOf = null;
    this.#requests.live(false);
    this.#requests.close("stopped", "the token is for another user");
    this.#receiver.restart();
    this.#begin();
  }

  /** @param {boolean} leads @param {number} tabs */
  #share(leads, tabs) {
    this.#leads = leads;
    this.#shared = tabs;
    this.#tell();
  }

  /** Report the status if more than `as_of` has changed. */
  #tell() {
    const reported = JSON.stringify({ ...this.status, as_of: 0 });
    if (reported === this.#reported) return;
    this.#reported = reported;
    this.#emitter.emit("status", this.status);
  }

  /** @param {LinkStatus} status */
  #setStatus(status) {
    this.#status = status;
    if (status.state === "live") this.#asOf = this.now();
    this.#requests.live(status.state === "live" || status.state === "stale");
    if (status.state === "stopped") this.#end(status.reason?.text ?? "");
    this.#tell();
  }

  /** @param {import("./types.js").Reason} reason */
  #stop(reason) {
    if (this.#stopped) return;
    this.#acks.flush();
    if (this.#link) this.#link.stop(reason);
    // The page goes away: it must not come back with a connection.
    else this.#setStatus({ .../** @type {LinkStatus} */ (this.#status), state: "stopped", since: this.now(), retry_at: null, reason });
  }

  /** @param {string} text */
  #end(text) {
    this.#stopped = true;
    this.#listening.abort();
    this.#requests.close("stopped", text);
  }

  /** @param {import("./types.js").Message} message */
  #receive(message) {
    this.#receiver.receive(message);
    if (this.#status?.state !== "live") return;
    this.#asOf = this.now();
    if (this.#leads) this.#receiver.renew();
  }

  // ---- The page ----

  /** Close the socket: the browser freezes or leaves the page, and may resume it later. */
  #pause() {
    this.#acks.flush();
    this.#link?.stop(null);
    this.#link = null;
    this.#requests.live(false);
  }

  #resume() {
    if (this.#link) this.probe();
    else this.#begin();
  }

  /** What a callback of the page throws must not stop the client, and must be seen. @param {unknown} error */
  #failed(error) {
    this.#options.log?.("error", "a callback failed", { error });
    this.#env.report(error);
  }
}

/**
 * Connect to a gateway.
 *
 * @param {string} url like `wss://host/ws`; relative ones are those of the page
 * @param {Options} [options]
 * @returns {Client}
 */
export function connect(url, options) {
  return new Client(url, options);
}
