// The calls of the user, made from the state of the tenant and the events: what rings, what is talked in, what is on hold.

import { tab } from "../staff/memory.js";

/** @typedef {import("../client.js").Call} Call */
/**
 * `since`: of the state; `answered`: when the conversation began; `waited`: since when the caller has waited; `party`: the
 * number of the other side; `heldBy`: the agent who has put it on hold; `asker`: the colleague who consults the user about it.
 * @typedef {{id: string, state: "ringing" | "consulted" | "dialing" | "talking" | "hold", since: number, answered: number | null,
 *   waited: number, name: string | null, party: string | null, queue: string | null, isOutbound: boolean,
 *   isInternal: boolean, heldBy: string | null, asker: string | null}} OwnCall
 */
/** @typedef {{id: string, since: number}} Ringing */

const MISSED = "desk.missed";
const MAX_MISSED = 50;
/** The own state and the call say when it began to ring, each for itself. */
const SAME_RING_MS = 2000;
const OVER = new Set(["call.answered", "call.ended", "call.abandoned", "call.missed", "queue.left"]);
const ORDER = { ringing: 0, consulted: 1, dialing: 1, talking: 2, hold: 3 };

/** @param {any} payload */
const idOf = (payload) => String(payload.call_id ?? payload.unique_id);
/** @param {unknown} instant */
const ms = (instant) => Date.parse(String(instant));

export class OwnCalls {
  /** The calls that ring at the user, by id: since when. @type {Map<string, number>} */
  #ringing = new Map();
  /** The calls that rang here and were missed: the state of the tenant still says that they ring. @type {{[id: string]: number}} */
  #missed;
  #client;

  /**
   * @param {import("../client.js").Client} client
   * @param {{changed: () => void}} options `changed` is called at once when a call begins or ends to ring here
   */
  constructor(client, { changed }) {
    this.#client = client;
    this.#missed = tab.get(MISSED, {});
    client.on("event", (message) => this.#event(message) && changed());
    client.on("rebuilt", () => {
      this.#rebuild();
      changed();
    });
  }

  /** The id of the user. */
  get #me() {
    return this.#client.identity?.user_id ?? "";
  }

  /** Return the calls of the user: what rings first, then what is talked in, then what is on hold. @returns {OwnCall[]} */
  list() {
    const me = this.#me;
    const extension = this.#client.store.agent(me)?.extension ?? null;
    const own = [];
    for (const call of this.#client.store.calls()) {
      const ringing = this.#ringing.get(call.id);
      const ring = ringing === undefined ? null : this.#ring(call, ringing);
      if (ring !== null) own.push(this.#made(call, ...ring));
      else if (isOf(call, me, extension)) own.push(this.#made(call, call.state === "hold" ? "hold" : call.state === "talking" ? "talking" : "dialing", call.since));
    }
    return own.sort((one, other) => ORDER[one.state] - ORDER[other.state] || one.since - other.since);
  }

  /**
   * What has become of a ring. That a consulted colleague has answered, or is asked no longer, only the own state says.
   * @param {Call} call @param {number} since @returns {["ringing" | "consulted", number] | null}
   */
  #ring(call, since) {
    const own = this.#client.store.agent(this.#me);
    if (!isOfAnother(call, this.#me) || !own || own.state === "ringing" || own.since < since) return ["ringing", since];
    return own.state === "busy" ? ["consulted", own.since] : null;
  }

  /** @param {Call} call @param {OwnCall["state"]} state @param {number} since @returns {OwnCall} */
  #made(call, state, since) {
    const slots = /** @type {{[name: string]: any}} */ (this.#client.store.slots("call", call.id));
    const { hold, joined, incoming } = slots;
    const isOutbound = call.direction === "outbound" || (call.direction === "internal" && call.agent_id !== this.#me);
    return {
      id: call.id,
      state,
      since,
      answered: state === "talking" || state === "hold" ? begunAt(slots) : null,
      waited: ms((joined ?? incoming)?.timestamp ?? call.started_at) || call.started_at,
      name: isOutbound ? (call.direction === "internal" ? call.agent_name : null) : call.caller_name,
      party: isOutbound ? call.destination : call.caller_id,
      queue: call.queue,
      isOutbound,
      isInternal: call.direction === "internal",
      heldBy: state === "hold" ? (hold?.payload.held_by ?? null) : null,
      asker: isOfAnother(call, this.#me) ? (call.agent_name ?? call.agent_id) : null,
    };
  }

  /** Note what rings here; return whether that has changed. @param {any} message */
  #event({ type, timestamp, payload }) {
    const me = this.#me;
    if (type === "call.ringing" && String(payload.agent_id) === me) {
      this.#ringing.set(idOf(payload), ms(timestamp));
      return true;
    }
    // The own state says when a consultation is answered, and when it ends.
    if (type === "agent.state.changed" && String(payload.user_id) === me) return this.#ringing.size > 0;
    if (type === "call.transferred" && payload.transfer_type === "attended") return this.#ringing.delete(idOf(payload));
    // "answered" says where only with the next event: until then its card stays.
    if (!OVER.has(type) || (type === "queue.left" && payload.reason === "answered")) return false;
    const id = idOf(payload);
    if (type === "call.missed") {
      if (payload.agent_id != null && String(payload.agent_id) !== me) return false;
      this.#miss(id);
    }
    return this.#ringing.delete(id);
  }

  /** When a call rang here, if it did so last. @param {string} id */
  #rangAt(id) {
    const { ringing } = /** @type {{[name: string]: any}} */ (this.#client.store.slots("call", id));
    return ringing && String(ringing.payload.agent_id) === this.#me ? ms(ringing.timestamp) : NaN;
  }

  /** Whether the user is being consulted about a call, as far as the state of the tenant shows it. @param {string} id */
  #isConsulted(id) {
    const { state } = /** @type {{[name: string]: any}} */ (this.#client.store.slots("agent", this.#me));
    const own = this.#client.store.agent(this.#me);
    const later = (own?.since ?? NaN) - this.#rangAt(id);
    return own?.state === "ringing" ? Math.abs(later) < SAME_RING_MS : own?.state === "busy" && state?.payload.previous_state === "ringing" && later > 0;
  }

  /** @param {string} id */
  #miss(id) {
    const since = this.#ringing.get(id);
    if (since === undefined) return;
    this.#missed = Object.fromEntries([...Object.entries(this.#missed), [id, since]].slice(-MAX_MISSED));
    tab.set(MISSED, this.#missed);
  }

  /** The state of the tenant was loaded: what rang may ring no longer, and other calls may ring. */
  #rebuild() {
    const me = this.#me;
    const own = this.#client.store.agent(me);
    for (const id of [...this.#ringing.keys()]) {
      const call = this.#client.store.call(id);
      if (call?.state !== "ringing" && !(call && isOfAnother(call, me))) this.#ringing.delete(id);
    }
    for (const call of this.#client.store.calls()) {
      if (isOfAnother(call, me) && this.#isConsulted(call.id)) this.#ringing.set(call.id, this.#rangAt(call.id));
      if (call.state !== "ringing" || call.agent_id !== me || this.#ringing.has(call.id)) continue;
      // A call that was missed here goes on to be "ringing" until something else happens to it.
      const isElsewhere = own !== undefined && own.state !== "ringing" && own.since > call.since;
      if (!isElsewhere && this.#missed[call.id] !== call.since) this.#ringing.set(call.id, call.since);
    }
  }
}

/** When the present conversation began: after a transfer, that with the new agent. @param {{[name: string]: any}} slots */
function begunAt({ answered, transferred }) {
  if (!transferred) return answered ? ms(answered.payload.answered_at ?? answered.timestamp) : null;
  const last = answered && answered.seq > transferred.seq ? answered : transferred;
  return ms(last.timestamp);
}

/** Whether another agent talks in a call. @param {Call} call @param {string} me */
const isOfAnother = (call, me) => (call.state === "talking" || call.state === "hold") && call.agent_id !== null && call.agent_id !== me;

/** @param {Call} call @param {string} me @param {string | null} extension */
function isOf(call, me, extension) {
  if (call.state === "talking" || call.state === "hold") {
    return call.agent_id === me || (call.direction === "internal" && extension !== null && call.caller_id === extension);
  }
  // What the user dials; a call that waits in a queue is of no agent.
  return (call.state === "incoming" || call.state === "ringing") && (
    (call.direction === "outbound" && call.agent_id === me) ||
    (call.direction === "internal" && extension !== null && call.caller_id === extension)
  );
}
