/**
 * @param {HeartbeatLimits} limits
 * @param {import("./env.js").Env} env
 * @param {{timers: import("./timers.js").Timers, send: (frame: object) => void, stale: () => void, dead: () => void,
 *   isCatchingUp: () => boolean}} link
 */
export function livenessOf(limits: HeartbeatLimits, env: import("./env.js").Env, { timers, send, stale, dead, isCatchingUp }: {
    timers: import("./timers.js").Timers;
    send: (frame: object) => void;
    stale: () => void;
    dead: () => void;
    isCatchingUp: () => boolean;
}): {
    /** Look at the time. Timers of hidden tabs are late: whatever else happens may call this, too. */
    tick: () => void;
    /** Note that a message came. */
    received: () => void;
    /** Ask now. */
    probe: () => void;
    /** @param {HeartbeatLimits} limits */
    limit: (limits: HeartbeatLimits) => void;
    /** Return how long the answer to the last ping took; null: this answers another one. @param {string} id @returns {number | null} */
    roundTrip: (id: string) => number | null;
};
export type HeartbeatLimits = import("./types.js").HeartbeatLimits;
export type Liveness = ReturnType<typeof livenessOf>;
