/** Whether an open socket answers: pings are sent after silence, and their round trips measured. */

import { Heartbeat } from "./heartbeat.js";

/** @typedef {import("./types.js").HeartbeatLimits} HeartbeatLimits */
/** @typedef {ReturnType<typeof livenessOf>} Liveness */

const TICK_MS = 1000;
/** By which factor an answer may take longer while the client catches up: none can overtake a large snapshot on a slow line. */
const CATCHING_UP_FACTOR = 6;

/**
 * @param {HeartbeatLimits} limits
 * @param {import("./env.js").Env} env
 * @param {{timers: import("./timers.js").Timers, send: (frame: object) => void, stale: () => void, dead: () => void,
 *   isCatchingUp: () => boolean}} link
 */
export function livenessOf(limits, env, { timers, send, stale, dead, isCatchingUp }) {
  const heartbeat = new Heartbeat(limits, env.now(), env.wall());
  let pings = 0;
  let pingedAt = 0;
  const idOf = () => `ping:${pings}`;

  /** @param {"ping" | "stale" | "dead" | null} what */
  const act = (what) => {
    if (what === "dead") return dead();
    if (!what) return;
    pings += 1;
    pingedAt = env.now();
    send({ type: "ping", id: idOf() });
    if (what === "stale") stale();
  };

  const tick = () => act(heartbeat.tick(env.now(), env.wall(), isCatchingUp() ? CATCHING_UP_FACTOR : 1));

  const tickLater = () =>
    timers.after("tick", TICK_MS, () => {
      tickLater();
      tick();
    });
  tickLater();

  return {
    /** Look at the time. Timers of hidden tabs are late: whatever else happens may call this, too. */
    tick,
    /** Note that a message came. */
    received: () => heartbeat.received(env.now()),
    /** Ask now. */
    probe: () => act(heartbeat.wake(env.now())),
    /** @param {HeartbeatLimits} limits */
    limit: (limits) => heartbeat.limit(limits),
    /** Return how long the answer to the last ping took; null: this answers another one. @param {string} id @returns {number | null} */
    roundTrip: (id) => (id === idOf() ? env.now() - pingedAt : null),
  };
}
