/**
 * Return the status before the first attempt.
 *
 * @param {number} now
 * @param {LinkStatus} [before] the status of what is replaced
 * @returns {LinkStatus}
 */
export function firstStatus(now: number, before?: LinkStatus): LinkStatus;
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
    /** Let the line be watched more closely. @param {{idleMs: number, answerMs: number}} limits */
    limit(limits: {
        idleMs: number;
        answerMs: number;
    }): void;
    /** Connect after a short random time: the network is back. */
    online(): void;
    /** Close for good. @param {Reason | null} reason without one, `status` is not told: another tab goes on */
    stop(reason: Reason | null): void;
    #private;
}
export function reasonOf(code: number | string, text: string, name?: string): Reason;
export function signedOut(text?: string): Reason;
export function messageOf(error: unknown): string;
export type Message = import("./stream.js").Message;
export type Reason = {
    code: number | string;
    name: string;
    text: string;
};
/**
 * Times are those of the gateway's clock, in Unix milliseconds.
 */
export type LinkStatus = {
    state: "connecting" | "catching_up" | "live" | "stale" | "offline" | "stopped";
    since: number;
    offline_since: number | null;
    retry_at: number | null;
    attempt: number;
    reason: Reason | null;
};
export type Host = {
    receive: (message: Message) => void;
    status: (status: LinkStatus) => void;
    serverTime: () => number;
    token: (reason: "connect" | "expiring" | "retry") => Promise<string | null>;
    position: () => import("./stream.js").Position | null;
    clock: (serverTime: string, rtt: number | null) => void;
    log: (level: string, text: string, fields?: object) => void;
};
export type LinkOptions = {
    url: string;
    tenant?: string;
    events?: string[];
    queues?: string[];
    acknowledge: "auto" | "manual" | false;
    heartbeat: {
        idleMs: number;
        answerMs: number;
    };
};
