// Chats that have left the desk without being asked to: what is said of them, and what the user had typed. It knows no page.

/** @typedef {import("../../staff/chats/model.js").Chat} Chat */
/**
 * `why`: another agent has it, it was ended, or it is not known. `texts` are a draft and replies that were not sent.
 * @typedef {{id: string, name: string, why: "taken" | "closed" | "gone", by: string, at: number, texts: string[]}} Departed
 */

const MAX_DEPARTED = 20;
/** Of those with something typed. */
const MAX_TYPED = 100;
/** What a sender says that does not know who ended a chat. */
const UNKNOWN = "unknown";
/** What says whose a chat is. */
const ASSIGNING = new Set(["chat.session.started", "chat.transferred", "chat.session.ended"]);

/** @param {any} one @returns {one is Departed} */
export const isDeparted = (one) =>
  one !== null && typeof one === "object" && ["id", "name", "why", "by"].every((name) => typeof one[name] === "string") && Number.isFinite(one.at) && Array.isArray(one.texts);

export class Departures {
  /** Newest first. @type {Departed[]} */
  list = [];
  /** @type {Map<string, string>} the visitors' names of the chats of the user, by chat */
  #names = new Map();
  /** What the events have said of chats that are about to leave. @type {Map<string, {why: Departed["why"], by: string}>} */
  #told = new Map();
  /** Chats that the user has asked to close or to transfer. @type {Set<string>} */
  #asked = new Set();

  /** Take what an earlier page has kept: departures, and the chats of which something was typed. @param {Departed[]} list @param {Map<string, string>} names */
  load(list, names) {
    this.list = list;
    this.#names = new Map(names);
  }

  /** Note that the user asked that a chat leaves. @param {string} id */
  ask(id) {
    this.#asked.add(id);
  }

  /** Note that a chat stays, although it was asked for: the command failed. @param {string} id */
  keep(id) {
    this.#asked.delete(id);
  }

  /** Note what an event says of a chat. @param {{type: string, payload: any}} event @param {string | undefined} user */
  event({ type, payload }, user) {
    const id = String(payload.session_id);
    if (!this.#names.has(id) || !ASSIGNING.has(type)) return;
    const agent = payload.to_agent_id ?? payload.agent_id ?? null;
    if (type === "chat.session.ended") this.#told.set(id, { why: "closed", by: payload.ended_by === UNKNOWN ? "" : String(payload.ended_by ?? "") });
    else if (agent !== null && String(agent) !== user) this.#told.set(id, { why: "taken", by: String(payload.agent_name ?? agent) });
    else this.#told.delete(id);
  }

  /**
   * Compare the chats of the user with those of before, and return those that have left: a sentence is kept of each that the user
   * has not sent away, or that had something typed.
   *
   * @param {readonly Chat[]} own
   * @param {number} now
   * @param {(id: string) => string[]} takeTexts returns the draft and the unsent replies of a chat, which are given up
   * @returns {Departed[]}
   */
  compare(own, now, takeTexts) {
    const present = new Set(own.map(({ id }) => id));
    /** @type {Departed[]} */
    const left = [];
    for (const [id, name] of this.#names) {
      if (present.has(id)) continue;
      const { why, by } = this.#told.get(id) ?? { why: /** @type {const} */ ("gone"), by: "" };
      const departed = { id, name, why, by, at: now, texts: takeTexts(id) };
      if (!this.#asked.has(id) || departed.texts.length) left.push(departed);
      this.#told.delete(id);
      this.#asked.delete(id);
    }
    this.#names = new Map(own.map(({ id, visitor_name }) => [id, visitor_name ?? ""]));
    // What was typed stays until the user has removed it.
    const all = [...left, ...this.list];
    this.list = all.filter(({ texts }, at) => at < (texts.length ? MAX_TYPED : MAX_DEPARTED));
    return left;
  }

  /** @param {string} id */
  dismiss(id) {
    this.list = this.list.filter((one) => one.id !== id);
  }
}
