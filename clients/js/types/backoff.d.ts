/**
 * Return the milliseconds to wait before the next attempt.
 *
 * @param {number} attempt how many attempts have failed before this one
 * @param {() => number} random returns a number from 0 to 1
 * @param {number} [retryAfterMs] the time that the gateway asked for; it is never shortened
 * @returns {number}
 */
export function backoff(attempt: number, random: () => number, retryAfterMs?: number): number;
/** Delays between attempts to connect: random, so that the clients of a gateway do not return at the same moment. */
export const MIN_DELAY_MS: 500;
