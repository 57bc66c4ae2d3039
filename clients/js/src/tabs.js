/**
 * Several tabs with one socket. The tab that holds a lock leads: it has the connection, and passes on what it receives.
 * Each tab has its own position and state. For a client, this stands in place of a connection.
 */

import { backoff } from "./backoff.js";
import { Connection, firstStatus, messageOf, reasonOf, signedOut } from "./connection.js";
import { randomId } from "./env.js";
import { Heartbeat } from "./heartbeat.js";
import { TokenRefused } from "./tokens.js";

/** @typedef {import("./connection.js").LinkStatus} LinkStatus */
/** @typedef {import("./stream.js").Position} Position */
/** @typedef {{position: Position | null, dump: any, identity: any}} State what a tab needs to go on where another one is */
/**
 * @typedef {import("./connection.js").Host & {key: () => string, dump: () => State, load: (state: State) => void,
 *   leader: () => void, shared: (leads: boolean, tabs: number) => void, skew: (skew?: number) => number}} TabHost
 * `leader`: another tab leads than before, so what was sent may be lost.
 */

const VERSION = 1;
const TICK_MS = 1000;
/** A leader that is silent for 4 s is asked, after 7 s stale, and after 10 s replaced. */
const SILENCE = { idleMs: 4000, answerMs: 3000 };
const LAST_QUESTION_MS = 1000;
const NEXT_TOKEN_MS = 3000;
const TOKEN_TIMEOUT_MS = 15000;
/** As many other tabs are asked for a token. */
const MAX_ASKED = 8;
/** A token that was fetched to learn whose it is serves for the first connection, if that follows soon. */
const FRESH_MS = 5000;
const FORGET_TAB_MS = 300000;
/** After the end of a session the lock is kept for a moment, so that no other tab connects before it hears of it. */
const RELEASE_MS = 1000;

export class Tabs {
  #host;
  #options;
  #env;
  #id = randomId();
  #name = "";
  /** @type {any} */
  #channel = null;
  /** @type {Connection | null} */
  #connection = null;
  #term = 0;
  /** The number of the last frame: sent, if this tab leads, or received; null: the state is needed first. @type {number | null} */
  #frame = null;
  #silence;
  #isSilent = false;
  /** Ends the wait for the lock. @type {AbortController | null} */
  #waiting = null;
  /** Lets go of the lock. @type {(() => void) | null} */
  #release = null;
  #stopped = false;
  #attempt = 0;
  /** @type {any} */
  #timer = null;
  /** @type {{token: string | null, at: number} | null} */
  #first = null;
  /** The other tabs, as the leader knows them. @type {Map<string, {seen: number, visible: number}>} */
  #tabs = new Map();
  /** Tabs that wait for the state. @type {Set<string>} */
  #wanting = new Set();
  /** Questions for a token. @type {Map<number, {resolve: (token: string) => void, reject: (error: Error) => void}>} */
  #questions = new Map();
  #counter = 0;
  /** The status of the connection, wherever it is. @type {LinkStatus} */
  status;

  /**
   * @param {TabHost} host
   * @param {import("./connection.js").LinkOptions} options
   * @param {import("./env.js").Env} env
   * @param {LinkStatus} [before] the status of what this one replaces
   */
  constructor(host, options, env, before) {
    this.#host = host;
    this.#options = options;
    this.#env = env;
    this.status = firstStatus(host.serverTime(), before);
    this.#silence = new Heartbeat(SILENCE, env.now(), env.wall());
  }

  /** Learn whose token the page has, and join the tabs that have the same. */
  async start() {
    if (this.#stopped) return;
    this.#host.status(this.status);
    let token;
    try {
      token = await this.#host.token("connect");
    } catch (error) {
      if (this.#stopped) return;
      if (error instanceof TokenRefused) this.#end(signedOut(error.message));
      else this.#identifyLater(messageOf(error));
      return;
    }
    if (this.#stopped) return;
    this.#first = { token, at: this.#env.now() };
    this.#name = `callcenter-ws:${this.#host.key()}`;
    this.#channel = new this.#env.BroadcastChannel(this.#name);
    this.#channel.onmessage = (/** @type {any} */ { data }) => this.#hear(data);
    this.#silence = new Heartbeat(SILENCE, this.#env.now(), this.#env.wall());
    this.#queue();
    this.#ask();
    this.#tickLater();
  }

  /** Send a message by the connection, wherever it is. @param {object} frame @returns {boolean} */
  send(frame) {
    if (this.#connection) return this.#connection.send(frame);
    if (!this.#channel || this.#frame === null) return false;
    this.#post("send", { message: frame });
    return true;
  }

  /** Find out whether the line is alive, and make a connection if there is none. */
  probe() {
    if (this.#connection) this.#connection.probe();
    else if (this.#channel) this.#ask(true);
    else if (this.#timer !== null) this.#again();
  }

  /** The network is back. The leader hears it, too. */
  online() {
    if (this.#connection) this.#connection.online();
    else this.probe();
  }

  /** Close the connection of all tabs: the user has signed out. @param {import("./connection.js").Reason} reason */
  signOut(reason) {
    this.#post("sign-out", { reason });
    this.#end(reason);
  }

  /** Leave the other tabs. @param {import("./connection.js").Reason | null} reason without one, the status is not told */
  stop(reason) {
    this.#leave(false);
    if (reason) this.#tell({ ...this.status, state: "stopped", since: this.#host.serverTime(), retry_at: null, reason });
  }

  /** @param {boolean} isFinal whether the other tabs stop, too */
  #leave(isFinal) {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#post("bye");
    this.#env.clearTimeout(this.#timer);
    this.#waiting?.abort();
    for (const { reject } of this.#questions.values()) reject(new Error("this tab is closed"));
    this.#connection?.stop(null);
    this.#connection = null;
    this.#channel?.close();
    this.#channel = null;
    const release = this.#release;
    if (isFinal && release) this.#env.setTimeout(release, RELEASE_MS);
    else release?.();
  }

  // ---- Whose tab it is, and who leads ----

  /** @param {import("./connection.js").Reason} reason */
  #end(reason) {
    this.#leave(true);
    this.stop(reason);
  }

  /** @param {string} text */
  #identifyLater(text) {
    const delay = backoff(this.#attempt++, this.#env.random);
    const now = this.#host.serverTime();
    const status = firstStatus(now, { ...this.status, state: "offline" });
    this.#tell({ ...status, retry_at: now + delay, attempt: this.#attempt, reason: reasonOf("no_token", text) });
    this.#timer = this.#env.setTimeout(() => this.#again(), delay);
  }

  #again() {
    this.#env.clearTimeout(this.#timer);
    this.#timer = null;
    this.start();
  }

  /** Wait for the lock; whoever leads has it. */
  #queue() {
    const waiting = (this.#waiting = new AbortController());
    this.#lock({ signal: waiting.signal });
  }

  /** @param {object} options */
  async #lock(options) {
    let isGranted = false;
    try {
      await this.#env.locks.request(this.#name, options, () => {
        if (this.#stopped) return;
        isGranted = true;
        this.#waiting = null;
        return new Promise((resolve) => {
          this.#release = () => resolve(undefined);
          this.#lead();
        });
      });
    } catch (error) {
      // The wait was ended, or another tab took the lock: this one was frozen, or the computer slept.
      if (isGranted && !this.#stopped && this.#connection) this.#follow();
    }
  }

  #lead() {
    // A tab that is new cannot know how many led before it.
    this.#term = Math.max(this.#term + 1, Math.floor(this.#env.wall()));
    this.#frame = 0;
    this.#isSilent = false;
    this.#tabs.clear();
    /** @type {import("./connection.js").Host} */
    const host = {
      ...this.#host,
      receive: (message) => {
        this.#frame = /** @type {number} */ (this.#frame) + 1;
        this.#post("frames", { frame: this.#frame, messages: [message] });
        this.#host.receive(message);
      },
      status: (status) => {
        if (connection !== this.#connection) return;
        this.#post("status", { status, skew: this.#host.skew() });
        this.#tell(status);
        if (status.state !== "catching_up") this.#sendStates();
        if (status.state === "stopped") this.#leave(true);
      },
      token: (reason) => this.#token(reason),
    };
    const connection = (this.#connection = new Connection(host, { ...this.#options }, this.#env, this.status));
    this.status = connection.status;
    this.#post("here", this.#here());
    this.#host.leader();
    this.#share();
    connection.start();
  }

  /** Cease to lead without a word: another tab does. */
  #follow() {
    this.#connection?.stop(null);
    this.#connection = null;
    this.#release?.();
    this.#release = null;
    this.#frame = null;
    this.#wanting.clear();
    this.#host.leader();
    this.#silence = new Heartbeat(SILENCE, this.#env.now(), this.#env.wall());
    this.#share();
    this.#queue();
    this.#ask();
  }

  #tickLater() {
    this.#timer = this.#env.setTimeout(() => {
      this.#tick();
      if (!this.#stopped) this.#tickLater();
    }, TICK_MS);
  }

  #tick() {
    if (this.#connection) return this.#forgetTabs();
    const what = this.#silence.tick(this.#env.now(), this.#env.wall());
    if (!what) return;
    if (what === "stale" || what === "dead") {
      this.#isSilent = true;
      this.#tell(this.status);
    }
    if (what === "dead") this.#replace();
    else this.#ask();
  }

  /** Take the place of a leader that does not answer, unless another tab does so or it answers at last. */
  #replace() {
    this.#silence = new Heartbeat(SILENCE, this.#env.now(), this.#env.wall());
    const options = { ifAvailable: true };
    this.#env.locks.request(`${this.#name}:steal`, options, async (/** @type {any} */ lock) => {
      if (!lock || this.#stopped || this.#connection) return;
      this.#ask();
      await new Promise((resolve) => this.#env.setTimeout(() => resolve(undefined), LAST_QUESTION_MS));
      if (!this.#isSilent || this.#stopped || this.#connection) return;
      this.#host.log("warning", "the leading tab does not answer: this one takes its place");
      this.#waiting?.abort();
      this.#lock({ steal: true });
      // Until this one leads, no other tab may take the lock away from it again.
      await new Promise((resolve) => this.#env.setTimeout(() => resolve(undefined), LAST_QUESTION_MS));
    });
  }

  // ---- The channel ----

  /** @param {string} type @param {object} [content] */
  #post(type, content) {
    this.#channel?.postMessage({ v: VERSION, from: this.#id, term: this.#term, type, ...content });
  }

  /** @param {boolean} [probe] whether the line is asked, too */
  #ask(probe = false) {
    this.#post("ask", { probe, visible: this.#env.isVisible(), heartbeat: this.#options.heartbeat });
  }

  #here() {
    return { at: this.#host.position(), frame: this.#frame, status: this.status, skew: this.#host.skew() };
  }

  /** @param {any} message */
  #hear(message) {
    if (message?.v !== VERSION || this.#stopped) return;
    if (message.type === "sign-out") this.#end(message.reason);
    else if (message.type === "token?") this.#answerToken(message);
    else if (["here", "frames", "state", "status"].includes(message.type)) this.#hearLeader(message);
    else if (this.#connection) this.#hearFollower(message);
  }

  /** @param {any} message */
  #hearLeader(message) {
    if (message.term < this.#term || (this.#connection && message.term === this.#term)) return;
    if (this.#connection) this.#follow();
    if (message.term > this.#term) {
      this.#term = message.term;
      this.#host.leader();
      // Its frames are numbered anew, and what it sent before this message is not known.
      this.#frame = null;
      // It learns of this tab.
      this.#ask();
    }
    this.#silence.received(this.#env.now());
    const wasSilent = this.#isSilent;
    this.#isSilent = false;
    if (wasSilent) this.#tell(this.status);
    if (message.skew !== undefined) this.#host.skew(message.skew);
    if (message.type === "frames") this.#frames(message);
    else if (message.type === "state") this.#state(message);
    else if (message.type === "here") this.#compare(message);
    if (message.status) this.#mirror(message);
  }

  /** @param {any} message */
  #mirror({ status, shared }) {
    if (shared) this.#host.shared(false, shared);
    // Without the state of the others this tab is not yet where they are.
    const state = status.state === "live" && this.#frame === null ? "catching_up" : status.state;
    if (JSON.stringify({ ...status, state }) !== JSON.stringify(this.status)) this.#tell({ ...status, state });
    if (state === "stopped") this.#leave(true);
  }

  /** Go on with the leader's frames if this tab misses nothing before them; else ask for the state. @param {any} message */
  #compare({ at, frame }) {
    if (frame === this.#frame) return;
    const own = this.#host.position();
    if (at === null || (own !== null && own.epoch === at.epoch && at.seq <= own.seq)) this.#frame = frame;
    else this.#want();
  }

  #want() {
    this.#frame = null;
    this.#post("want");
  }

  /** @param {any} message */
  #frames({ frame, messages }) {
    if (this.#frame === null) return;
    if (frame !== this.#frame + 1) return this.#want();
    this.#frame = frame;
    for (const message of messages) this.#host.receive(message);
  }

  /** @param {any} message */
  #state({ to, frame, state }) {
    if (to !== this.#id || this.#frame !== null) return;
    this.#frame = frame;
    if (state.position) this.#host.load(state);
  }

  /** @param {any} message */
  #hearFollower({ type, from, visible, probe, heartbeat, message, n, token, refused, failed }) {
    if (type === "bye") {
      this.#wanting.delete(from);
      if (this.#tabs.delete(from)) this.#share();
      return;
    }
    const now = this.#env.now();
    const known = this.#tabs.get(from);
    this.#tabs.set(from, { seen: now, visible: visible ? now : (known?.visible ?? -1) });
    if (!known) this.#share();
    const connection = /** @type {Connection} */ (this.#connection);
    if (type === "ask") {
      this.#post("here", this.#here());
      connection.limit(heartbeat);
      if (probe) connection.probe();
      else connection.tick();
    } else if (type === "want") {
      this.#wanting.add(from);
      // In the middle of a replay the state is not complete.
      if (this.status.state !== "catching_up") this.#sendStates();
    } else if (type === "send") {
      connection.send(message);
    } else if (type === "token") {
      const question = this.#questions.get(n);
      this.#questions.delete(n);
      if (token) question?.resolve(token);
      else question?.reject(refused === undefined ? new Error(failed) : new TokenRefused(refused));
    }
  }

  #sendStates() {
    if (!this.#wanting.size) return;
    const state = this.#host.dump();
    for (const to of this.#wanting) {
      this.#post("state", { to, frame: this.#frame, state, status: this.status, skew: this.#host.skew() });
    }
    this.#wanting.clear();
  }

  /** @param {LinkStatus} status */
  #tell(status) {
    this.status = status;
    this.#host.status(this.#isSilent && status.state === "live" ? { ...status, state: "stale" } : status);
  }

  /** Tell how many tabs share the connection. */
  #share() {
    const leads = this.#connection !== null;
    const shared = leads ? this.#tabs.size + 1 : 1;
    this.#host.shared(leads, shared);
    if (leads) this.#post("status", { status: this.status, shared });
  }

  #forgetTabs() {
    const now = this.#env.now();
    for (const [id, { seen }] of this.#tabs) if (now - seen > FORGET_TAB_MS) this.#tabs.delete(id);
  }

  // ---- Tokens ----

  /**
   * Return a token of this tab, or else of another one: the one that was seen last by the user, then the next.
   *
   * @param {"connect" | "expiring" | "retry"} reason
   * @returns {Promise<string | null>}
   */
  #token(reason) {
    const first = this.#first;
    this.#first = null;
    if (first && this.#env.now() - first.at < FRESH_MS) return Promise.resolve(first.token);
    const others = [...this.#tabs].sort((a, b) => b[1].visible - a[1].visible).slice(0, MAX_ASKED);
    /** @type {(string | null)[]} */
    const asked = [null, ...others.map(([id]) => id)];
    return new Promise((resolve, reject) => {
      /** @type {Error[]} */
      const errors = [];
      let open = 0;
      /** @type {any} */
      let timer;
      const next = () => {
        this.#env.clearTimeout(timer);
        const tab = asked.shift();
        if (tab === undefined) {
          // Who does not answer does not say that the user is signed out, nor that it is not.
          const answers = errors.filter((error) => !(error instanceof NoAnswer));
          if (!open) reject(answers.find((error) => !(error instanceof TokenRefused)) ?? answers[0] ?? errors[0]);
          return;
        }
        open += 1;
        timer = this.#env.setTimeout(next, NEXT_TOKEN_MS);
        (tab === null ? this.#host.token(reason) : this.#askTab(tab, reason)).then(
          (token) => {
            this.#env.clearTimeout(timer);
            resolve(token);
          },
          (error) => {
            open -= 1;
            errors.push(error);
            next();
          },
        );
      };
      next();
    });
  }

  /** @param {string} to @param {string} reason @returns {Promise<string>} */
  #askTab(to, reason) {
    const n = ++this.#counter;
    return new Promise((resolve, reject) => {
      this.#questions.set(n, { resolve, reject });
      this.#post("token?", { n, to, reason });
      this.#env.setTimeout(() => {
        if (this.#questions.delete(n)) reject(new NoAnswer("no tab answers with a token"));
      }, TOKEN_TIMEOUT_MS);
    });
  }

  /** @param {any} message */
  async #answerToken({ n, to, reason }) {
    if (to !== this.#id) return;
    try {
      this.#post("token", { n, token: await this.#host.token(reason) });
    } catch (error) {
      const text = messageOf(error);
      this.#post("token", error instanceof TokenRefused ? { n, refused: text } : { n, failed: text });
    }
  }
}

class NoAnswer extends Error {}
