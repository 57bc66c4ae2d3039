/** @typedef {import("./types.js").LinkStatus} LinkStatus */
/** @typedef {import("./types.js").Reason} Reason */
/**
 * Return the status before the first attempt.
 *
 * @param {number} now
 * @param {LinkStatus} [before] the status of what is replaced
 * @returns {LinkStatus}
 */
export function firstStatus(now: number, before?: LinkStatus): LinkStatus;
/**
 * Return why the connection ended.
 *
 * @param {number} code
 * @param {string | undefined} message the error that preceded
 * @param {string} text what the close frame says; the gateway's frames always have a text
 */
export function reasonOfClose(code: number, message: string | undefined, text: string): import("./types.js").Reason;
export function reasonOf(code: number | string, text: string, name?: string): Reason;
export function signedOut(text?: string): import("./types.js").Reason;
export function messageOf(error: unknown): string;
export type LinkStatus = import("./types.js").LinkStatus;
export type Reason = import("./types.js").Reason;
