// The consultations that were begun by commands: a source may tell of them in the caller's call only, by the outcomes.

import { tab } from "../staff/memory.js";

const KEY = "desk.consultations";

/** @typedef {{destination: string, label: string, since: number}} Consultation */

export class Consultations {
  /** @type {{[callId: string]: Consultation}} */
  #known;
  #actions;

  /**
   * @param {import("../staff/actions.js").Actions} actions
   * @param {{now: () => number}} clock
   */
  constructor(actions, clock) {
    this.#actions = actions;
    this.#known = tab.get(KEY, {});
    actions.onEnd(({ name, fields, state, code }) => {
      const id = String(fields.call_id);
      if (name === "call.consult" && state === "done") {
        this.#set(id, { destination: String(fields.destination), label: this.#labels.get(id) ?? "", since: clock.now() });
      }
      const isEnd = name === "call.consult.complete" || name === "call.consult.cancel" || name === "call.transfer";
      // "not_found": the other side has ended it already.
      if (isEnd && (state === "done" || (name !== "call.transfer" && code === "not_found"))) this.#set(id, null);
    });
  }

  /** The names of those who are being asked, by call. @type {Map<string, string>} */
  #labels = new Map();

  /** Note whom a consultation that begins now is with. @param {string} callId @param {string} label */
  begins(callId, label) {
    this.#labels.set(callId, label);
  }

  /** Return the consultation of a call; null without one. @param {string} callId @returns {Consultation | null} */
  of(callId) {
    return this.#known[callId] ?? null;
  }

  /** Return whom a consultation that was asked for is with; null without one. @param {string} callId @returns {string | null} */
  asked(callId) {
    if (!this.#actions.isUnderWay("call.consult", callId)) return null;
    const entry = this.#actions.ofSubject(callId).find(({ name }) => name === "call.consult");
    return this.#labels.get(callId) ?? String(entry?.fields.destination ?? "");
  }

  /** Forget the consultations of calls that have ended. @param {Set<string>} present */
  keep(present) {
    for (const id of Object.keys(this.#known)) if (!present.has(id)) this.#set(id, null);
  }

  /** The user says that it is over. @param {string} callId */
  forget(callId) {
    this.#set(callId, null);
  }

  /** @param {string} id @param {Consultation | null} value */
  #set(id, value) {
    const { [id]: _, ...others } = this.#known;
    this.#known = value ? { ...others, [id]: value } : others;
    tab.set(KEY, Object.keys(this.#known).length ? this.#known : null);
  }
}
