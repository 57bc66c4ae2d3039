/**
 * Commands and their outcomes: promises that settle by the stream, also after the page was loaded again. An entry of its own:
 * `dist/callcenter-ws-commands.js`.
 *
 * Nothing is done long after it was asked for: the gateway accepts a command until `expires_at` only. Whether it was accepted
 * is found out by sending it again with the same id, which is answered and not carried out twice.
 */

import { randomId } from "./env.js";

const KEY = "callcenter-ws.commands";
const MAX_COMMANDS = 100;
/** For how long a command may wait for a connection. */
const TIMEOUT_MS = 10000;
/** Some seconds after its deadline the gateway has closed a command. */
const CLOSING_MS = 8000;
/** For how long the gateway remembers a command (24 h), less a margin. */
const REMEMBERED_MS = 86_000_000;
const ANSWER_MS = 30000;
const FIRST_RETRY_MS = 2000;
const MAX_RETRY_MS = 30000;
/** Refusals of one request after which what became of an earlier one is still not known. */
const TEMPORARY = new Set(["not_known", "unavailable", "overloaded", "rate_limited", "draining", "try_later"]);

/** A command was refused: nothing was done. With `code` "not_known" that is not certain. */
export class CommandRefused extends Error {
  /** @param {string} code @param {string} message */
  constructor(code, message) {
    super(message);
    this.name = "CommandRefused";
    this.code = code;
  }
}

/**
 * How a command ended. `message` is for the person who asked.
 * @typedef {{command_id: string, name: string, state: "done" | "failed", code: string | null, message: string | null,
 *   data: unknown}} Outcome
 */
/** @typedef {{command_id: string, name: string, fields: Record<string, unknown>, outcome: Promise<Outcome>}} Pending */
/**
 * What the gateway offers to this user.
 * @typedef {{names: string[], pause_reasons: string[], dispositions: {code: string, label: string}[],
 *   destinations?: {name: string, destination: string, queue_name: string | null}[]}} Offered
 */
/**
 * What a page keeps over being loaded again: what was sent. Times are those of the gateway.
 * @typedef {{id: string, name: string, fields: Record<string, unknown>, user: string, at: number, expires: number}} Stored
 */
/**
 * `isSent`: it is stored, and `user`, `at` and `expires` are set; `isKnown`: the gateway may have accepted it; `isAsking`: a
 * request is under way.
 * @typedef {{isSent: boolean, isKnown: boolean, isAsking: boolean, tries: number, timer: any, onAccepted?: () => void,
 *   outcome: Promise<Outcome>, resolve: (outcome: Outcome) => void, reject: (error: Error) => void}} Progress
 */
/** @typedef {Stored & Progress} Entry */
/** @typedef {import("./client.js").Client} Client */
/** @typedef {{getItem: (key: string) => string | null, setItem: (key: string, value: string) => void, removeItem: (key: string) => void}} Storage */
/** @typedef {{setTimeout: (callback: () => void, ms: number) => any, clearTimeout: (timer: any) => void}} Timers */

export class Commands {
  /** @type {Map<string, Entry>} */
  #entries = new Map();
  #closing = new AbortController();
  #client;
  #storage;
  #timers;

  /**
   * @param {Client} client
   * @param {{storage?: Storage | null, timers?: Timers}} [options]
   */
  constructor(client, { storage = sessionStorageOrNull(), timers = globalThis } = {}) {
    this.#client = client;
    this.#storage = storage;
    this.#timers = timers;
    for (const stored of this.#load()) this.#add(stored, true);
    const { signal } = this.#closing;
    client.on("event", (message) => this.#event(message), { signal });
    client.on("status", () => this.#look(), { signal });
    // What was missed may have been an outcome.
    client.on("rebuilt", () => this.#askAll(), { signal });
    client.on("lost", () => this.#askAll(), { signal });
    this.#look();
  }

  /** What this user may have done; null before it is known, and if that is nothing. @returns {Offered | null} */
  get offered() {
    return this.#client.identity?.commands ?? null;
  }

  /**
   * Have something done, and return how it ended.
   *
   * @param {string} name
   * @param {Record<string, unknown>} [fields]
   * @param {{commandId?: string, timeoutMs?: number, onAccepted?: () => void}} [options] `commandId`: the same one is carried
   *   out once; `timeoutMs`: how long it may wait for a connection; `onAccepted`: called when the gateway has it
   * @returns {Promise<Outcome>} rejects with `CommandRefused`
   */
  send(name, fields = {}, { commandId = randomId(), timeoutMs = TIMEOUT_MS, onAccepted } = {}) {
    const known = this.#entries.get(commandId);
    if (known) return known.outcome;
    if (this.#closing.signal.aborted) return Promise.reject(new CommandRefused("stopped", "the commands are closed"));
    if (this.#entries.size >= MAX_COMMANDS) return Promise.reject(new CommandRefused("overloaded", "too many commands are under way"));
    const entry = this.#add({ id: commandId, name, fields, user: "", at: 0, expires: timeoutMs }, false);
    entry.onAccepted = onAccepted;
    // Without a connection the gateway's clock is not known, nor whose command it is.
    const refuse = () => this.#refuse(entry, "unavailable", "there was no connection: it was not sent");
    if (this.#user() === null) entry.timer = this.#timers.setTimeout(refuse, timeoutMs);
    else this.#begin(entry);
    return entry.outcome;
  }

  /** Return the commands without an outcome, those of before the page was loaded among them. @returns {Pending[]} */
  pending() {
    return [...this.#entries.values()].map(({ id, name, fields, outcome }) => ({ command_id: id, name, fields, outcome }));
  }

  /** Settle nothing any more. What has no outcome stays stored, for the next page. */
  close() {
    this.#closing.abort();
    for (const { timer } of this.#entries.values()) this.#timers.clearTimeout(timer);
  }

  /** @param {Stored} stored @param {boolean} isSent @returns {Entry} */
  #add(stored, isSent) {
    /** @type {any} */
    const settle = {};
    const outcome = new Promise((resolve, reject) => Object.assign(settle, { resolve, reject }));
    // A page that was loaded again may not look at it.
    outcome.catch(() => {});
    const entry = { ...stored, ...settle, outcome, isSent, isKnown: isSent, isAsking: false, tries: 0, timer: null };
    this.#entries.set(entry.id, entry);
    return entry;
  }

  /** Ask for what was not answered, once it is known whose connection this is. */
  #look() {
    const user = this.#user();
    if (this.#client.status.state === "stopped") return this.#stop();
    if (this.#client.status.state !== "live" || user === null) return;
    for (const entry of [...this.#entries.values()]) {
      if (!entry.isSent) this.#begin(entry);
      else if (entry.user !== user) this.#refuse(entry, "stopped", "it is a command of another user");
      else if (entry.timer === null) this.#ask(entry);
    }
  }

  /** Send a command for the first time. @param {Entry} entry */
  #begin(entry) {
    entry.isSent = true;
    entry.user = /** @type {string} */ (this.#user());
    entry.at = this.#client.now();
    entry.expires += entry.at;
    this.#save();
    this.#ask(entry);
  }

  /** The client is closed: the page does not learn how it ended, the next one does. */
  #stop() {
    for (const { isSent, reject } of this.#entries.values()) {
      if (isSent) reject(new CommandRefused("not_known", "the client is stopped: it may have been carried out"));
      else reject(new CommandRefused("stopped", "the client is stopped: it was not sent"));
    }
    this.close();
  }

  #askAll() {
    for (const entry of [...this.#entries.values()]) if (entry.isSent && entry.user === this.#user()) this.#ask(entry);
  }

  /** Send a command, or send it again to learn what became of it. @param {Entry} entry */
  async #ask(entry) {
    if (entry.isAsking || this.#closing.signal.aborted) return;
    this.#timers.clearTimeout(entry.timer);
    entry.timer = null;
    entry.isAsking = true;
    const { id, name, fields, expires, isKnown } = entry;
    const payload = { ...fields, name, command_id: id, expires_at: new Date(expires).toISOString() };
    const timeoutMs = isKnown ? ANSWER_MS : Math.max(0, expires - this.#client.now());
    try {
      this.#accepted(entry, await this.#client.request("command", payload, { retry: true, timeoutMs }));
    } catch (error) {
      this.#failed(entry, /** @type {any} */ (error));
    }
  }

  /** @param {Entry} entry @param {any} answer */
  #accepted(entry, answer) {
    entry.isAsking = false;
    entry.isKnown = true;
    entry.tries = 0;
    if (answer.state === "done" || answer.state === "failed") this.#settle(entry, answer);
    else {
      entry.onAccepted?.();
      this.#later(entry, Math.max(FIRST_RETRY_MS, Date.parse(answer.deadline) - this.#client.now() + CLOSING_MS));
    }
  }

  /** @param {Entry} entry @param {{code?: string, message: string}} error */
  #failed(entry, { code = "not_known", message }) {
    entry.isAsking = false;
    entry.isKnown ||= code === "not_known";
    if (this.#client.status.state === "stopped") return;
    if (this.#client.now() > entry.at + REMEMBERED_MS) this.#refuse(entry, "not_known", "the gateway has forgotten it");
    else if (!entry.isKnown || !TEMPORARY.has(code)) this.#refuse(entry, code, message);
    else this.#later(entry, Math.min(MAX_RETRY_MS, FIRST_RETRY_MS * 2 ** entry.tries++));
  }

  /** @param {Entry} entry @param {number} ms */
  #later(entry, ms) {
    if (!this.#entries.has(entry.id) || this.#closing.signal.aborted) return;
    this.#timers.clearTimeout(entry.timer);
    entry.timer = this.#timers.setTimeout(() => this.#ask(entry), ms);
  }

  /** @param {import("./types.js").EventMessage} message */
  #event(message) {
    const { type, payload } = /** @type {any} */ (message);
    if (type !== "command.done" && type !== "command.failed") return;
    const entry = this.#entries.get(payload.command_id);
    if (!entry) return;
    this.#settle(entry, { ...payload, state: type.slice(8) });
    message.acknowledge?.();
  }

  /** @param {Entry} entry @param {any} outcome */
  #settle(entry, { state, code = null, message = null, data = null }) {
    this.#forget(entry);
    entry.resolve({ command_id: entry.id, name: entry.name, state, code, message, data });
  }

  /** @param {Entry} entry @param {string} code @param {string} message */
  #refuse(entry, code, message) {
    this.#forget(entry);
    entry.reject(new CommandRefused(code, message));
  }

  /** @param {Entry} entry */
  #forget(entry) {
    this.#timers.clearTimeout(entry.timer);
    if (this.#entries.delete(entry.id)) this.#save();
  }

  #user() {
    const { identity } = this.#client;
    return identity && JSON.stringify([identity.tenant_id, identity.user_id]);
  }

  /** @returns {Stored[]} */
  #load() {
    try {
      const stored = JSON.parse(this.#storage?.getItem(KEY) ?? "[]");
      return stored.filter((/** @type {any} */ one) => typeof one.id === "string" && one.expires > 0).slice(0, MAX_COMMANDS);
    } catch {
      return [];
    }
  }

  /** Storage may be full, or not allowed: then the outcomes do not survive that the page is loaded again. */
  #save() {
    const sent = [...this.#entries.values()].filter(({ isSent }) => isSent);
    const stored = sent.map(({ id, name, fields, user, at, expires }) => ({ id, name, fields, user, at, expires }));
    try {
      if (stored.length) this.#storage?.setItem(KEY, JSON.stringify(stored));
      else this.#storage?.removeItem(KEY);
    } catch {
      // See above.
    }
  }
}

/** @returns {Storage | null} */
function sessionStorageOrNull() {
  try {
    return globalThis.sessionStorage ?? null;
  } catch {
    return null;
  }
}

/**
 * Return the commands of a client. A page has one such object.
 *
 * @param {Client} client
 * @param {{storage?: Storage | null}} [options] `storage`: where commands are kept while the page is loaded again;
 *   `sessionStorage`
 * @returns {Commands}
 */
export function commandsOf(client, options) {
  return new Commands(client, options);
}
