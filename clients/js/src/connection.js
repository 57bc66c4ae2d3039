/** One socket with everything that keeps it: tokens, back-off, heartbeat, drain. In several tabs, the leading one has it. */

import { addressOf, subscribesLater } from "./address.js";
import { backoff } from "./backoff.js";
import { FIRST_FINAL_CLOSE } from "./closes.js";
import { originRefused } from "./diagnosis.js";
import { livenessOf } from "./liveness.js";
import { renew } from "./renewal.js";
import { firstStatus, messageOf, reasonOf, reasonOfClose, signedOut } from "./status.js";
import { timersOf } from "./timers.js";
import { TokenRefused } from "./tokens.js";

/** @typedef {import("./types.js").Host} Host */
/** @typedef {import("./types.js").LinkOptions} LinkOptions */
/** @typedef {import("./types.js").LinkStatus} LinkStatus */
/** @typedef {import("./types.js").Message} Message */
/** @typedef {import("./types.js").HeartbeatLimits} HeartbeatLimits */
/** @typedef {import("./types.js").Reason} Reason */

const SUBPROTOCOL = "callcenter.v1";
const OPEN_TIMEOUT_MS = 10000;
/** For so long a session counts as extended just now. */
const EXTENDED_MS = 30000;
/** A connection that was live for this long was a success: the next failure begins with the shortest delay. */
const STABLE_MS = 10000;
const ONLINE_SPREAD_MS = 1000;
const DIAGNOSE_AFTER = 3;
/** Sent messages whose answers are awaited, to name the one because of which the gateway closed. */
const MAX_SENT = 300;

export class Connection {
  #host;
  #options;
  #env;
  /** @type {any} */
  #socket = null;
  /** @type {import("./liveness.js").Liveness | null} */
  #liveness = null;
  #timers;
  /** Counts attempts, so that what belongs to an earlier one is recognized. */
  #generation = 0;
  #connecting = false;
  #attempt = 0;
  #unopened = 0;
  /** Why no attempt succeeds, if that was found out. @type {Reason | null} */
  #diagnosis = null;
  /** When the connection became live. @type {number | null} */
  #liveAt = null;
  #needsSnapshot = false;
  /** The `error` that came last, if nothing came after it. @type {any} */
  #refusal = null;
  /** Monotonic time before which not to connect, because the gateway asked for it. */
  #notBefore = 0;
  /** When a node that is stopping is left, on the gateway's clock. */
  #drainEnds = 0;
  /** Sizes of messages that are not answered. @type {Map<string, number>} */
  #sent = new Map();
  /** @type {LinkStatus} */
  status;

  /**
   * @param {Host} host
   * @param {LinkOptions} options
   * @param {import("./env.js").Env} env
   * @param {LinkStatus} [before] the status of the connection that this one replaces
   */
  constructor(host, options, env, before) {
    this.#host = host;
    this.#options = options;
    this.#env = env;
    this.#timers = timersOf(env);
    this.status = firstStatus(host.serverTime(), before);
  }

  /** Connect, unless it was stopped before. */
  start() {
    if (this.#generation) return;
    this.#host.status(this.status);
    this.#connect("connect");
  }

  /** Send a message if there is a connection. @param {any} frame @returns {boolean} */
  send(frame) {
    if (this.#socket?.readyState !== 1) return false;
    const text = JSON.stringify(frame);
    this.#socket.send(text);
    if (typeof frame.id === "string") {
      this.#sent.set(frame.id, text.length);
      if (this.#sent.size > MAX_SENT) this.#sent.delete(/** @type {string} */ (this.#sent.keys().next().value));
    }
    return true;
  }

  /** Find out whether the line is alive; without a connection, make one now unless the gateway asked to wait. */
  probe() {
    if (this.#liveness) this.#liveness.probe();
    else if (this.#timers.has("retry") && this.#env.now() >= this.#notBefore) this.#connect("retry");
  }

  /** Look at the time. Timers of hidden tabs are late: whatever else happens may call this, too. */
  tick() {
    this.#liveness?.tick();
  }

  /** Shorten the limits of the heartbeat. @param {HeartbeatLimits} limits */
  limit(limits) {
    this.#options.heartbeat = {
      idleMs: Math.min(limits.idleMs, this.#options.heartbeat.idleMs),
      answerMs: Math.min(limits.answerMs, this.#options.heartbeat.answerMs),
    };
    this.#liveness?.limit(limits);
  }

  /** Connect after a short random time: the network is back. */
  online() {
    if (this.#timers.has("retry") && this.#env.now() >= this.#notBefore) {
      this.#timers.after("retry", this.#env.random() * ONLINE_SPREAD_MS, () => this.#connect("retry"));
    } else {
      this.probe();
    }
  }

  /** Close for good. @param {Reason | null} reason without one, no status is reported: another tab goes on */
  stop(reason) {
    this.#generation += 1;
    this.#connecting = false;
    this.#drop(1000);
    if (reason) this.#set("stopped", { reason, retry_at: null });
  }

  // ---- Connecting ----

  /** @param {"connect" | "retry"} reason */
  async #connect(reason) {
    const generation = ++this.#generation;
    this.#timers.cancel("retry");
    this.#timers.cancel("drain");
    this.#connecting = true;
    let token;
    try {
      token = await this.#host.token(reason);
    } catch (error) {
      if (generation !== this.#generation) return;
      this.#connecting = false;
      if (error instanceof TokenRefused) this.stop(signedOut(error.message));
      // The connection to a node that is stopping may still be open.
      else if (!this.#socket) this.#retry(reasonOf("no_token", messageOf(error)));
      else this.#retryDrained();
      return;
    }
    if (generation !== this.#generation) return;
    this.#connecting = false;
    this.#open(token);
  }

  /** @param {string | null} token */
  #open(token) {
    this.#drop(1000);
    this.#refusal = null;
    if (this.#subscribesLater) this.#receiveOwn("reset", { reason: "subscribed_later" });
    let socket;
    try {
      socket = new this.#env.WebSocket(this.#address(), token ? [SUBPROTOCOL, `bearer.${token}`] : [SUBPROTOCOL]);
    } catch (error) {
      // An address that no browser accepts: mixed content, or a policy of the page. Its text names no token.
      this.#retry(reasonOf("no_socket", `the browser refuses to connect (${/** @type {any} */ (error)?.name})`));
      return;
    }
    this.#socket = socket;
    socket.onopen = () => this.#opened();
    socket.onmessage = (/** @type {any} */ { data }) => this.#receive(socket, data);
    socket.onclose = (/** @type {any} */ close) => this.#closed(close.code, close.reason);
    this.#timers.after("open", OPEN_TIMEOUT_MS, () => this.#lost("the gateway does not answer"));
  }

  #opened() {
    this.#timers.cancel("open");
    this.#unopened = 0;
    this.#diagnosis = null;
    this.#liveness = livenessOf(this.#options.heartbeat, this.#env, {
      timers: this.#timers,
      send: (frame) => this.send(frame),
      // What was never live has nothing that is old.
      stale: () => this.status.state === "live" && this.#set("stale"),
      dead: () => this.#lost("the gateway does not answer"),
      isCatchingUp: () => this.status.state === "catching_up",
    });
  }

  #address() {
    return addressOf(this.#options, this.#host.position());
  }

  get #subscribesLater() {
    return subscribesLater(this.#options.queues);
  }

  // ---- Receiving ----

  /** @param {any} socket @param {any} data */
  #receive(socket, data) {
    if (socket !== this.#socket) return;
    const message = parse(data);
    if (!message) {
      this.#host.log("error", "the gateway sent a message that cannot be read");
      this.#lost("the gateway sent a message that cannot be read");
      return;
    }
    this.#liveness?.received();
    if (message.in_reply_to !== undefined) this.#sent.delete(message.in_reply_to);
    // Why the gateway closes, if it closes now.
    this.#refusal = message.type === "error" && message.in_reply_to === undefined ? message.payload : null;
    if (message.type === "welcome") this.#host.clock(message.payload.server_time, null);
    if (message.type === "pong") this.#host.clock(message.payload.server_time, this.#liveness?.roundTrip(message.in_reply_to) ?? null);
    this.#host.receive(message);
    // What the page did with it may have closed the socket.
    if (socket !== this.#socket) return;
    if (this.status.state === "stale") this.#set("live");
    if (message.seq === undefined) this.#control(message);
  }

  /** @param {Message} message */
  #control({ type, payload, in_reply_to }) {
    switch (type) {
      case "welcome":
        this.#set("catching_up");
        if (this.#subscribesLater) this.send({ type: "subscribe", id: "subscribe", payload: { queues: this.#options.queues } });
        break;
      case "subscribed":
        if (in_reply_to === "subscribe") this.send({ type: "snapshot" });
        break;
      case "resumed":
        if (!this.#needsSnapshot) this.#caughtUp();
        break;
      case "snapshot":
        this.#needsSnapshot = false;
        this.#caughtUp();
        break;
      case "reset":
        this.#rebuild();
        break;
      case "gap":
        if (payload.reason === "mailbox") break;
        this.#rebuild();
        if (payload.reason !== "history_exceeded") this.send({ type: "snapshot" });
        break;
      case "drain": {
        // Until then the node sends events; it closes the socket at about that time.
        const delay = payload.reconnect_after_ms ?? 0;
        this.#drainEnds = this.#host.serverTime() + delay;
        this.#timers.after("drain", delay, () => this.#connect("retry"));
        break;
      }
      case "session.expiring": {
        // A token of a minute or less expires soon from its beginning: half of its time is used, or each would be replaced at once.
        const half = (Date.parse(payload.expires_at) - this.#host.serverTime()) / 2;
        if (this.#timers.has("extended")) this.#timers.after("renew", half, () => this.#renew());
        else this.#renew();
        break;
      }
      case "session.extended":
        this.#timers.cancel("renew");
        this.#timers.after("extended", EXTENDED_MS, () => {});
    }
  }

  #renew() {
    const socket = this.#socket;
    renew({
      host: this.#host,
      timers: this.#timers,
      send: (frame) => this.send(frame),
      isOpen: () => socket === this.#socket,
      refused: (text) => this.stop(signedOut(text)),
    });
  }

  #caughtUp() {
    this.#liveAt ??= this.#env.now();
    this.#set("live", { offline_since: null, retry_at: null, attempt: 0, reason: null });
  }

  #rebuild() {
    this.#needsSnapshot = true;
    this.#liveAt = null;
    this.#set("catching_up");
  }

  // ---- Losing the connection ----

  /** @param {number} code @param {string} text */
  #closed(code, text) {
    const opened = this.#liveness !== null;
    const drained = this.#timers.has("drain");
    const refusal = this.#refusal;
    const reason = reasonOfClose(code, refusal?.message, text);
    if (code === 1009) this.#refuseLargest(reason.text);
    const { retry_after_ms: retryAfter } = refusal ?? {};
    this.#drop(null, drained);
    if (code >= FIRST_FINAL_CLOSE) return this.stop(reason);
    if (this.#isComing(drained, reason)) return;
    if (code === 4005 && this.#attempt === 0) {
      this.#attempt = 1;
      this.#set("offline", { reason });
      return void this.#connect("retry");
    }
    if (!opened && ++this.#unopened % DIAGNOSE_AFTER === 0) this.#diagnose();
    this.#retry((!opened && this.#diagnosis) || reason, retryAfter);
  }

  /** Abandon a socket that does not answer. Its `onclose` may come a minute later. @param {string} text */
  #lost(text) {
    const drained = this.#timers.has("drain");
    this.#drop(1000, drained);
    const reason = reasonOf(1006, text, "abnormal");
    if (!this.#isComing(drained, reason)) this.#retry(reason);
  }

  /** Return whether another connection is on its way already. @param {boolean} drained @param {Reason} reason */
  #isComing(drained, reason) {
    if (drained || this.#connecting) this.#set("offline", { reason, retry_at: drained ? this.#drainEnds : null });
    return drained || this.#connecting;
  }

  /** @param {Reason} reason @param {number} [retryAfterMs] */
  #retry(reason, retryAfterMs = 0) {
    const delay = backoff(this.#attempt, this.#env.random, retryAfterMs);
    this.#attempt += 1;
    this.#notBefore = retryAfterMs ? this.#env.now() + delay : 0;
    this.#set("offline", { reason, attempt: this.#attempt, retry_at: this.#host.serverTime() + delay });
    this.#timers.after("retry", delay, () => this.#connect("retry"));
  }

  /** Try again while the socket of a stopping node is open. */
  #retryDrained() {
    this.#timers.after("drain", backoff(this.#attempt++, this.#env.random), () => this.#connect("retry"));
  }

  /** Have the request refused because of which the gateway closed: the largest that is not answered. @param {string} message */
  #refuseLargest(message) {
    const [largest] = [...this.#sent].sort((a, b) => b[1] - a[1]);
    if (largest) this.#receiveOwn("error", { code: "too_large", message }, largest[0]);
  }

  /**
   * Close the socket and cancel its timers.
   *
   * @param {number | null} code with which to close it; null: it is closed
   * @param {boolean} [drained] keep the time at which to connect to another node
   */
  #drop(code, drained = false) {
    const socket = this.#socket;
    this.#timers.clear(drained ? "drain" : undefined);
    if (this.#liveAt !== null && this.#env.now() - this.#liveAt >= STABLE_MS) this.#attempt = 0;
    this.#socket = this.#liveness = this.#liveAt = null;
    this.#needsSnapshot = false;
    this.#sent.clear();
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    if (code !== null) socket.close(code);
  }

  async #diagnose() {
    const reason = await originRefused(this.#address(), this.#env);
    this.#diagnosis = reason;
    if (reason && this.status.state === "offline") this.#set("offline", { reason });
  }

  /**
   * Pass on a message as if the gateway had sent it.
   *
   * @param {string} type
   * @param {object} payload
   * @param {string} [in_reply_to]
   */
  #receiveOwn(type, payload, in_reply_to) {
    this.#host.receive({ type, timestamp: new Date(this.#host.serverTime()).toISOString(), payload, in_reply_to });
  }

  /** @param {LinkStatus["state"]} state @param {Partial<LinkStatus>} [changes] */
  #set(state, changes = {}) {
    const now = this.#host.serverTime();
    const since = state === this.status.state ? this.status.since : now;
    this.status = { ...this.status, state, since, ...changes };
    if (state === "offline" || state === "stopped") this.status.offline_since ??= now;
    this.#host.status(this.status);
  }
}

/** @param {any} data @returns {Message | null} */
function parse(data) {
  try {
    const message = JSON.parse(data);
    return typeof message?.type === "string" ? message : null;
  } catch {
    return null;
  }
}
