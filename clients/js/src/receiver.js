/** Handles a message: updates the state, reports to the page, and settles requests. */

import { Stream } from "./stream.js";

/** @typedef {import("./types.js").Identity} Identity */
/** @typedef {import("./types.js").EventMessage} EventMessage */
/** @typedef {import("./types.js").Message} Message */

/** What left the view of a client that sees some queues or calls only ends without a message. */
const RENEW_MS = 900000;
/** What an `error` answers that no page asked for: nothing, or a message of the connection. */
const UNASKED = [undefined, "subscribe", "auth"];

/**
 * @typedef {{store: import("./store.js").Store, requests: import("./requests.js").Requests, acks: ReturnType<typeof import("./acks.js").acksOf>,
 *   notifier: import("./notify.js").Notifier, emitter: import("./notify.js").Emitter<import("./types.js").Names>,
 *   credentials: import("./credentials.js").Credentials, options: import("./types.js").Options,
 *   env: import("./env.js").Env, now: () => number, leads: () => boolean, send: (frame: object) => boolean}} Parts
 */

export class Receiver {
  /** @type {Identity | null} */
  identity = null;
  stream = new Stream();
  #client;
  /** Whether the state was asked for on this connection, because it is incomplete. */
  #isAsked = false;
  /** When to look for calls whose end was perhaps not sent. */
  #renewAt = 0;

  /** @param {Parts} client */
  constructor(client) {
    this.#client = client;
  }

  /** @param {Message} message */
  receive(message) {
    if (message.seq !== undefined) this.#event(message);
    else if (message.type.endsWith(".stats")) {
      const key = this.#client.store.figure(message);
      if (key) this.#client.notifier.add([key]);
    } else this.#control(message);
  }

  /** Go on where another tab is. @param {import("./types.js").State} state */
  takeOver({ position, dump, identity }) {
    this.identity = identity ?? this.identity;
    this.stream.rebuild({ reason: "taken_over" });
    // Without a position the leader waits for a snapshot.
    if (position) this.#load({ ...dump, ...position }, false);
  }

  /** Begin with another user: nothing of the former one stays. */
  restart() {
    const { store, notifier } = this.#client;
    this.identity = null;
    this.stream = new Stream();
    notifier.add(store.load({ epoch: null, seq: 0, events: [] }), true);
  }

  /** Ask for the state again, at times, if this client does not see all calls, and has one that is old. */
  renew() {
    const { env, options, store, now, send } = this.#client;
    if (env.now() < this.#renewAt) return;
    this.#renewAt = env.now() + RENEW_MS * (0.8 + 0.4 * env.random());
    if (!(options.queues || this.identity?.queues || this.identity?.role === "agent")) return;
    const isOld = (/** @type {Message} */ { timestamp }) => Date.parse(timestamp) < now() - RENEW_MS;
    const calls = store.calls().map(({ id }) => Object.values(store.slots("call", id)));
    if (calls.some((messages) => messages.every(isOld))) send({ type: "snapshot" });
  }

  /** @param {Message} message */
  #event(message) {
    const { store, notifier, emitter, options, leads, send } = this.#client;
    const { apply, tell } = this.stream.event(message);
    if (apply) notifier.add(store.apply(message));
    if (store.isIncomplete && !this.#isAsked && leads()) this.#isAsked = send({ type: "snapshot" });
    if (message.user_id !== undefined && options.acknowledge) this.#tellOwn(message, tell);
    else if (tell) emitter.emit("event", /** @type {EventMessage} */ (message));
    this.stream.done(message);
  }

  /** Report a message for this user, and have it acknowledged. @param {Message} message @param {boolean} tell */
  #tellOwn(message, tell) {
    const { acks, emitter, leads, options } = this.#client;
    const acknowledge = () => acks.add(/** @type {string} */ (message.id));
    const automatic = options.acknowledge === "auto";
    if (tell) emitter.emit("event", /** @type {EventMessage} */ (automatic ? message : { ...message, acknowledge }));
    // One tab does it for all.
    if (automatic && leads()) acknowledge();
  }

  /** @param {Message} message */
  #control(message) {
    const { store, notifier, emitter, requests, credentials } = this.#client;
    const { type, payload } = message;
    if (type === "welcome") this.#welcome(payload);
    else if (type === "snapshot") this.#load(payload, message.in_reply_to === undefined);
    else if (type === "resumed") {
      this.stream.resumed(payload);
      notifier.add(store.advance(payload.to_seq));
    } else if (type === "reset") {
      if (this.identity) this.identity.policy = payload.policy;
      this.stream.rebuild({ reason: "reset", detail: payload.reason });
    } else if (type === "gap") {
      if (payload.reason !== "mailbox") this.stream.rebuild({ reason: "gap", detail: payload.reason });
      emitter.emit("lost", payload);
    } else if (type === "session.extended" && this.identity) {
      this.identity = credentials.extended(this.identity, payload.expires_at);
    }
    // After the store holds the snapshot that answers.
    if (requests.take(message) || type !== "error" || !UNASKED.includes(message.in_reply_to)) return;
    if (payload.code === "rate_limited") requests.limited(payload.retry_after_ms);
    emitter.emit("refused", payload);
  }

  /** @param {any} payload */
  #welcome(payload) {
    const { session_id, session_token } = payload;
    this.identity = this.#client.credentials.welcome(payload);
    this.#isAsked = false;
    if (session_token) this.#client.emitter.emit("session", { session_id, session_token });
  }

  /** @param {any} snapshot @param {boolean} isQuiet whether to report nothing if nothing has changed */
  #load(snapshot, isQuiet) {
    this.#isAsked = false;
    const changed = this.#client.store.load(snapshot);
    const why = this.stream.loaded(snapshot);
    this.#client.notifier.add(changed, true);
    if (changed.size || !isQuiet || why.reason !== "refresh") this.#client.emitter.emit("rebuilt", why);
  }
}
