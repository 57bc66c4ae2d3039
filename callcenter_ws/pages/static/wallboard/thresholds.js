// When a figure is a warning or a breach. Limits are derived from the targets of the queue.

/** @typedef {import("./settings.js").Thresholds} Thresholds */
/** @typedef {0 | 1 | 2} Severity good, warning, breach */

/**
 * The limits of a figure of a queue; `isLow`: values below them are bad, else those at or above them.
 * @param {string} figure
 * @param {any} queue
 * @param {Thresholds} thresholds
 * @returns {{warning: number | null, breach: number | null, isLow: boolean} | null} null if the figure has none
 */
export function limits(figure, queue, thresholds) {
  if (figure === "waiting") return { ...thresholds.waiting, isLow: false };
  if (figure === "abandon_rate_30m") return { ...thresholds.abandon_rate, isLow: false };
  if (figure === "service_level_30m") {
    const target = queue.service_level?.target ?? null;
    const { warning, breach } = thresholds.service_level;
    return { warning: target === null ? null : target - warning, breach: target === null ? null : target - breach, isLow: true };
  }
  if (figure === "longest_wait") {
    const seconds = queue.service_level?.seconds ?? null;
    const { warning, breach } = thresholds.longest_wait;
    const ms = seconds === null ? null : seconds * 1000;
    return { warning: ms === null ? null : ms * warning, breach: ms === null ? null : ms * breach, isLow: false };
  }
  return null;
}

/**
 * Return the severity of a figure by its exact value. Figures of a whole day have none: they are past.
 * @param {string} figure
 * @param {number | null} value
 * @param {any} queue
 * @param {Thresholds} thresholds
 * @returns {Severity}
 */
export function severity(figure, value, queue, thresholds) {
  if (figure === "agents") return ofAgents(queue);
  const known = limits(figure, queue, thresholds);
  if (known === null || value === null || value === undefined) return 0;
  const isBad = (/** @type {number | null} */ limit) => limit !== null && (known.isLow ? value < limit : value >= limit);
  return isBad(known.breach) ? 2 : isBad(known.warning) ? 1 : 0;
}

/**
 * Return the severity of the agents: calls that wait with no agent staffed are a breach, with none available a warning. A
 * queue without calls and agents, as at night, has none.
 * @param {any} queue
 * @returns {Severity}
 */
function ofAgents({ waiting, staffed, available }) {
  if (!waiting || available === null || available === undefined) return 0;
  return staffed === 0 ? 2 : available === 0 ? 1 : 0;
}

/**
 * @param {{severity: string | null}} alert
 * @returns {Severity}
 */
export const ofAlert = ({ severity }) => (severity === "critical" ? 2 : 1);
