export class Tabs {
    /**
     * @param {import("./types.js").TabHost} host
     * @param {import("./types.js").LinkOptions} options
     * @param {import("./env.js").Env} env
     * @param {LinkStatus} [before] the status of what this one replaces
     */
    constructor(host: import("./types.js").TabHost, options: import("./types.js").LinkOptions, env: import("./env.js").Env, before?: LinkStatus);
    id: string;
    host: import("./types.js").TabHost;
    options: import("./types.js").LinkOptions;
    env: import("./env.js").Env;
    /** The status of the connection, wherever it is. @type {LinkStatus} */
    status: LinkStatus;
    /** Find out whose token the page has, and join the tabs that have the same. */
    start(): Promise<void>;
    /** Send a message by the connection, wherever it is. @param {object} frame @returns {boolean} */
    send(frame: object): boolean;
    /** Find out whether the line is alive, and make a connection if there is none. */
    probe(): void;
    /** The network is back. */
    online(): void;
    /** Close the connection of all tabs: the user has signed out. @param {Reason} reason */
    signOut(reason: Reason): void;
    /** Leave the other tabs. @param {Reason | null} reason without one, no status is reported */
    stop(reason: Reason | null): void;
    /** Send a message to the other tabs. @param {string} type @param {object} [content] */
    post(type: string, content?: object): void;
    /** @param {LinkStatus} status @param {boolean} [isSilent] whether the leader does not answer */
    tell(status: LinkStatus, isSilent?: boolean): void;
    #private;
}
export type LinkStatus = import("./types.js").LinkStatus;
export type Reason = import("./types.js").Reason;
