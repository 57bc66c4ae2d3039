export class Connection {
    /**
     * @param {Host} host
     * @param {LinkOptions} options
     * @param {import("./env.js").Env} env
     * @param {LinkStatus} [before] the status of the connection that this one replaces
     */
    constructor(host: Host, options: LinkOptions, env: import("./env.js").Env, before?: LinkStatus);
    /** @type {LinkStatus} */
    status: LinkStatus;
    /** Connect, unless it was stopped before. */
    start(): void;
    /** Send a message if there is a connection. @param {any} frame @returns {boolean} */
    send(frame: any): boolean;
    /** Find out whether the line is alive; without a connection, make one now unless the gateway asked to wait. */
    probe(): void;
    /** Look at the time. Timers of hidden tabs are late: whatever else happens may call this, too. */
    tick(): void;
    /** Shorten the limits of the heartbeat. @param {HeartbeatLimits} limits */
    limit(limits: HeartbeatLimits): void;
    /** Connect after a short random time: the network is back. */
    online(): void;
    /** Close for good. @param {Reason | null} reason without one, no status is reported: another tab goes on */
    stop(reason: Reason | null): void;
    #private;
}
export type Host = import("./types.js").Host;
export type LinkOptions = import("./types.js").LinkOptions;
export type LinkStatus = import("./types.js").LinkStatus;
export type Message = import("./types.js").Message;
export type HeartbeatLimits = import("./types.js").HeartbeatLimits;
export type Reason = import("./types.js").Reason;
