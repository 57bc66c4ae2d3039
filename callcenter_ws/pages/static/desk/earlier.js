// How often a caller has called before today, and what became of that: asked once for each call that rings or is talked in.

import { read } from "../session.js";

const MAX_KEPT = 30;
const MAX_TRIES = 3;
const RETRY_MS = 2000;

/**
 * @typedef {{today: number, caller_id: string | null, calls: {started_at: string, queue_name: string | null,
 *   outcome: string | null, agent_name: string | null, disposition: {code: string, label: string | null} | null}[]}} Earlier
 */

export class EarlierCalls {
  /** null: it was asked, and is not known (yet). @type {Map<string, Earlier | null>} */
  #known = new Map();
  #changed;

  /** @param {() => void} changed */
  constructor(changed) {
    this.#changed = changed;
  }

  /** Return what is known of the caller's earlier calls; null before it is, or if the gateway does not say. @param {string} callId @returns {Earlier | null} */
  of(callId) {
    if (!this.#known.has(callId)) {
      this.#known.set(callId, null);
      if (this.#known.size > MAX_KEPT) this.#known.delete([...this.#known.keys()][0]);
      this.#ask(callId, 1);
    }
    return this.#known.get(callId) ?? null;
  }

  /** @param {string} callId @param {number} tries */
  async #ask(callId, tries) {
    try {
      this.#known.set(callId, await read(`/ws/calls/earlier?call_id=${encodeURIComponent(callId)}`));
      this.#changed();
    } catch (error) {
      // The gateway may not have seen the call yet, or not answer now. It is something that is good to know, no more.
      const { status } = /** @type {{status?: number}} */ (error);
      const passes = status === undefined || status === 404 || status === 429 || status === 503;
      if (passes && tries < MAX_TRIES) setTimeout(() => this.#ask(callId, tries + 1), RETRY_MS * tries);
    }
  }
}
