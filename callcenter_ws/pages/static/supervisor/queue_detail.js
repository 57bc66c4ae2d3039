// What is behind the figures of a queue: the calls that wait, those that are talked to, and its members.
import { callsByAgent, downSince } from "./agent_rows.js";
import { STATES } from "./limits.js";

/** @typedef {{call: any, position: number, since: number, isOld: boolean}} WaitingCall */
/** @typedef {{call: any, isOld: boolean}} TalkingCall */
/** @typedef {{id: string, name: string, agent: any | null, isPaused: boolean, call: any | null, isOld: boolean}} Member */

/**
 * Return since when a call waits in its queue: ringing at an agent does not begin it again.
 * @param {any} store
 * @param {string} id
 * @param {any} call
 */
function waitingSince(store, id, call) {
  const joined = /** @type {any} */ (Object.values(store.slots("call", id)).find((/** @type {any} */ { type }) => type === "queue.joined"));
  return joined ? Date.parse(joined.timestamp) : call.since;
}

/** A call that was answered waits no more, although its sender has not said that it left the queue. */
const TALKING = new Set(["talking", "hold"]);

/** @param {any} store @param {string} name @returns {WaitingCall[]} in their order */
export function waitingCalls(store, name) {
  const down = downSince(store.sources());
  const calls = (store.queue(name)?.calls ?? []).map((/** @type {string} */ id) => store.call(id));
  const waiting = calls.filter((/** @type {any} */ call) => call && !TALKING.has(call.state));
  return waiting.map((/** @type {any} */ call, /** @type {number} */ at) => ({
    call,
    position: at + 1,
    since: waitingSince(store, call.id, call),
    isOld: down !== null && call.since < down,
  }));
}

/** @param {any} store @param {string} name @returns {TalkingCall[]} those that began first, first */
export function talkingCalls(store, name) {
  const down = downSince(store.sources());
  const isTalking = (/** @type {any} */ { state, queue }) => queue === name && TALKING.has(state);
  return store
    .calls()
    .filter(isTalking)
    .map((/** @type {any} */ call) => ({ call, isOld: down !== null && call.since < down }));
}

/** Those who are not signed in come last. @param {any} store @param {string} name @returns {Member[]} */
export function membersOf(store, name) {
  const calls = callsByAgent(store.calls());
  const down = downSince(store.sources());
  const found = (store.queue(name)?.members ?? []).map((/** @type {string} */ id) => {
    const agent = store.agent(id) ?? null;
    return {
      id,
      name: agent?.name ?? nameOf(store, name, id),
      agent,
      isPaused: agent?.paused_in.includes(name) ?? false,
      call: calls.get(id) ?? null,
      isOld: agent !== null && down !== null && agent.since < down,
    };
  });
  const order = (/** @type {Member} */ { agent }) => (agent ? STATES.indexOf(agent.state) : STATES.length);
  return found.sort((/** @type {Member} */ one, /** @type {Member} */ other) =>
    order(one) - order(other) || (one.agent?.since ?? 0) - (other.agent?.since ?? 0) || (one.name < other.name ? -1 : 1),
  );
}

/** @param {any} store @param {string} queue @param {string} id */
function nameOf(store, queue, id) {
  const [message] = /** @type {any[]} */ (Object.values(store.slots("member", queue, id)));
  return String(message?.payload.username ?? id);
}
