// What a wallboard shows, made from the store: rows worst first, pages, the strip, and how old all this is.
import { hasText, isolated, text } from "../texts.js";
import { FIGURES } from "./figures.js";
import { metric, since } from "./format.js";
import { ofAlert, severity } from "./thresholds.js";

/** @typedef {import("./settings.js").Settings} Settings */
/** @typedef {import("./thresholds.js").Severity} Severity */
/** @typedef {{text: string, short: string | null, second: string, severity: Severity, value: number | null}} Cell */
/**
 * @typedef {{name: string, severity: Severity, words: string[], cells: {[figure: string]: Cell}, since: number | null,
 *   waiting: number, source_down: boolean}} Row
 */
/** @typedef {"fresh" | "old" | "gone"} Age */
/**
 * `name` is a name that may be shortened; `text` is never cut.
 * @typedef {{kind: "old" | "alert" | "source" | "message" | "state" | "none", severity: Severity, name: string, text: string,
 *   isAcknowledged?: boolean, number: number, of: number}} Strip
 */

export const OLD_MS = 5_000;
export const GONE_MS = 60_000;
/** A link that counts as live but has not been heard for so long: the computer slept. */
const ASLEEP_MS = 15_000;
const SORT_MS = 5_000;
const STRIP_MS = 6_000;
const MESSAGE_MS = 60_000;
const MAX_MESSAGES = 5;

/**
 * Return how old what is shown is: old after 5 s without a link, gone after 60 s.
 * @param {any} status
 * @param {number} now
 * @returns {Age}
 */
export function age({ state, as_of: asOf, offline_since: offline, since: began }, now) {
  if (state === "stopped") return "gone";
  const known = now - (asOf ?? offline ?? began ?? now);
  if (state === "live") return known < ASLEEP_MS ? "fresh" : known < GONE_MS ? "old" : "gone";
  return known < OLD_MS ? "fresh" : known < GONE_MS ? "old" : "gone";
}

/**
 * Return the time at which clocks stand: they stop where the data end.
 * @param {any} status
 * @param {number} now
 */
export function shownTime(status, now) {
  return age(status, now) === "fresh" ? now : Math.min(now, status.as_of ?? now);
}

/** @param {any} store */
function allSourcesDown(store) {
  const sources = store.sources();
  return sources.length > 0 && sources.every((/** @type {any} */ { up }) => !up);
}

/**
 * @param {any} store
 * @param {Settings} board
 * @returns {any[]}
 */
function queuesOf(store, board) {
  if (!board.queues.length) return store.queues();
  return board.queues.map((name) => store.queue(name) ?? { name, alerts: [] });
}

/**
 * Return a row for each queue, in the order of the store.
 * @param {any} store
 * @param {Settings} board
 * @param {number} now
 * @param {Age} [age] figures that are gone are dashes
 * @returns {Row[]}
 */
export function rows(store, board, now, age = "fresh") {
  const isDown = allSourcesDown(store);
  return queuesOf(store, board).map((queue) => rowOf(queue, board, now, age === "gone", isDown));
}

/**
 * @param {any} queue
 * @param {Settings} board
 * @param {number} now
 * @param {boolean} isGone
 * @param {boolean} isDown
 * @returns {Row}
 */
function rowOf(queue, board, now, isGone, isDown) {
  const shown = { name: queue.name, since: queue.longest_wait_since ?? null, waiting: queue.waiting ?? 0, source_down: isDown };
  const cells = Object.fromEntries(board.figures.map((figure) => [figure, cellOf(figure, queue, board, now, isGone)]));
  if (isGone) return { ...shown, severity: 0, words: [], cells };
  const words = board.figures.filter((figure) => cells[figure].severity === 2).map((figure) => text(`word.${figure}`));
  const alerts = (queue.alerts ?? []).map(ofAlert);
  if (alerts.includes(2) && !words.length) words.push(text("word.alert"));
  const worst = Math.max(0, ...Object.values(cells).map((cell) => cell.severity), ...alerts);
  return { ...shown, severity: /** @type {Severity} */ (worst), words, cells };
}

/**
 * @param {string} figure
 * @param {any} queue
 * @param {Settings} board
 * @param {number} now
 * @param {boolean} isGone
 * @returns {Cell}
 */
function cellOf(figure, queue, { thresholds }, now, isGone) {
  const shown = FIGURES[figure];
  const value = isGone ? null : shown.value(queue, now);
  return {
    text: shown.text(value, queue, thresholds),
    short: shown.short?.(value) ?? null,
    second: isGone ? "" : (shown.second?.(queue) ?? ""),
    severity: isGone ? 0 : severity(figure, value, queue, thresholds),
    value,
  };
}

/** @param {Row} one @param {Row} other */
function worseFirst(one, other) {
  return (
    other.severity - one.severity ||
    (one.since ?? Infinity) - (other.since ?? Infinity) ||
    other.waiting - one.waiting ||
    one.name.localeCompare(other.name)
  );
}

/** The order of the rows, worst first: changed at most every 5 s, but at once by a new breach. */
export class Order {
  /** @type {string[]} */
  #names = [];
  /** @type {Set<string>} */
  #breaches = new Set();
  #at = -Infinity;
  /** Grows with each new breach. */
  breaches = 0;

  /**
   * @param {Row[]} rows
   * @param {number} now
   * @returns {Row[]}
   */
  sorted(rows, now) {
    const breaches = new Set(rows.filter((row) => row.severity === 2).map((row) => row.name));
    const isNew = [...breaches].some((name) => !this.#breaches.has(name));
    this.#breaches = breaches;
    if (isNew) this.breaches++;
    const known = new Map(this.#names.map((name, at) => [name, at]));
    const isSame = rows.length === known.size && rows.every((row) => known.has(row.name));
    if (isNew || !isSame || Math.abs(now - this.#at) >= SORT_MS) {
      this.#at = now;
      const sorted = [...rows].sort(worseFirst);
      this.#names = sorted.map((row) => row.name);
      return sorted;
    }
    return [...rows].sort((one, other) => Number(known.get(one.name)) - Number(known.get(other.name)));
  }
}

/**
 * Return a page of the rows. Pages are counted from 1; a number beyond the last is the last.
 * @param {Row[]} rows
 * @param {number} perPage 0: all rows on one page
 * @param {number} number
 */
export function page(rows, perPage, number) {
  const of = perPage ? Math.max(1, Math.ceil(rows.length / perPage)) : 1;
  const shown = Math.min(of, Math.max(1, number));
  return { rows: perPage ? rows.slice((shown - 1) * perPage, shown * perPage) : rows, number: shown, of };
}

/** Which page is shown: the next after some seconds, the first at once when there is a new breach. */
export class Pager {
  number = 1;
  /** @type {number | null} */
  #at = null;
  #breaches = 0;
  #ms;

  /** @param {number} ms how long a page is shown */
  constructor(ms) {
    this.#ms = ms;
  }

  /**
   * Return the page of this moment.
   * @param {number} of
   * @param {number} breaches
   * @param {number} now monotonic
   */
  at(of, breaches, now) {
    this.#at ??= now;
    if (breaches !== this.#breaches || this.number > of) this.#turn(1, now);
    else if (of > 1 && now - this.#at >= this.#ms) this.#turn((this.number % of) + 1, now);
    this.#breaches = breaches;
    return this.number;
  }

  /** Go some pages on or back. @param {number} by @param {number} of @param {number} now */
  move(by, of, now) {
    this.#turn(((this.number - 1 + by + of) % of) + 1, now);
  }

  /** @param {number} number @param {number} now */
  #turn(number, now) {
    this.number = number;
    this.#at = now;
  }
}

/** Messages for all (`alert` events), each shown for a minute. */
export class Messages {
  /** @type {{at: number, title: string, message: string, severity: Severity}[]} */
  #known = [];

  /** @param {any} event @param {number} now */
  add({ payload }, now) {
    const { title, message, severity } = payload;
    this.#known.unshift({ at: now, title: String(title), message: String(message), severity: ofAlert({ severity }) });
    this.#known.length = Math.min(this.#known.length, MAX_MESSAGES);
  }

  /** @param {number} now */
  at(now) {
    return this.#known.filter(({ at }) => now - at < MESSAGE_MS);
  }
}

/**
 * Return what the strip says at this moment. What is older than 5 s is said before everything else.
 * @param {any} store
 * @param {any} status
 * @param {number} now
 * @param {{zone?: string | null, messages?: Messages, queues?: string[]}} [options] `queues`: of which alerts are shown; none: all
 * @returns {Strip}
 */
export function strip(store, status, now, { zone, messages, queues = [] } = {}) {
  const state = stateOf(status, now, zone);
  const items = state ? [state] : itemsOf(store, now, zone, messages, queues);
  const of = items.length;
  if (!of) return { kind: "none", severity: 0, name: "", text: "", number: 1, of: 1 };
  const at = Math.floor(now / STRIP_MS) % of;
  return { ...items[at], number: at + 1, of };
}

/** @typedef {Omit<Strip, "number" | "of">} Item */

/**
 * @param {any} status
 * @param {number} now
 * @param {string | null | undefined} zone
 * @returns {Item | null}
 */
function stateOf(status, now, zone) {
  const is = (/** @type {Strip["kind"]} */ kind, /** @type {Severity} */ severity, /** @type {string} */ text) => ({ kind, severity, name: "", text });
  if (status.state === "stopped") return { ...is("old", 2, ""), name: text("wallboard.stopped", { reason: status.reason?.text ?? "" }) };
  if (age(status, now) === "fresh") return null;
  // Without a first snapshot there is nothing that could be old.
  if (!status.as_of) return is("old", 1, text(status.attempt ? "wallboard.connecting.failed" : "wallboard.connecting"));
  return is("old", 1, text("wallboard.old", { time: since(status.as_of, now, zone, { seconds: true }) }));
}

/**
 * @param {any} store
 * @param {number} now
 * @param {string | null | undefined} zone
 * @param {Messages | undefined} messages
 * @param {string[]} queues
 * @returns {Item[]}
 */
function itemsOf(store, now, zone, messages, queues) {
  const down = store.sources().filter((/** @type {any} */ { up }) => !up);
  const names = new Set(down.map((/** @type {any} */ { name }) => name));
  // A source that is down has an item of its own.
  const alerts = store.alerts().filter((/** @type {any} */ { source, queue }) =>
    source ? !names.has(source) : !queues.length || !queue || queues.includes(queue),
  );
  const worst = (/** @type {any} */ one, /** @type {any} */ other) =>
    Number(one.acknowledged) - Number(other.acknowledged) || ofAlert(other) - ofAlert(one) || other.since - one.since;
  return [
    ...(messages?.at(now) ?? []).map(messageItem),
    ...alerts.filter((/** @type {any} */ one) => !one.acknowledged).sort(worst).map(alertItem),
    ...down.map((/** @type {any} */ source) => sourceItem(source, now, zone)),
    ...alerts.filter((/** @type {any} */ one) => one.acknowledged).sort(worst).map(alertItem),
  ];
}

/** @param {{title: string, message: string, severity: Severity}} message @returns {Item} */
const messageItem = ({ title, message, severity }) => ({
  kind: "message",
  severity,
  name: text("wallboard.message", { title: isolated(title), message: isolated(message) }),
  text: "",
});

/** @param {any} source @param {number} now @param {string | null | undefined} zone @returns {Item} */
const sourceItem = ({ name, since: began }, now, zone) => ({
  kind: "source",
  severity: 1,
  ...named("wallboard.source_down", "source", name, { time: since(began, now, zone) }),
});

/** @param {any} alert @returns {Item} */
function alertItem({ rule, queue, source, metric: measured, value, threshold, severity, acknowledged }) {
  const name = queue ?? source ?? rule;
  const label = `metric.${measured}`;
  const isMeasured = value !== null && value !== undefined;
  const id = !isMeasured ? "wallboard.alert.rule" : acknowledged ? "wallboard.alert.acknowledged" : "wallboard.alert";
  const shown = named(id, "name", name, {
    metric: isMeasured && hasText(label) ? text(label) : isolated(rule),
    value: metric(measured, value),
    limit: metric(measured, threshold),
  });
  return { kind: "alert", severity: ofAlert({ severity }), ...shown, isAcknowledged: acknowledged };
}

/**
 * Part a text that begins with a name: the name may be shortened on the screen, the rest not.
 * @param {string} id
 * @param {string} field
 * @param {string} name
 * @param {{[name: string]: string}} values
 */
function named(id, field, name, values) {
  const whole = text(id, { ...values, [field]: "\0" });
  const [before, after] = whole.split("\0");
  return before === "" ? { name, text: after } : { name: "", text: `${before}${isolated(name)}${after}` };
}
