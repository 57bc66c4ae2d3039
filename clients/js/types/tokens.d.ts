/**
 * Ask a callback for a token.
 *
 * @param {(request: {reason: "connect" | "expiring" | "retry", signal: AbortSignal}) => any} callback
 * @param {"connect" | "expiring" | "retry"} reason
 * @param {import("./env.js").Env} env
 * @returns {Promise<string>}
 */
export function askForToken(callback: (request: {
    reason: "connect" | "expiring" | "retry";
    signal: AbortSignal;
}) => any, reason: "connect" | "expiring" | "retry", env: import("./env.js").Env): Promise<string>;
/**
 * Return a token of a callback, without the newline with which many servers end it.
 *
 * @param {any} token
 * @returns {string}
 */
export function checkedToken(token: any): string;
/**
 * Return the claims of a token, not verified; empty if it cannot be read.
 *
 * @param {string} token
 * @returns {Record<string, any>}
 */
export function claims(token: string): Record<string, any>;
/**
 * Return whom a token is for, as text: two tabs with the same may share a socket.
 *
 * @param {string} token
 * @returns {string}
 */
export function identityOf(token: string): string;
/** Tokens: from the callback of the page, with a time-out; and what can be read in them. */
/** A token callback throws this to stop the client for good: the user is signed out. */
export class TokenRefused extends Error {
    /** @param {string} [text] for a person */
    constructor(text?: string);
}
