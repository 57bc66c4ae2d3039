// The figures that a wallboard can show: the value of each in a queue, its text, and the room it takes.
import { text } from "../texts.js";
import { count, duration, percent, shortCount, shortDuration, target } from "./format.js";
import { limits } from "./thresholds.js";

/** @typedef {import("./settings.js").Thresholds} Thresholds */
/**
 * `room` is a text for which the column always has room; `second` is shown smaller beneath.
 * @typedef {object} Figure
 * @property {boolean} main
 * @property {string} room
 * @property {(queue: any, now: number) => number | null} value
 * @property {(value: number | null, queue: any, thresholds: Thresholds) => string} text
 * @property {(value: number | null) => string} [short]
 * @property {(queue: any) => string} [second]
 */

/** @param {string} figure */
const percentOf = (figure) => (/** @type {number | null} */ value, /** @type {any} */ queue, /** @type {Thresholds} */ thresholds) => {
  const known = limits(figure, queue, thresholds);
  return percent(value, known ? [known.warning, known.breach] : []);
};
/** @param {number | null | undefined} value */
const ofTotal = (value) => (value === null || value === undefined ? "" : text("figure.of", { value: shortCount(value) }));
/** @param {number | null | undefined} value */
const ofTarget = (value) => (value === null || value === undefined ? "" : text("figure.of", { value: target(value) }));
/** @param {number | null | undefined} value */
const orNull = (value) => value ?? null;

/** @type {{[name: string]: Figure}} */
export const FIGURES = {
  waiting: { main: true, room: "88", value: (queue) => orNull(queue.waiting), text: count, short: shortCount },
  longest_wait: {
    main: true,
    room: "88:88",
    value: ({ longest_wait_since: since }, now) => (since === null || since === undefined ? null : Math.max(0, now - since)),
    text: duration,
    short: shortDuration,
  },
  service_level_30m: {
    main: true,
    room: "88.8",
    value: (queue) => orNull(queue.service_level?.last_30m),
    text: percentOf("service_level_30m"),
  },
  service_level_today: {
    main: false,
    room: "of 88",
    value: (queue) => orNull(queue.service_level?.today),
    text: (value, queue) => percent(value, [orNull(queue.service_level?.target)]),
    second: (queue) => ofTarget(queue.service_level?.target),
  },
  agents: {
    main: false,
    room: "of 88",
    value: (queue) => orNull(queue.available),
    text: count,
    short: shortCount,
    second: (queue) => ofTotal(queue.staffed),
  },
  abandon_rate_30m: {
    main: false,
    room: "88.8",
    value: (queue) => orNull(queue.abandon_rate?.last_30m),
    text: percentOf("abandon_rate_30m"),
  },
  abandon_rate_today: { main: false, room: "88.8", value: (queue) => orNull(queue.abandon_rate?.today), text: (value) => percent(value) },
  average_wait_today: {
    main: false,
    room: "88:88",
    value: ({ average_wait: wait }) => (wait?.today === null || wait?.today === undefined ? null : wait.today * 1000),
    text: duration,
    short: shortDuration,
  },
  offered_today: { main: false, room: "8,888", value: (queue) => orNull(queue.offered_today), text: count, short: shortCount },
  answered_today: { main: false, room: "8,888", value: (queue) => orNull(queue.answered_today), text: count, short: shortCount },
  abandoned_today: { main: false, room: "8,888", value: (queue) => orNull(queue.abandoned_today), text: count, short: shortCount },
};
