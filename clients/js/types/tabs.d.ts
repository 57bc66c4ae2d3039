export class Tabs {
    /**
     * @param {TabHost} host
     * @param {import("./connection.js").LinkOptions} options
     * @param {import("./env.js").Env} env
     * @param {LinkStatus} [before] the status of what this one replaces
     */
    constructor(host: TabHost, options: import("./connection.js").LinkOptions, env: import("./env.js").Env, before?: LinkStatus);
    /** The status of the connection, wherever it is. @type {LinkStatus} */
    status: LinkStatus;
    /** Learn whose token the page has, and join the tabs that have the same. */
    start(): Promise<void>;
    /** Send a message by the connection, wherever it is. @param {object} frame @returns {boolean} */
    send(frame: object): boolean;
    /** Find out whether the line is alive, and make a connection if there is none. */
    probe(): void;
    /** The network is back. The leader hears it, too. */
    online(): void;
    /** Close the connection of all tabs: the user has signed out. @param {import("./connection.js").Reason} reason */
    signOut(reason: import("./connection.js").Reason): void;
    /** Leave the other tabs. @param {import("./connection.js").Reason | null} reason without one, the status is not told */
    stop(reason: import("./connection.js").Reason | null): void;
    #private;
}
export type LinkStatus = import("./connection.js").LinkStatus;
export type Position = import("./stream.js").Position;
/**
 * what a tab needs to go on where another one is
 */
export type State = {
    position: Position | null;
    dump: any;
    identity: any;
};
/**
 * `leader`: another tab leads than before, so what was sent may be lost.
 */
export type TabHost = import("./connection.js").Host & {
    key: () => string;
    dump: () => State;
    load: (state: State) => void;
    leader: () => void;
    shared: (leads: boolean, tabs: number) => void;
    skew: (skew?: number) => number;
};
