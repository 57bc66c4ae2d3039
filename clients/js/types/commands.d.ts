/**
 * Return the commands of a client. A page has one such object.
 *
 * @param {Client} client
 * @param {{storage?: Storage | null}} [options] `storage`: where commands are kept while the page is loaded again;
 *   `sessionStorage`
 * @returns {Commands}
 */
export function commandsOf(client: Client, options?: {
    storage?: Storage | null;
}): Commands;
/** A command was refused: nothing was done. With `code` "not_known" that is not certain. */
export class CommandRefused extends Error {
    /** @param {string} code @param {string} message */
    constructor(code: string, message: string);
    code: string;
}
/**
 * How a command ended. `message` is for the person who asked.
 * @typedef {{command_id: string, name: string, state: "done" | "failed", code: string | null, message: string | null,
 *   data: unknown}} Outcome
 */
/** @typedef {{command_id: string, name: string, fields: Record<string, unknown>, outcome: Promise<Outcome>}} Pending */
/**
 * What the gateway offers to this user.
 * @typedef {{names: string[], pause_reasons: string[], dispositions: {code: string, label: string}[],
 *   destinations?: {name: string, destination: string, queue_name: string | null}[]}} Offered
 */
/**
 * What a page keeps over being loaded again: what was sent. Times are those of the gateway.
 * @typedef {{id: string, name: string, fields: Record<string, unknown>, user: string, at: number, expires: number}} Stored
 */
/**
 * `isSent`: it is stored, and `user`, `at` and `expires` are set; `isKnown`: the gateway may have accepted it; `isAsking`: a
 * request is under way.
 * @typedef {{isSent: boolean, isKnown: boolean, isAsking: boolean, tries: number, timer: any, onAccepted?: () => void,
 *   outcome: Promise<Outcome>, resolve: (outcome: Outcome) => void, reject: (error: Error) => void}} Progress
 */
/** @typedef {Stored & Progress} Entry */
/** @typedef {import("./client.js").Client} Client */
/** @typedef {{getItem: (key: string) => string | null, setItem: (key: string, value: string) => void, removeItem: (key: string) => void}} Storage */
/** @typedef {{setTimeout: (callback: () => void, ms: number) => any, clearTimeout: (timer: any) => void}} Timers */
export class Commands {
    /**
     * @param {Client} client
     * @param {{storage?: Storage | null, timers?: Timers}} [options]
     */
    constructor(client: Client, { storage, timers }?: {
        storage?: Storage | null;
        timers?: Timers;
    });
    /** What this user may have done; null before it is known, and if that is nothing. @returns {Offered | null} */
    get offered(): Offered | null;
    /**
     * Have something done, and return how it ended.
     *
     * @param {string} name
     * @param {Record<string, unknown>} [fields]
     * @param {{commandId?: string, timeoutMs?: number, onAccepted?: () => void}} [options] `commandId`: the same one is carried
     *   out once; `timeoutMs`: how long it may wait for a connection; `onAccepted`: called when the gateway has it
     * @returns {Promise<Outcome>} rejects with `CommandRefused`
     */
    send(name: string, fields?: Record<string, unknown>, { commandId, timeoutMs, onAccepted }?: {
        commandId?: string;
        timeoutMs?: number;
        onAccepted?: () => void;
    }): Promise<Outcome>;
    /** Return the commands without an outcome, those of before the page was loaded among them. @returns {Pending[]} */
    pending(): Pending[];
    /** Settle nothing any more. What has no outcome stays stored, for the next page. */
    close(): void;
    #private;
}
/**
 * How a command ended. `message` is for the person who asked.
 */
export type Outcome = {
    command_id: string;
    name: string;
    state: "done" | "failed";
    code: string | null;
    message: string | null;
    data: unknown;
};
export type Pending = {
    command_id: string;
    name: string;
    fields: Record<string, unknown>;
    outcome: Promise<Outcome>;
};
/**
 * What the gateway offers to this user.
 */
export type Offered = {
    names: string[];
    pause_reasons: string[];
    dispositions: {
        code: string;
        label: string;
    }[];
    destinations?: {
        name: string;
        destination: string;
        queue_name: string | null;
    }[];
};
/**
 * What a page keeps over being loaded again: what was sent. Times are those of the gateway.
 */
export type Stored = {
    id: string;
    name: string;
    fields: Record<string, unknown>;
    user: string;
    at: number;
    expires: number;
};
/**
 * `isSent`: it is stored, and `user`, `at` and `expires` are set; `isKnown`: the gateway may have accepted it; `isAsking`: a
 * request is under way.
 */
export type Progress = {
    isSent: boolean;
    isKnown: boolean;
    isAsking: boolean;
    tries: number;
    timer: any;
    onAccepted?: () => void;
    outcome: Promise<Outcome>;
    resolve: (outcome: Outcome) => void;
    reject: (error: Error) => void;
};
export type Entry = Stored & Progress;
export type Client = import("./client.js").Client;
export type Storage = {
    getItem: (key: string) => string | null;
    setItem: (key: string, value: string) => void;
    removeItem: (key: string) => void;
};
export type Timers = {
    setTimeout: (callback: () => void, ms: number) => any;
    clearTimeout: (timer: any) => void;
};
