// The lines that the live view keeps, and which of them the filters let through. It knows no page.

import { describe, familyOf } from "./lines.js";

/** Lines that are shown. */
export const MAX_SHOWN = 200;
/** Lines that are kept, so that a filter finds some. */
export const MAX_KEPT = 2000;

/**
 * @typedef {object} Line
 * @property {number} key
 * @property {number} at Unix milliseconds
 * @property {string} type
 * @property {string} text
 * @property {"event" | "control" | "problem"} kind
 * @property {string} family
 * @property {string} queue
 * @property {object | null} message
 */

export class Lines {
  /** Oldest first. @type {Line[]} */
  #lines = [];
  /** What came while the view is paused. @type {Line[]} */
  #waiting = [];
  #last = 0;
  #paused = false;
  seen = 0;
  family = "";
  queue = "";
  search = "";

  /** @param {any} message an event */
  event(message) {
    this.seen += 1;
    const { type, payload, timestamp } = message;
    const queue = String(payload.queue_name ?? "");
    this.#add({ at: Date.parse(timestamp), type, text: describe(message), kind: "event", family: familyOf(type), queue, message });
  }

  /** @param {number} at @param {string} type @param {string} text @param {"control" | "problem"} [kind] */
  control(at, type, text, kind = "control") {
    this.#add({ at, type, text, kind, family: "", queue: "", message: null });
  }

  /** @param {Omit<Line, "key">} line */
  #add(line) {
    const target = this.#paused ? this.#waiting : this.#lines;
    target.push({ key: (this.#last += 1), ...line });
    if (target.length > MAX_KEPT) target.splice(0, target.length - MAX_KEPT);
  }

  get paused() {
    return this.#paused;
  }

  set paused(paused) {
    this.#paused = paused;
    if (paused) return;
    this.#lines = [...this.#lines, ...this.#waiting].slice(-MAX_KEPT);
    this.#waiting = [];
  }

  /** How many lines wait for the end of the pause. */
  get waiting() {
    return this.#waiting.length;
  }

  /** Return what is shown, newest first. Lines about the connection are always. @returns {Line[]} */
  shown() {
    const wanted = this.search.trim().toLowerCase();
    const found = [];
    for (let at = this.#lines.length - 1; at >= 0 && found.length < MAX_SHOWN; at -= 1) {
      if (this.#passes(this.#lines[at], wanted)) found.push(this.#lines[at]);
    }
    return found;
  }

  /** @param {Line} line @param {string} wanted */
  #passes(line, wanted) {
    if (line.kind !== "event") return true;
    if (this.family && line.family !== this.family) return false;
    if (this.queue && line.queue !== this.queue) return false;
    return !wanted || `${line.type} ${line.text.replace(/[\u2068\u2069]/g, "")} ${JSON.stringify(line.message)}`.toLowerCase().includes(wanted);
  }
}
