// The calls of today in quarters of an hour, as the chart of one queue shows them.

/** At least so much of the day is shown. */
const LEAST_SECONDS = 4 * 3600;
const HOUR_SECONDS = 3600;

/**
 * @typedef {object} Day
 * @property {number[]} starts Unix seconds
 * @property {number[]} offered
 * @property {number[]} answered
 * @property {number} from where the axis begins, and
 * @property {number} to ends
 * @property {{offered: number, answered: number}} sums of the whole day
 */

/**
 * Return the quarters since the hour of the first call.
 * @param {{start: string, minutes: number, offered: number, answered: number}[]} intervals
 * @param {number} now Unix ms
 * @returns {Day}
 */
export function dayOf(intervals, now) {
  const all = intervals.map(({ start, offered, answered }) => ({ at: Date.parse(start) / 1000, offered, answered }));
  const sum = (/** @type {"offered" | "answered"} */ name) => all.reduce((total, one) => total + one[name], 0);
  const present = now / 1000;
  // Without any interval: the hours before the present one.
  const midnight = all[0]?.at ?? Math.floor(present / HOUR_SECONDS + 1) * HOUR_SECONDS - LEAST_SECONDS;
  const first = all.find(({ offered, answered }) => offered || answered)?.at ?? present;
  const to = Math.max(hourBefore(present, midnight) + HOUR_SECONDS, midnight + LEAST_SECONDS);
  const from = Math.max(midnight, Math.min(hourBefore(first, midnight), to - LEAST_SECONDS));
  const shown = all.filter(({ at }) => at >= from && at <= present);
  return {
    starts: shown.map(({ at }) => at),
    offered: shown.map(({ offered }) => offered),
    answered: shown.map(({ answered }) => answered),
    from,
    to,
    sums: { offered: sum("offered"), answered: sum("answered") },
  };
}

/** @param {number} at @param {number} midnight local hours begin whole hours after it */
const hourBefore = (at, midnight) => midnight + Math.floor((at - midnight) / HOUR_SECONDS) * HOUR_SECONDS;

/**
 * Return the hours that are written below the chart, so that they have room.
 * @param {number} from
 * @param {number} to
 * @param {number} most how many have room
 * @returns {number[]}
 */
export function hoursBelow(from, to, most) {
  const hours = Math.round((to - from) / HOUR_SECONDS);
  const step = [1, 2, 3, 4, 6, 8, 12].find((one) => hours / one <= most) ?? 24;
  const marks = [];
  for (let at = from; at < to; at += step * HOUR_SECONDS) marks.push(at);
  return marks;
}

/**
 * Return the end of the axis of calls.
 * @param {number[]} values
 */
export const axisEnd = (values) => Math.max(4, ...values);
