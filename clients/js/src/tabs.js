/**
 * Several tabs with one socket. The tab that holds a lock leads: it has the connection, and passes on what it receives.
 * Each tab has its own position and state. For a client, this stands in place of a connection.
 */

import { backoff } from "./backoff.js";
import { randomId } from "./env.js";
import { followerOf } from "./follower.js";
import { leaderOf } from "./leader.js";
import { leadershipOf } from "./leadership.js";
import { firstStatus, messageOf, reasonOf, signedOut } from "./status.js";
import { tabTokensOf } from "./tab_tokens.js";
import { timersOf } from "./timers.js";
import { TokenRefused } from "./tokens.js";

/** @typedef {import("./types.js").LinkStatus} LinkStatus */
/** @typedef {import("./types.js").Reason} Reason */

const VERSION = 1;
const TICK_MS = 1000;
/** Messages of the leading tab. */
const LEADING = ["here", "frames", "state", "status"];

export class Tabs {
  id = randomId();
  host;
  options;
  env;
  /** The status of the connection, wherever it is. @type {LinkStatus} */
  status;
  /** @type {any} */
  #channel = null;
  /** @type {import("./leadership.js").Leadership | null} */
  #leadership = null;
  /** @type {ReturnType<typeof leaderOf> | ReturnType<typeof followerOf> | null} */
  #role = null;
  #tokens;
  #timers;
  #term = 0;
  #stopped = false;
  #attempt = 0;
  /** @type {{token: string | null, at: number} | null} */
  #first = null;

  /**
   * @param {import("./types.js").TabHost} host
   * @param {import("./types.js").LinkOptions} options
   * @param {import("./env.js").Env} env
   * @param {LinkStatus} [before] the status of what this one replaces
   */
  constructor(host, options, env, before) {
    this.host = host;
    this.options = options;
    this.env = env;
    this.status = firstStatus(host.serverTime(), before);
    this.#timers = timersOf(env);
    this.#tokens = tabTokensOf(env, host.token, (type, content) => this.post(type, content));
  }

  /** Find out whose token the page has, and join the tabs that have the same. */
  async start() {
    this.#timers.cancel("again");
    if (this.#stopped) return;
    this.host.status(this.status);
    let token;
    try {
      token = await this.host.token("connect");
    } catch (error) {
      if (this.#stopped) return;
      if (error instanceof TokenRefused) this.#end(signedOut(error.message));
      else this.#identifyLater(messageOf(error));
      return;
    }
    if (this.#stopped) return;
    this.#first = { token, at: this.env.now() };
    const name = `callcenter-ws:${this.host.key()}`;
    this.#channel = new this.env.BroadcastChannel(name);
    this.#channel.onmessage = (/** @type {any} */ { data }) => this.#hear(data);
    this.#leadership = leadershipOf(this.env, name, {
      lead: () => this.#lead(),
      lost: () => this.#follow(),
      ask: () => this.#role?.ask(),
      mayReplace: () => this.#role?.isSilent() ?? false,
    });
    this.#follow();
    this.#tickLater();
  }

  /** Send a message by the connection, wherever it is. @param {object} frame @returns {boolean} */
  send(frame) {
    return this.#role?.send(frame) ?? false;
  }

  /** Find out whether the line is alive, and make a connection if there is none. */
  probe() {
    if (this.#role) this.#role.probe();
    else if (this.#timers.has("again")) this.start();
  }

  /** The network is back. */
  online() {
    if (this.#role) this.#role.online();
    else this.probe();
  }

  /** Close the connection of all tabs: the user has signed out. @param {Reason} reason */
  signOut(reason) {
    this.post("sign-out", { reason });
    this.#end(reason);
  }

  /** Leave the other tabs. @param {Reason | null} reason without one, no status is reported */
  stop(reason) {
    this.#leave(false);
    if (reason) this.tell({ ...this.status, state: "stopped", since: this.host.serverTime(), retry_at: null, reason });
  }

  // ---- What leader and follower use ----

  /** Send a message to the other tabs. @param {string} type @param {object} [content] */
  post(type, content) {
    this.#channel?.postMessage({ v: VERSION, from: this.id, term: this.#term, skew: this.host.skew(), type, ...content });
  }

  /** @param {LinkStatus} status @param {boolean} [isSilent] whether the leader does not answer */
  tell(status, isSilent = false) {
    this.status = status;
    this.host.status(isSilent && status.state === "live" ? { ...status, state: "stale" } : status);
    if (status.state === "stopped") this.#leave(true);
  }

  // ---- Whose tab it is, and who leads ----

  /** @param {boolean} isFinal whether the other tabs stop, too */
  #leave(isFinal) {
    if (this.#stopped) return;
    this.#stopped = true;
    this.post("bye");
    this.#timers.clear();
    this.#tokens.close();
    this.#role?.stop();
    this.#role = null;
    this.#channel?.close();
    this.#channel = null;
    this.#leadership?.close(isFinal);
  }

  /** @param {Reason} reason */
  #end(reason) {
    this.#leave(true);
    this.stop(reason);
  }

  /** @param {string} text */
  #identifyLater(text) {
    const delay = backoff(this.#attempt++, this.env.random);
    const now = this.host.serverTime();
    const status = firstStatus(now, { ...this.status, state: "offline" });
    this.tell({ ...status, retry_at: now + delay, attempt: this.#attempt, reason: reasonOf("no_token", text) });
    this.#timers.after("again", delay, () => this.start());
  }

  #lead() {
    // A tab that is new cannot know how many led before it.
    this.#term = Math.max(this.#term + 1, Math.floor(this.env.wall()));
    const first = this.#first;
    this.#first = null;
    this.#role = leaderOf(this, this.#tokens, first);
    this.#role.start();
  }

  /** Receive what another tab passes on, and wait for the lock. */
  #follow() {
    this.#role?.stop();
    this.#leadership?.release();
    this.host.leader();
    this.#role = followerOf(this);
    this.#leadership?.wait();
    this.#role.start();
  }

  #tickLater() {
    this.#timers.after("tick", TICK_MS, () => {
      this.#tickLater();
      if (!this.#role?.tick()) return;
      this.host.log("warning", "the leading tab does not answer");
      this.#leadership?.replace();
    });
  }

  /** @param {any} message */
  #hear(message) {
    const { v, type, to } = message ?? {};
    if (v !== VERSION || this.#stopped) return;
    if (type === "sign-out") this.#end(message.reason);
    else if (type === "token?") to === this.id && this.#tokens.answer(message);
    else if (LEADING.includes(type)) this.#hearLeader(message);
    else if (this.#role?.leads) {
      this.#role.hear(message);
      if (type === "token") this.#tokens.hear(message);
    }
  }

  /** @param {any} message */
  #hearLeader(message) {
    if (message.term < this.#term || (this.#role?.leads && message.term === this.#term)) return;
    if (this.#role?.leads) this.#follow();
    if (message.term > this.#term) {
      this.#term = message.term;
      this.host.leader();
      this.#role?.begin();
    }
    this.host.skew(message.skew);
    this.#role?.hear(message);
  }
}
