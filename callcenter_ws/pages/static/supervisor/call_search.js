// The search for calls of today: what is asked of the gateway, and the steps of one call.

/** @typedef {{search: string, agent: string, queue: string, state: string}} Query */
/** @typedef {any} FoundCall one of the calls of GET /ws/calls */
/** @typedef {{at: number | null, text: string, values: {[name: string]: string | number}}} Step */

/** @type {Query} */
export const NOTHING = { search: "", agent: "", queue: "", state: "" };
export const STATES = ["incoming", "waiting", "ringing", "talking", "hold", "ended"];
const MAX_CALLS = 100;

/** @param {Query} query */
export function pathOf(query) {
  const given = Object.entries(query).map(([name, value]) => [name, value.trim()]);
  return `/ws/calls?${new URLSearchParams([...given.filter(([, value]) => value), ["limit", String(MAX_CALLS)]])}`;
}

/** @param {string} callId */
export const earlierPath = (callId) => `/ws/calls/earlier?${new URLSearchParams([["call_id", callId]])}`;

/**
 * Return the query in a fragment like `#search?agent=7`.
 * @param {string} fragment
 * @returns {Query}
 */
export function queryOf(fragment) {
  const given = new URLSearchParams(fragment.split("?")[1] ?? "");
  return /** @type {Query} */ (Object.fromEntries(Object.keys(NOTHING).map((name) => [name, given.get(name) ?? ""])));
}

/** @param {unknown} instant */
const ms = (instant) => (typeof instant === "string" ? Date.parse(instant) : null);

/**
 * Return the path of a call in its order: when it came, where it waited, who had it, how it ended.
 * @param {FoundCall} call
 * @returns {Step[]}
 */
export function stepsOf(call) {
  /** @type {Step[]} */
  const steps = [{ at: ms(call.started_at), text: call.direction === "outbound" ? "dialed" : "came", values: { destination: call.destination ?? "" } }];
  for (const queue of call.queues ?? []) steps.push({ at: null, text: "queue", values: { queue } });
  if (call.answered_at) {
    const [first] = call.agents ?? [];
    steps.push({ at: ms(call.answered_at), text: "answered", values: { agent: first?.name ?? first?.id ?? call.agent_name ?? "" } });
  }
  for (const agent of (call.agents ?? []).slice(1)) steps.push({ at: null, text: "agent", values: { agent: agent.name ?? agent.id } });
  if (call.transfers) steps.push({ at: null, text: "transfers", values: { n: call.transfers } });
  if (call.ended_at) steps.push({ at: ms(call.ended_at), text: "ended", values: { outcome: call.outcome ?? "" } });
  return steps;
}

/** Agents whose name, id or extension has the text. @param {readonly any[]} agents @param {string} text */
export function agentsFound(agents, text) {
  const wanted = text.trim().toLowerCase();
  if (!wanted) return [];
  return agents.filter(({ name, id, extension }) => [name, id, extension].some((one) => String(one ?? "").toLowerCase().includes(wanted)));
}
