/** Delays between attempts to connect: random, so that the clients of a gateway do not return at the same moment. */

export const MIN_DELAY_MS = 500;
const MAX_DELAY_MS = 20000;
const FIRST_MS = 1000;

/**
 * Return the milliseconds to wait before the next attempt.
 *
 * @param {number} attempt how many attempts have failed before this one
 * @param {() => number} random returns a number from 0 to 1
 * @param {number} [retryAfterMs] the time that the gateway asked for; it is never shortened
 * @returns {number}
 */
export function backoff(attempt, random, retryAfterMs = 0) {
  const ceiling = Math.min(MAX_DELAY_MS, FIRST_MS * 2 ** Math.min(attempt, 10));
  const delay = MIN_DELAY_MS + random() * (ceiling - MIN_DELAY_MS);
  return Math.max(delay, retryAfterMs * (1 + random() / 4));
}
