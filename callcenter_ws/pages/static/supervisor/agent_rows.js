// The rows of the table of agents: each with its call, whether it is over its limit, and whether it may be old.
import { STATES } from "./limits.js";

/** @typedef {any} Agent */
/** @typedef {any} Call */
/**
 * `isOld`: a source is down, and nothing was heard of the agent since.
 * @typedef {{key: string, agent: Agent, call: Call | null, isOver: boolean, isOld: boolean, isGone?: boolean}} AgentRow
 */
/** @typedef {{state: string, queue: string, text: string, isOverOnly: boolean}} Filter */

/** @type {Filter} */
export const ALL = { state: "", queue: "", text: "", isOverOnly: false };

/**
 * Return since when a source is down: of several the last one. What was heard of since then comes from another source.
 * @param {readonly {up: boolean, since: number}[]} sources
 * @returns {number | null} null if all are up
 */
export function downSince(sources) {
  const down = sources.filter(({ up }) => !up).map(({ since }) => since);
  return down.length ? Math.max(...down) : null;
}

/** A talking call before one that rings. @param {readonly Call[]} calls @returns {Map<string, Call>} */
export function callsByAgent(calls) {
  const found = new Map();
  for (const call of calls) {
    if (call.agent_id === null || call.state === "waiting" || call.state === "incoming") continue;
    const known = found.get(call.agent_id);
    if (!known || (known.state === "ringing" && call.state !== "ringing")) found.set(call.agent_id, call);
  }
  return found;
}

/**
 * @param {{agents: () => readonly Agent[], calls: () => readonly Call[], sources: () => readonly any[]}} store
 * @param {import("./limits.js").Limits} limits
 * @param {number} now
 * @returns {AgentRow[]}
 */
export function agentRows(store, limits, now) {
  const calls = callsByAgent(store.calls());
  const down = downSince(store.sources());
  return store.agents().map((agent) => ({
    key: agent.id,
    agent,
    call: calls.get(agent.id) ?? null,
    isOver: limits.isOver(agent, now),
    isOld: down !== null && agent.since < down,
  }));
}

/** @param {readonly AgentRow[]} rows @param {Filter} filter @returns {AgentRow[]} */
export function filtered(rows, { state, queue, text, isOverOnly }) {
  const wanted = text.trim().toLowerCase();
  return rows.filter((row) => {
    const { agent } = row;
    if (state && agent.state !== state) return false;
    if (queue && !agent.queues.includes(queue)) return false;
    if (isOverOnly && !row.isOver) return false;
    return !wanted || searched(row).includes(wanted);
  });
}

/** @param {AgentRow} row */
const searched = ({ agent, call }) =>
  [agent.name, agent.id, agent.extension, agent.reason, call?.caller_id, call?.caller_name, call?.direction === "outbound" && call.destination].filter(Boolean).join("\n").toLowerCase();

/**
 * Return how many agents are in each state, in the order of the page.
 * @param {readonly AgentRow[]} rows
 * @returns {{state: string, count: number}[]}
 */
export function counts(rows) {
  /** @type {Map<string, number>} */
  const found = new Map(STATES.map((state) => [state, 0]));
  for (const { agent } of rows) found.set(agent.state, (found.get(agent.state) ?? 0) + 1);
  return [...found].map(([state, count]) => ({ state, count }));
}

/** The columns by which the table can be sorted. @type {{[name: string]: import("./sorting.js").Column<AgentRow>}} */
export const COLUMNS = {
  name: { value: ({ agent }) => String(agent.name).toLowerCase() },
  state: { value: ({ agent }) => STATES.indexOf(agent.state) },
  // Longest first: the smallest instant.
  since: { value: ({ agent }) => -agent.since, isDescending: true },
  call: { value: ({ call }) => (call ? -call.since : null), isDescending: true },
  handled: { value: ({ agent }) => agent.figures?.today?.handled ?? null, isDescending: true },
};
