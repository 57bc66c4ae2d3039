/**
 * Connect to a gateway.
 *
 * @param {string} url like `wss://host/ws`; relative ones are those of the page
 * @param {Options} [options]
 * @returns {Client}
 */
export function connect(url: string, options?: Options): Client;
export class Client {
    /** @param {string} url @param {Options} [options] @param {import("./env.js").Env} [env] for tests */
    constructor(url: string, options?: Options, env?: import("./env.js").Env);
    /** @type {Store} */
    store: Store;
    /** @type {Identity | null} */
    identity: Identity | null;
    /** @returns {Status} */
    get status(): Status;
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
     * @param {string} type
     * @param {object} [payload]
     * @param {{signal?: AbortSignal, timeoutMs?: number, retry?: boolean}} [options] `retry`: send it again if its answer was
     *   lost; only for what may be carried out twice
     * @returns {Promise<any>} rejects with `RequestRefused`
     */
    request(type: string, payload?: object, options?: {
        signal?: AbortSignal;
        timeoutMs?: number;
        retry?: boolean;
    }): Promise<any>;
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
     * Tell that the user writes, or ceased to; at most once a second, and not at all without a connection.
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
     * @returns {Promise<any>}
     */
    acknowledgeAlert(alertId: string, note?: string): Promise<any>;
    /** Have the state sent again; resolves when the store holds it. @returns {Promise<void>} */
    refresh(): Promise<void>;
    /** Find out whether the connection is alive, and make one now if there is none. */
    probe(): void;
    /** Close the socket: the user has signed out. */
    signOut(): void;
    /** Close this client. */
    close(): void;
    #private;
}
export type Message = import("./stream.js").Message;
export type Rebuilt = import("./stream.js").Rebuilt;
export type LinkStatus = import("./connection.js").LinkStatus;
export type Status = LinkStatus & {
    as_of: number | null;
    leads: boolean;
    shared: number;
};
export type Identity = {
    user_id: string;
    tenant_id: string;
    role: string;
    session_id?: string;
    name?: string;
    queues: string[] | null;
    policy?: {
        agent_calls: string;
        agent_chats: string;
    };
    token_expires_at: string | null;
};
export type TokenRequest = {
    reason: "connect" | "expiring" | "retry";
    signal: AbortSignal;
};
export type Options = {
    /**
     * returns a fresh token; throws `TokenRefused` if the
     * user is signed out
     */
    token?: ((request: TokenRequest) => string | Promise<string>) | undefined;
    /**
     * event types and prefixes like `call.*`; all
     */
    events?: string[] | undefined;
    /**
     * all
     */
    queues?: string[] | undefined;
    tenant?: string | undefined;
    /**
     * how messages for the user are acknowledged; "auto"
     */
    acknowledge?: false | "auto" | "manual" | undefined;
    /**
     * whether tabs share a socket; true
     */
    tabs?: boolean | undefined;
    /**
     * connect without a token, as the visitor of a site
     */
    anonymous?: boolean | undefined;
    /**
     * after how much silence a ping is sent; how long its answer may take
     */
    heartbeat?: {
        idleMs: number;
        answerMs: number;
    } | undefined;
    /**
     * messages that are kept of each chat; 200
     */
    chatMessages?: number | undefined;
    log?: ((level: string, text: string, fields?: object) => void) | undefined;
};
export type Names = {
    status: Status;
    event: any;
    rebuilt: Rebuilt;
    lost: {
        from_seq: number;
        to_seq: number;
        reason: string;
    };
    change: import("./notify.js").Change;
    refused: {
        code: string;
        message: string;
        retry_after_ms?: number;
    };
    session: {
        session_id: string;
        session_token: string;
    };
};
import { Store } from "./store.js";
