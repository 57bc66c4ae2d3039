// How long an agent may be in a state before the page marks it: defaults, and what this browser remembers.

/** The states, in the order of the page. */
export const STATES = ["ringing", "talking", "hold", "wrap_up", "busy", "available", "break", "away", "offline"];

/** Seconds; a state that is not listed has no limit. @type {{[state: string]: number}} */
export const DEFAULTS = { ringing: 30, talking: 600, hold: 120, wrap_up: 120, break: 900, away: 900 };

const NAME = "limits";
const MAX_SECONDS = 86_400;

/** @typedef {{get: (name: string, otherwise: any) => any, set: (name: string, value: unknown) => void}} Memory as `machine` of ../staff/memory.js */

/** @param {unknown} value @returns {number | null} seconds, or null for no limit */
function secondsOf(value) {
  const seconds = Math.round(Number(value));
  return Number.isFinite(seconds) && seconds > 0 ? Math.min(seconds, MAX_SECONDS) : null;
}

export class Limits {
  /** @type {{[state: string]: number | null}} */
  #known;
  #memory;

  /** @param {Memory} memory where they are remembered */
  constructor(memory) {
    this.#memory = memory;
    const given = memory.get(NAME, {}) ?? {};
    const known = STATES.filter((state) => given[state] !== undefined).map((state) => [state, secondsOf(given[state])]);
    this.#known = { ...DEFAULTS, ...Object.fromEntries(known) };
  }

  /** Return the limit of a state in seconds; null without one. @param {string} state */
  of(state) {
    return this.#known[state] ?? null;
  }

  /** Change limits, and remember them. @param {{[state: string]: unknown}} given */
  set(given) {
    this.#known = Object.fromEntries(STATES.map((state) => [state, secondsOf(given[state])]));
    this.#memory.set(NAME, this.#known);
  }

  /** Return to the defaults. */
  reset() {
    this.#known = { ...DEFAULTS };
    this.#memory.set(NAME, null);
  }

  /**
   * Return whether an agent has been in its state for longer than its limit.
   * @param {{state: string, since: number}} agent
   * @param {number} now
   */
  isOver({ state, since }, now) {
    const limit = this.of(state);
    return limit !== null && now - since > limit * 1000;
  }
}

/**
 * Return a number of seconds as a person writes it: `10:00`, `0:30`; empty without a limit.
 * @param {number | null} seconds
 */
export function written(seconds) {
  return seconds === null ? "" : `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

/**
 * Return the seconds that a person has written: `10:00`, or minutes as `10` and `0.5`; null for no limit, NaN for neither.
 * @param {string} text
 */
export function secondsWritten(text) {
  const plain = text.trim();
  if (!plain) return null;
  const parts = /^(\d{1,4}):([0-5]?\d)$/.exec(plain);
  if (parts) return Number(parts[1]) * 60 + Number(parts[2]);
  return /^\d{1,4}([.,]\d+)?$/.test(plain) ? Math.round(Number(plain.replace(",", ".")) * 60) : NaN;
}
