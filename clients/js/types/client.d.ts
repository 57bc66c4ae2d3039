/**
 * Connect to a gateway.
 *
 * @param {string} url like `wss://host/ws`; relative ones are those of the page
 * @param {Options} [options]
 * @returns {Client}
 */
export function connect(url: string, options?: Options): Client;
export class Client {
    /**
     * @overload
     * @param {string} url
     * @param {Options} [options]
     */
    constructor(url: string, options?: import("./types.js").Options | undefined);
    /** @type {Store} */
    store: Store;
    /** @returns {Status} */
    get status(): Status;
    /** Whose connection it is; null before it is known. @returns {Identity | null} */
    get identity(): Identity | null;
    /** Return the time of the gateway's clock, in Unix milliseconds. */
    now(): number;
    /**
     * Call back at each event of this name, until the returned function is called or `signal` is aborted.
     *
     * @template {keyof Names} Name
     * @param {Name} name
     * @param {(value: Names[Name]) => void} callback
     * @param {{signal?: AbortSignal}} [options]
     * @returns {() => void}
     */
    on<Name extends keyof Names>(name: Name, callback: (value: Names[Name]) => void, options?: {
        signal?: AbortSignal;
    }): () => void;
    /**
     * Call back with what `select` returns: now, and at most once a frame when it has changed.
     *
     * @template T
     * @param {(store: Store) => T} select
     * @param {(value: T, before: T | undefined) => void} callback
     * @param {{equal?: (one: T, other: T) => boolean, signal?: AbortSignal}} [options]
     * @returns {() => void} ends it
     */
    watch<T>(select: (store: Store) => T, callback: (value: T, before: T | undefined) => void, options?: {
        equal?: (one: T, other: T) => boolean;
        signal?: AbortSignal;
    }): () => void;
    /**
     * Send a request and return the payload of its answer.
     *
     * @template {object} [Answer=Record<string, unknown>]
     * @param {string} type
     * @param {object} [payload]
     * @param {{signal?: AbortSignal, timeoutMs?: number, retry?: boolean}} [options] `retry`: send it again if its answer was
     *   lost; only for what may be carried out twice
     * @returns {Promise<Answer>} rejects with `RequestRefused`
     */
    request<Answer extends object = Record<string, unknown>>(type: string, payload?: object, options?: {
        signal?: AbortSignal;
        timeoutMs?: number;
        retry?: boolean;
    }): Promise<Answer>;
    /**
     * Send a message to a chat; it is sent again until it is known to be published, and published once.
     *
     * @param {string} sessionId
     * @param {string} body
     * @param {{clientMessageId?: string, signal?: AbortSignal}} [options]
     * @returns {Promise<{message_id: string, client_message_id: string, session_id: string, id: string, seq: number, duplicate: boolean}>}
     */
    sendChat(sessionId: string, body: string, { clientMessageId, signal }?: {
        clientMessageId?: string;
        signal?: AbortSignal;
    }): Promise<{
        message_id: string;
        client_message_id: string;
        session_id: string;
        id: string;
        seq: number;
        duplicate: boolean;
    }>;
    /**
     * Report that the user is typing, or has stopped; at most once a second, and not at all without a connection.
     *
     * @param {string} sessionId
     * @param {boolean} isTyping
     */
    sendTyping(sessionId: string, isTyping: boolean): void;
    /**
     * Acknowledge an alert.
     *
     * @param {string} alertId
     * @param {string} [note]
     * @returns {Promise<Record<string, unknown>>}
     */
    acknowledgeAlert(alertId: string, note?: string): Promise<Record<string, unknown>>;
    /** Request the state again; the promise is resolved when the store holds it. @returns {Promise<void>} */
    refresh(): Promise<void>;
    /** Find out whether the connection is alive, and make one now if there is none. */
    probe(): void;
    /** Close the socket: the user has signed out. */
    signOut(): void;
    /** Close this client. */
    close(): void;
    #private;
}
export type Identity = import("./types.js").Identity;
export type LinkStatus = import("./types.js").LinkStatus;
export type Names = import("./types.js").Names;
export type Options = import("./types.js").Options;
export type Status = import("./types.js").Status;
import { Store } from "./store.js";
