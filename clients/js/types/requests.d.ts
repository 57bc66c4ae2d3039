/** Requests that are answered: kept, sent again and given up as their type allows. It has no socket: `send` is passed in. */
/** How long the gateway recognizes a repeated `client_message_id` (300 s), less a margin. */
export const CHAT_TIMEOUT_MS: 270000;
/** A request was refused, or it is not known whether it was carried out (`code` "not_known"). */
export class RequestRefused extends Error {
    /** @param {string} code @param {string} message */
    constructor(code: string, message: string);
    code: string;
}
/**
 * @typedef {{id: string, frame: object, retry: boolean, lane: string | null, sent: boolean, tried: boolean, notBefore: number,
 *   tries: number, end: number, resolve: (payload: any) => void, reject: (error: Error) => void, forget: () => void}} Entry
 * `sent`: on the present connection; `tried`: on any. Of the entries of a `lane` one is under way at a time.
 */
export class Requests {
    /**
     * @param {string} prefix distinguishes the requests of this tab
     * @param {(frame: object) => boolean} send
     * @param {{now: () => number, setTimeout: (callback: () => void, ms: number) => any, clearTimeout: (timer: any) => void}} env
     */
    constructor(prefix: string, send: (frame: object) => boolean, env: {
        now: () => number;
        setTimeout: (callback: () => void, ms: number) => any;
        clearTimeout: (timer: any) => void;
    });
    /**
     * Send a request as soon as the connection is live, and return the payload of its answer.
     *
     * @param {string} type
     * @param {object} [payload]
     * @param {{signal?: AbortSignal, timeoutMs?: number, retry?: boolean, lane?: string | null}} [options] `retry`: it may be
     *   sent again although an earlier one may have been carried out
     * @returns {Promise<any>}
     */
    add(type: string, payload?: object, { signal, timeoutMs, retry, lane }?: {
        signal?: AbortSignal;
        timeoutMs?: number;
        retry?: boolean;
        lane?: string | null;
    }): Promise<any>;
    /** Begin or cease to send. What was sent on a connection that ended is sent again on the next one, or given up. @param {boolean} live */
    live(live: boolean): void;
    /** Note that what was sent and not answered will not be answered: the connection ended, or another tab leads. */
    lost(): void;
    /**
     * Take the answer to a request.
     *
     * @param {{type: string, in_reply_to?: any, payload?: any}} message
     * @returns {boolean} whether it answered one of these requests
     */
    take({ type, in_reply_to, payload }: {
        type: string;
        in_reply_to?: any;
        payload?: any;
    }): boolean;
    /** Note a `rate_limited` that does not name its request: whatever is not answered was perhaps not handled. @param {number} [retryAfterMs] */
    limited(retryAfterMs?: number): void;
    /** Reject everything. @param {string} code @param {string} message */
    close(code: string, message: string): void;
    #private;
}
/**
 * `sent`: on the present connection; `tried`: on any. Of the entries of a `lane` one is under way at a time.
 */
export type Entry = {
    id: string;
    frame: object;
    retry: boolean;
    lane: string | null;
    sent: boolean;
    tried: boolean;
    notBefore: number;
    tries: number;
    end: number;
    resolve: (payload: any) => void;
    reject: (error: Error) => void;
    forget: () => void;
};
