// Figures as texts; null is a dash.
import { LANGUAGE, text } from "../texts.js";

const WHOLE = numbers({ maximumFractionDigits: 0 });
const TENTHS = numbers({ minimumFractionDigits: 1, maximumFractionDigits: 1 });
const GIVEN = numbers({ maximumFractionDigits: 2 });
const SECOND = 1000;
const HOUR = 3600 * SECOND;
const DAY = 24 * HOUR;
const MAX_FORMATTERS = 20;

/** @type {Map<string, Intl.DateTimeFormat>} */
const formatters = new Map();

/** Make a format when it is needed: the first one of a page takes long. @param {Intl.NumberFormatOptions} options */
function numbers(options) {
  /** @type {Intl.NumberFormat | null} */
  let made = null;
  return { format: (/** @type {number} */ value) => (made ??= new Intl.NumberFormat(LANGUAGE, options)).format(value) };
}

/** @param {unknown} value @returns {value is number} */
const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

/** @param {number | null | undefined} value @returns {string} */
export const count = (value) => (isNumber(value) ? WHOLE.format(value) : text("figure.none"));

/**
 * Return a number in at most four characters, cut and never rounded up.
 * @param {number | null | undefined} value
 */
export function shortCount(value) {
  if (!isNumber(value) || value < 1000) return count(value);
  const thousands = value / 1000;
  const shown = thousands < 10 ? TENTHS.format(Math.floor(thousands * 10) / 10) : WHOLE.format(Math.floor(thousands));
  return text("figure.thousands", { value: shown });
}

/** @param {number} value */
const two = (value) => String(value).padStart(2, "0");

/** @param {number} ms */
function parts(ms) {
  const seconds = Math.max(0, Math.floor(ms / SECOND));
  return { hours: Math.floor(seconds / 3600), minutes: Math.floor(seconds / 60) % 60, seconds: seconds % 60 };
}

/**
 * Return `m:ss`, from an hour on `h:mm:ss`, from 100 hours on the hours.
 * @param {number | null | undefined} ms
 */
export function duration(ms) {
  if (!isNumber(ms)) return text("figure.none");
  const { hours, minutes, seconds } = parts(ms);
  if (hours >= 100) return text("figure.hours", { hours: WHOLE.format(hours) });
  return hours ? `${hours}:${two(minutes)}:${two(seconds)}` : `${minutes}:${two(seconds)}`;
}

/**
 * Return a duration without its seconds from an hour on.
 * @param {number | null | undefined} ms
 */
export function shortDuration(ms) {
  if (!isNumber(ms) || ms < HOUR) return duration(ms);
  const { hours, minutes } = parts(ms);
  return hours >= 100 ? duration(ms) : text("figure.hours_minutes", { hours, minutes: two(minutes) });
}

/**
 * Return a percentage with one decimal that is on the same side of each limit as the exact value: 79.96 is not 80.
 * @param {number | null | undefined} value
 * @param {(number | null)[]} [limits]
 */
export function percent(value, limits = []) {
  if (!isNumber(value)) return text("figure.none");
  // 50.05 is a little less in binary.
  const tenths = Number((value * 10).toFixed(6));
  const sides = [...limits, 100].filter(isNumber).map((limit) => ({ limit, isReached: value >= limit }));
  const isTrue = (/** @type {number} */ shown) => sides.every(({ limit, isReached }) => shown >= limit === isReached);
  const candidates = [Math.floor(tenths + 0.5), Math.floor(tenths), Math.ceil(tenths)].map((one) => one / 10);
  const shown = candidates.find(isTrue);
  // Between two limits that are less than a tenth apart: the exact value.
  if (shown === undefined) return String(value);
  return shown === 100 ? WHOLE.format(shown) : TENTHS.format(shown);
}

/** @param {number} value a percentage of the settings, as it was written */
export const target = (value) => GIVEN.format(value);

/** @param {string | null | undefined} zone @param {Intl.DateTimeFormatOptions} options */
function formatter(zone, options) {
  const key = JSON.stringify([zone, options]);
  let known = formatters.get(key);
  if (!known) {
    try {
      known = new Intl.DateTimeFormat(LANGUAGE, { ...options, hourCycle: "h23", timeZone: zone ?? undefined });
    } catch {
      // A zone that this browser does not know.
      known = new Intl.DateTimeFormat(LANGUAGE, { ...options, hourCycle: "h23" });
    }
    if (formatters.size >= MAX_FORMATTERS) formatters.clear();
    formatters.set(key, known);
  }
  return known;
}

/**
 * Return the time of day of an instant in a time zone, `14:32` or `14:32:07`.
 * @param {number | null | undefined} instant Unix ms
 * @param {string | null | undefined} zone
 * @param {{seconds?: boolean}} [options]
 */
export function clock(instant, zone, { seconds = false } = {}) {
  if (!isNumber(instant)) return text("figure.none");
  return formatter(zone, { hour: "2-digit", minute: "2-digit", ...(seconds && { second: "2-digit" }) }).format(instant);
}

/**
 * Return since when: the time of day, with the date if that was not today's.
 * @param {number} instant
 * @param {number} now
 * @param {string | null | undefined} zone
 * @param {{seconds?: boolean}} [options]
 */
export function since(instant, now, zone, options) {
  const day = formatter(zone, { day: "numeric", month: "short" });
  if (now - instant < DAY && day.format(instant) === day.format(now)) return clock(instant, zone, options);
  return `${day.format(instant)}, ${clock(instant, zone)}`;
}

/**
 * Return the value of a metric of an alert.
 * @param {string | null} metric
 * @param {number | null} value
 */
export function metric(metric, value) {
  if (!isNumber(value)) return text("figure.none");
  if (metric && /_time$|^max_wait$|_seconds$/.test(metric)) return duration(value * SECOND);
  if (metric && /_rate$|^service_level$|^occupancy$/.test(metric)) return `${percent(value)} %`;
  return count(value);
}
