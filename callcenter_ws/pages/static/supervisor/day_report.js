// Today's figures as GET /ws/statistics tells them: what is asked for, the rows of the tables, and the bars of the chart.

/** @typedef {"15" | "30" | "60"} Interval */
/** @typedef {{start: string, minutes: number, offered: number, answered: number, abandoned: number, [name: string]: any}} Window */
/** @typedef {{queue_name: string, intervals: Window[]}} Reported */

export const INTERVALS = /** @type {const} */ (["15", "30", "60"]);
const DAY_MINUTES = 1440;
/** So many rows are asked for at once: more would be megabytes. */
const MAX_ROWS = 3000;

/** What may be added up over queues: numbers of calls, never percentages and averages. */
const SUMS = ["offered", "answered", "abandoned", "abandoned_short", "flow_out", "lost", "handled"];

/**
 * Return the interval in which so many queues can be shown; null if there are too many for any.
 * @param {number} queues
 * @param {Interval} wanted
 * @returns {Interval | null}
 */
export const possibleInterval = (queues, wanted) =>
  INTERVALS.find((one) => Number(one) >= Number(wanted) && (queues * DAY_MINUTES) / Number(one) <= MAX_ROWS) ?? null;

/**
 * Return the path of the figures of queues.
 * @param {readonly string[]} queues none: all of them, and the agents
 * @param {Interval | "day"} interval
 */
export const pathOf = (queues, interval) =>
  `/ws/statistics?${new URLSearchParams([["interval", interval], ...queues.map((name) => ["queue", name])])}`;

/**
 * Return the intervals up to now, of one queue or added up over several.
 * @param {readonly Reported[]} queues
 * @param {number} now Unix ms
 * @returns {Window[]}
 */
export function windows(queues, now) {
  const shown = (/** @type {Window[]} */ all) => all.filter(({ start }) => Date.parse(start) <= now);
  if (queues.length <= 1) return shown(queues[0]?.intervals ?? []);
  /** @type {Map<string, Window>} */
  const sums = new Map();
  for (const { intervals } of queues) for (const one of shown(intervals)) sums.set(one.start, added(sums.get(one.start), one));
  return [...sums.values()].sort((one, other) => Date.parse(one.start) - Date.parse(other.start)).map(withRate);
}

/** @param {Window | undefined} sum @param {Window} one @returns {Window} */
function added(sum, one) {
  const counted = Object.fromEntries(SUMS.map((name) => [name, (sum?.[name] ?? 0) + (one[name] ?? 0)]));
  const waits = [sum?.max_wait, one.max_wait].filter((wait) => typeof wait === "number");
  return /** @type {any} */ ({ start: one.start, minutes: one.minutes, ...counted, max_wait: waits.length ? Math.max(...waits) : null });
}

/** The abandon rate is made of the sums, as the gateway makes it (docs/statistics.rst). @param {Window} sum @returns {Window} */
function withRate(sum) {
  const { answered, abandoned, abandoned_short: short, flow_out: out } = sum;
  const of = answered + abandoned - short + out;
  return { ...sum, abandon_rate: of > 0 ? ((abandoned - short) * 100) / of : null };
}

/**
 * Return the intervals without those before the first and after the last call, for the table.
 * @param {readonly Window[]} all
 */
export function withCalls(all) {
  const hasCalls = (/** @type {Window} */ { offered, answered, abandoned }) => offered + answered + abandoned > 0;
  const first = all.findIndex(hasCalls);
  return first < 0 ? [] : all.slice(first);
}

/**
 * Return the sum of the day.
 * @param {readonly Reported[]} queues as reported with the interval `day`
 * @returns {Window | null}
 */
export function total(queues) {
  const days = queues.flatMap(({ intervals }) => intervals.slice(0, 1));
  if (days.length <= 1) return days[0] ?? null;
  const sum = days.reduce((/** @type {Window | undefined} */ found, one) => added(found, one), undefined);
  return withRate(/** @type {Window} */ (sum));
}

/**
 * Return the name of the file for what was downloaded.
 * @param {{tenant: string, queue: string, day: string, interval: string}} given
 */
export function fileName({ tenant, queue, day, interval }) {
  const name = (/** @type {string} */ text) => text.replace(/[^\p{L}\p{N}._-]+/gu, "_").slice(0, 60);
  return `${[name(tenant), name(queue || "all"), day, interval].join("-")}.csv`;
}
