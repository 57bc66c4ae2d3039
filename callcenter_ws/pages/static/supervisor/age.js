// How old what is shown is, and the time at which clocks stand.

/** Without a connection for so long, what is shown counts as old. */
const OLD_MS = 5_000;

/** @typedef {{state: string, since: number, as_of: number | null}} Status */

/** @param {Status} status @param {number} now @returns {"fresh" | "old"} */
export function ageOf({ state, since, as_of: asOf }, now) {
  if (state === "live") return "fresh";
  return state === "stopped" || now - (asOf ?? since) >= OLD_MS ? "old" : "fresh";
}

/** Return the time that durations count to: they stand still when what they belong to is old. @param {Status} status @param {number} now */
export const clockOf = (status, now) => (ageOf(status, now) === "fresh" ? now : Math.min(now, status.as_of ?? now));
