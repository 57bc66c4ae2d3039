// What is to be said of calls that have ended: their result and a note. It survives that the page is loaded again.

import { tab } from "../staff/memory.js";

const KEY = "desk.wrap-ups";
const MAX_KEPT = 20;
/** For how long the gateway takes the result of a call that has ended. */
const MAX_AGE_MS = 600_000;
/** What is that old is of another day. */
const FORGET_MS = 8 * 3600_000;

/**
 * A call that was talked in: `ended` is null until it has ended. `code` and `note` are what the user has chosen and typed.
 * @typedef {{id: string, user: string, name: string | null, party: string | null, queue: string | null,
 *   answered: number | null, ended: number | null, code: string, note: string}} WrapUp
 */

export class WrapUps {
  /** @type {WrapUp[]} */
  #kept;
  #client;

  /** @param {import("../client.js").Client} client */
  constructor(client) {
    this.#client = client;
    this.#kept = tab.get(KEY, /** @type {WrapUp[]} */ ([])).filter(({ ended }) => ended === null || ended > Date.now() - FORGET_MS);
    // Said in another tab, or by a supervisor.
    client.on("event", ({ type, payload }) => {
      const { call_id, agent_id } = /** @type {any} */ (payload);
      if (type === "call.disposition" && this.of(String(call_id)) && (agent_id == null || String(agent_id) === client.identity?.user_id)) {
        this.remove(String(call_id), true);
      }
    });
  }

  get #user() {
    const { identity } = this.#client;
    return identity ? JSON.stringify([identity.tenant_id, identity.user_id]) : "";
  }

  /** Return the calls that have ended and of which nothing was said, newest first. @returns {WrapUp[]} */
  list() {
    return this.#kept.filter(({ user, ended }) => user === this.#user && ended !== null).reverse();
  }

  /** Whether the gateway takes the result of a call no longer. @param {WrapUp} call */
  isLate({ ended }) {
    return ended !== null && this.#client.now() - ended >= MAX_AGE_MS;
  }

  /** Forget the calls that have ended too long ago, and of which nothing was chosen or typed. */
  expire() {
    const kept = this.#kept.filter((one) => one.code || one.note.trim() || !this.isLate(one));
    if (kept.length === this.#kept.length) return;
    this.#kept = kept;
    this.#save();
  }

  /** @param {string} id */
  of(id) {
    return this.#kept.find((one) => one.id === id && one.user === this.#user);
  }

  /**
   * Compare with the present calls: those that were talked in and are gone have ended.
   * @param {import("./own_calls.js").OwnCall[]} calls
   */
  follow(calls) {
    const { status, identity } = this.#client;
    // What is shown while the connection is lost is of before.
    if (status.state !== "live" || !identity) return;
    const talked = new Map(calls.filter(({ answered, isInternal }) => answered !== null && !isInternal).map((call) => [call.id, call]));
    const before = JSON.stringify(this.#kept);
    for (const { id, name, party, queue, answered } of talked.values()) {
      if (!this.of(id)) this.#kept.push({ id, user: this.#user, name, party, queue, answered, ended: null, code: "", note: "" });
    }
    for (const kept of this.#kept) {
      if (kept.user !== this.#user) continue;
      if (talked.has(kept.id)) kept.ended = null;
      else kept.ended ??= this.#client.now();
    }
    if (JSON.stringify(this.#kept) !== before) this.#save();
  }

  /** Note what the user has chosen or typed. @param {string} id @param {Partial<Pick<WrapUp, "code" | "note">>} fields */
  draft(id, fields) {
    const kept = this.of(id);
    if (!kept) return;
    Object.assign(kept, fields);
    this.#save();
  }

  /** It was said, or is skipped. @param {string} id @param {boolean} [only] only if the call has ended */
  remove(id, only = false) {
    this.#kept = this.#kept.filter((one) => one.id !== id || (only && one.ended === null));
    this.#save();
  }

  #save() {
    this.#kept = this.#kept.slice(-MAX_KEPT);
    tab.set(KEY, this.#kept.length ? this.#kept : null);
  }
}
