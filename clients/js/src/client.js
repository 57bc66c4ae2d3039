/** What a page uses: one `Client` in each tab, with a state of its own. */

import { ServerClock } from "./clock.js";
import { Connection, reasonOf, signedOut } from "./connection.js";
import { environment, randomId } from "./env.js";
import { Emitter, Notifier } from "./notify.js";
import { CHAT_TIMEOUT_MS, RequestRefused, Requests } from "./requests.js";
import { Store } from "./store.js";
import { Stream } from "./stream.js";
import { Tabs } from "./tabs.js";
import { askForToken, claims, identityOf } from "./tokens.js";

/** @typedef {import("./stream.js").Message} Message */
/** @typedef {import("./stream.js").Rebuilt} Rebuilt */
/** @typedef {import("./connection.js").LinkStatus} LinkStatus */
/** @typedef {LinkStatus & {as_of: number | null, leads: boolean, shared: number}} Status */
/**
 * @typedef {{user_id: string, tenant_id: string, role: string, session_id?: string, name?: string, queues: string[] | null,
 *   policy?: {agent_calls: string, agent_chats: string}, token_expires_at: string | null}} Identity
 */
/** @typedef {{reason: "connect" | "expiring" | "retry", signal: AbortSignal}} TokenRequest */
/**
 * @typedef {object} Options
 * @property {(request: TokenRequest) => string | Promise<string>} [token] returns a fresh token; throws `TokenRefused` if the
 *   user is signed out
 * @property {string[]} [events] event types and prefixes like `call.*`; all
 * @property {string[]} [queues] all
 * @property {string} [tenant]
 * @property {"auto" | "manual" | false} [acknowledge] how messages for the user are acknowledged; "auto"
 * @property {boolean} [tabs] whether tabs share a socket; true
 * @property {boolean} [anonymous] connect without a token, as the visitor of a site
 * @property {{idleMs: number, answerMs: number}} [heartbeat] after how much silence a ping is sent; how long its answer may take
 * @property {number} [chatMessages] messages that are kept of each chat; 200
 * @property {(level: string, text: string, fields?: object) => void} [log]
 */
/**
 * @typedef {object} Names
 * @property {Status} status
 * @property {any} event
 * @property {Rebuilt} rebuilt
 * @property {{from_seq: number, to_seq: number, reason: string}} lost
 * @property {import("./notify.js").Change} change
 * @property {{code: string, message: string, retry_after_ms?: number}} refused
 * @property {{session_id: string, session_token: string}} session
 */

const ACK_DELAY_MS = 200;
const MAX_ACK_IDS = 100;
const TYPING_MS = 1000;
/** What left the view of a client that sees some queues or calls only ends without a message. */
const RENEW_MS = 900000;
/** Names of sessions of which is known when typing was told last. */
const MAX_TYPING = 100;

export class Client {
  /** @type {Store} */
  store;
  /** @type {Identity | null} */
  identity = null;
  #url;
  #options;
  #env;
  #clock = new ServerClock();
  #stream = new Stream();
  /** @type {Emitter<Names>} */
  #emitter;
  #notifier;
  #requests;
  /** @type {Connection | Tabs | null} */
  #link = null;
  #leads = true;
  #shared = 1;
  /** @type {LinkStatus | null} */
  #status = null;
  /** @type {number | null} */
  #asOf = null;
  /** Whom the present state belongs to. @type {string | null} */
  #key = null;
  /** @type {string | null} */
  #sessionToken = null;
  /** A token that was fetched and not used. @type {string | null} */
  #fresh = null;
  /** @type {string[]} */
  #acks = [];
  /** @type {any} */
  #ackTimer = null;
  /** @type {Map<string, number>} */
  #typed = new Map();
  /** When to look for calls whose end was perhaps not sent. */
  #renewAt = 0;
  #listening = new AbortController();
  #stopped = false;

  /** @param {string} url @param {Options} [options] @param {import("./env.js").Env} [env] for tests */
  constructor(url, options = {}, env = environment()) {
    if (!options.token && !options.anonymous) throw new TypeError("token: a function is needed, unless anonymous is true");
    this.#env = env;
    this.#url = socketUrl(url, env.base);
    this.#options = { acknowledge: /** @type {const} */ ("auto"), heartbeat: { idleMs: 20000, answerMs: 10000 }, ...options };
    this.store = new Store({ chatMessages: options.chatMessages, now: () => this.now(), viewer: () => this.identity });
    const failed = (/** @type {unknown} */ error) => this.#failed(error);
    this.#emitter = new Emitter(failed);
    this.#notifier = new Notifier((change) => this.#emitter.emit("change", change), failed);
    this.#requests = new Requests(randomId(), (frame) => this.#send(frame), env);
    this.#listen();
    this.#begin();
  }

  // ---- What a page uses ----

  /** @returns {Status} */
  get status() {
    return { .../** @type {LinkStatus} */ (this.#status), as_of: this.#asOf, leads: this.#leads, shared: this.#shared };
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
   * @param {string} type
   * @param {object} [payload]
   * @param {{signal?: AbortSignal, timeoutMs?: number, retry?: boolean}} [options] `retry`: send it again if its answer was
   *   lost; only for what may be carried out twice
   * @returns {Promise<any>} rejects with `RequestRefused`
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
   * Tell that the user writes, or ceased to; at most once a second, and not at all without a connection.
   *
   * @param {string} sessionId
   * @param {boolean} isTyping
   */
  sendTyping(sessionId, isTyping) {
    const now = this.#env.now();
    if (this.#status?.state !== "live" || now - (this.#typed.get(sessionId) ?? -TYPING_MS) < TYPING_MS) return;
    this.#typed.delete(sessionId);
    this.#typed.set(sessionId, now);
    if (this.#typed.size > MAX_TYPING) this.#typed.delete(/** @type {string} */ (this.#typed.keys().next().value));
    this.#send({ type: "chat.typing", payload: { session_id: sessionId, is_typing: isTyping } });
  }

  /**
   * Acknowledge an alert.
   *
   * @param {string} alertId
   * @param {string} [note]
   * @returns {Promise<any>}
   */
  acknowledgeAlert(alertId, note) {
    return this.request("alert.ack", note ? { alert_id: alertId, note } : { alert_id: alertId }, { retry: true });
  }

  /** Have the state sent again; resolves when the store holds it. @returns {Promise<void>} */
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
    /** @type {import("./connection.js").LinkOptions} */
    const options = { url: this.#url, events, queues, tenant, acknowledge, heartbeat };
    /** @type {import("./tabs.js").TabHost} */
    const host = {
      receive: (message) => link === this.#link && this.#receive(message),
      status: (status) => link === this.#link && this.#setStatus(status),
      serverTime: () => this.now(),
      clock: (serverTime, rtt) => this.#clock.sample(serverTime, this.#env.wall(), this.#env.now(), rtt),
      token: (reason) => this.#token(reason),
      position: () => this.#stream.position,
      log: (level, text, fields) => this.#log(level, text, fields),
      key: () => JSON.stringify([this.#url, tenant, this.#key, events, queues, acknowledge]),
      dump: () => ({ position: this.#stream.position, dump: this.store.dump(), identity: this.identity }),
      load: (state) => this.#takeOver(state),
      leader: () => this.#requests.lost(),
      shared: (leads, tabs) => this.#share(leads, tabs),
      skew: (skew) => (skew === undefined ? this.#clock.skew : (this.#clock.skew = skew)),
    };
    const { locks, BroadcastChannel } = this.#env;
    // Without locks no channel either: each tab would pass on what all receive.
    const shares = this.#options.tabs !== false && locks && BroadcastChannel && !(this.#options.anonymous && !this.#sessionToken);
    this.#leads = !shares;
    const link = new (shares ? Tabs : Connection)(host, options, this.#env, this.#status ?? undefined);
    this.#link = link;
    this.#status = link.status;
    // After the page has added its callbacks.
    queueMicrotask(() => link.start());
  }

  /**
   * @param {"connect" | "expiring" | "retry"} reason
   * @returns {Promise<string | null>}
   */
  async #token(reason) {
    if (this.#options.anonymous && this.#sessionToken) return this.#sessionToken;
    if (!this.#options.token) return null;
    const token = this.#fresh ?? (await askForToken(this.#options.token, reason, this.#env));
    this.#fresh = null;
    const key = identityOf(token);
    if (this.#key !== null && key !== this.#key) {
      this.#fresh = token;
      this.#restart(key);
      throw new Error("the token is for another user");
    }
    this.#key = key;
    const { name, queues } = claims(token);
    this.#claims = { name, queues: Array.isArray(queues) ? queues.map(String) : null };
    return token;
  }

  /** @type {{name?: string, queues: string[] | null}} */
  #claims = { queues: null };

  /** Begin with another user: nothing of the former one stays. @param {string} key */
  #restart(key) {
    this.#link?.stop(null);
    this.#key = key;
    this.#stream = new Stream();
    this.#status = this.#asOf = this.identity = null;
    this.#requests.live(false);
    this.#requests.close("stopped", "the token is for another user");
    this.#notifier.add(this.store.load({ epoch: null, seq: 0, events: [] }), true);
    this.#begin();
  }

  /** Go on where another tab is. @param {import("./tabs.js").State} state */
  #takeOver({ position, dump, identity }) {
    this.identity = identity;
    this.#stream.rebuild({ reason: "taken_over" });
    this.#load({ ...dump, ...position }, false);
  }

  /** @param {boolean} leads @param {number} tabs */
  #share(leads, tabs) {
    if (leads === this.#leads && tabs === this.#shared) return;
    this.#leads = leads;
    this.#shared = tabs;
    if (this.#status) this.#emitter.emit("status", this.status);
  }

  /** @param {object} frame @returns {boolean} */
  #send(frame) {
    return this.#link?.send(frame) ?? false;
  }

  /** @param {LinkStatus} status */
  #setStatus(status) {
    this.#status = status;
    if (status.state === "live") this.#asOf = this.now();
    this.#requests.live(status.state === "live" || status.state === "stale");
    if (status.state === "stopped") this.#end(status.reason?.text ?? "");
    this.#emitter.emit("status", this.status);
  }

  /** @param {import("./connection.js").Reason} reason */
  #stop(reason) {
    if (this.#stopped) return;
    this.#sendAcks();
    this.#link?.stop(reason);
  }

  /** @param {string} text */
  #end(text) {
    this.#stopped = true;
    this.#listening.abort();
    this.#requests.close("stopped", text);
    this.#env.clearTimeout(this.#ackTimer);
  }

  // ---- What comes ----

  /** @param {Message} message */
  #receive(message) {
    if (message.seq !== undefined) this.#event(message);
    else if (message.type.endsWith(".stats")) {
      const key = this.store.figure(message);
      if (key) this.#notifier.add([key]);
    } else this.#control(message);
    if (this.#status?.state !== "live") return;
    this.#asOf = this.now();
    if (this.#leads && this.#env.now() >= this.#renewAt) this.#renew();
  }

  /** Ask for the state again if this client does not see all calls, and has one that is old. */
  #renew() {
    this.#renewAt = this.#env.now() + RENEW_MS * (0.8 + 0.4 * this.#env.random());
    if (!(this.#options.queues || this.identity?.queues || this.identity?.role === "agent")) return;
    const isOld = (/** @type {import("./store.js").Message} */ { timestamp }) => Date.parse(timestamp) < this.now() - RENEW_MS;
    const calls = this.store.calls().map(({ id }) => Object.values(this.store.slots("call", id)));
    if (calls.some((messages) => messages.every(isOld))) this.#send({ type: "snapshot" });
  }

  /** @param {Message} message */
  #event(message) {
    const { apply, tell } = this.#stream.event(message);
    if (apply) this.#notifier.add(this.store.apply(message));
    if (this.store.isIncomplete && this.#leads) this.store.isIncomplete = !this.#send({ type: "snapshot" });
    if (message.user_id !== undefined && this.#options.acknowledge) this.#tellOwn(message, tell);
    else if (tell) this.#emitter.emit("event", message);
    this.#stream.done(message);
  }

  /** Tell of a message for this user, and have it acknowledged. @param {Message} message @param {boolean} tell */
  #tellOwn(message, tell) {
    const acknowledge = () => this.#acknowledge(/** @type {string} */ (message.id));
    const automatic = this.#options.acknowledge === "auto";
    if (tell) this.#emitter.emit("event", automatic ? message : { ...message, acknowledge });
    // One tab does it for all.
    if (automatic && this.#leads) acknowledge();
  }

  /** @param {string} id */
  #acknowledge(id) {
    this.#acks.push(id);
    if (this.#acks.length >= MAX_ACK_IDS) this.#sendAcks();
    else this.#ackTimer ??= this.#env.setTimeout(() => this.#sendAcks(), ACK_DELAY_MS);
  }

  #sendAcks() {
    this.#env.clearTimeout(this.#ackTimer);
    this.#ackTimer = null;
    const ids = this.#acks;
    this.#acks = [];
    // What is not sent now is sent again by the gateway, and acknowledged then.
    if (ids.length) this.#send({ type: "ack", payload: { ids } });
  }

  /** @param {Message} message */
  #control(message) {
    const { type, payload } = message;
    if (type === "welcome") this.#welcome(payload);
    else if (type === "snapshot") this.#load(payload, message.in_reply_to === undefined);
    else if (type === "resumed") {
      this.#stream.resumed(payload);
      this.#notifier.add(this.store.advance(payload.to_seq));
    } else if (type === "reset") {
      if (this.identity) this.identity.policy = payload.policy;
      this.#stream.rebuild({ reason: "reset", detail: payload.reason });
    } else if (type === "gap") {
      if (payload.reason !== "mailbox") this.#stream.rebuild({ reason: "gap", detail: payload.reason });
      this.#emitter.emit("lost", payload);
    } else if (type === "session.extended" && this.identity) {
      this.identity = { ...this.identity, ...this.#claims, token_expires_at: payload.expires_at };
    }
    // After the store holds the snapshot that answers.
    if (this.#requests.take(/** @type {any} */ (message)) || type !== "error" || message.in_reply_to !== undefined) return;
    if (payload.code === "rate_limited") this.#requests.limited(payload.retry_after_ms);
    this.#emitter.emit("refused", payload);
  }

  /** @param {any} payload */
  #welcome({ user_id, tenant_id, role, session_id, session_token, token_expires_at, policy }) {
    this.identity = { user_id, tenant_id, role, session_id, token_expires_at, policy, ...this.#claims };
    if (!session_token) return;
    this.#sessionToken = session_token;
    this.#emitter.emit("session", { session_id, session_token });
  }

  /** @param {any} snapshot @param {boolean} isQuiet whether it need not be told that nothing has changed */
  #load(snapshot, isQuiet) {
    const changed = this.store.load(snapshot);
    const why = this.#stream.loaded(snapshot);
    this.#notifier.add(changed, true);
    if (changed.size || !isQuiet || why.reason !== "refresh") this.#emitter.emit("rebuilt", why);
  }

  // ---- The page ----

  #listen() {
    const { page } = this.#env;
    const { signal } = this.#listening;
    if (!page) return;
    const on = (/** @type {string} */ name, /** @type {(event: any) => void} */ callback) =>
      page.addEventListener(name, callback, { signal, capture: true });
    on("online", () => this.#link?.online());
    on("offline", () => this.probe());
    on("focus", () => this.probe());
    on("visibilitychange", () => this.#env.isVisible() && this.probe());
    // A tab that is frozen receives nothing, but may go on to answer other tabs: it must not lead.
    for (const name of ["pagehide", "freeze"]) on(name, () => this.#pause());
    on("pageshow", ({ persisted }) => persisted && this.#resume());
    on("resume", () => this.#resume());
  }

  /** Let go of the socket: the page goes away, and perhaps comes back with all that it holds. */
  #pause() {
    this.#sendAcks();
    this.#link?.stop(null);
    this.#link = null;
    this.#requests.live(false);
  }

  #resume() {
    if (this.#link) this.probe();
    else this.#begin();
  }

  /** @param {string} level @param {string} text @param {object} [fields] */
  #log(level, text, fields) {
    this.#options.log?.(level, text, fields);
  }

  /** What a callback of the page throws must not stop the client, and must be seen. @param {unknown} error */
  #failed(error) {
    this.#log("error", "a callback failed", { error });
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

/** @param {string} url @param {string | undefined} base */
function socketUrl(url, base) {
  const { href } = new URL(url, base);
  return href.replace(/^http/, "ws").replace(/#.*/, "");
}
