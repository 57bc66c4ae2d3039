// The figures of one agent's day and of the agent's queues, from the store's views. It knows no page.

/** @typedef {import("../client.js").Agent} Agent */
/** @typedef {import("../client.js").Queue} Queue */
/** @typedef {import("../client.js").Events["agent.stats"]} AgentStats */
/**
 * Times in ms, rates in percent; null: not known.
 * @typedef {{handled: number | null, missed: number | null, talk: number | null, average: number | null,
 *   occupancy: number | null, loggedIn: number | null, states: {state: string, ms: number, share: number}[],
 *   incompleteSince: number | null}} Day
 */
/**
 * @typedef {{name: string, waiting: number, longestSince: number | null, level: number | null, target: number | null,
 *   isBelow: boolean, isPaused: boolean, isMember: boolean}} OwnQueue
 */

/** @param {unknown} value @returns {number | null} */
const number = (value) => (typeof value === "number" && Number.isFinite(value) ? value : null);

/** @param {unknown} seconds */
const ms = (seconds) => {
  const found = number(seconds);
  return found === null ? null : found * 1000;
};

/** Return what the gateway has counted of the day of an agent; null if it counts none. @param {AgentStats | null} figures @returns {Day | null} */
export function dayOf(figures) {
  const today = /** @type {any} */ (figures?.today ?? null);
  if (today === null) return null;
  const seconds = Object.entries(today.state_seconds ?? {}).filter(([, value]) => /** @type {number} */ (value) > 0);
  const sum = seconds.reduce((total, [, value]) => total + Number(value), 0);
  const states = seconds
    .map(([state, value]) => ({ state, ms: Number(value) * 1000, share: Math.round((100 * Number(value)) / sum) }))
    .sort((one, other) => other.ms - one.ms);
  const since = figures?.incomplete_since;
  return {
    handled: number(today.handled),
    missed: number(today.missed),
    talk: ms(today.talk_seconds),
    average: ms(today.average_handle_time),
    occupancy: number(today.occupancy),
    loggedIn: ms(today.logged_in_seconds),
    states,
    incompleteSince: since ? Date.parse(since) : null,
  };
}

/**
 * Return the queues that a user is a member of, by name.
 * @param {readonly Queue[]} queues
 * @param {Agent | undefined} agent the user
 * @param {string} user
 * @returns {OwnQueue[]}
 */
export function ownQueues(queues, agent, user) {
  const named = new Set(agent?.figures?.queues ?? []);
  return queues
    .filter(({ name, members }) => named.has(name) || members.includes(user))
    .map((queue) => ({ ...queue, level: queue.service_level.last_30m ?? queue.service_level.today, target: queue.service_level.target }))
    .map((queue) => ({
      name: queue.name,
      waiting: queue.waiting,
      longestSince: queue.waiting ? queue.longest_wait_since : null,
      level: queue.level,
      target: queue.target,
      isBelow: queue.level !== null && queue.target !== null && queue.level < queue.target,
      isPaused: agent?.paused_in.includes(queue.name) ?? false,
      isMember: queue.members.includes(user),
    }))
    .sort((one, other) => (one.name < other.name ? -1 : 1));
}

/** @param {readonly OwnQueue[]} one @param {readonly OwnQueue[]} other */
export const sameQueues = (one, other) => JSON.stringify(one) === JSON.stringify(other);
