/** The gateway's clock, estimated from its answers. */

const SAMPLES = 10;
/** If the computer's clock moves by more than this against the monotonic one, it was set: older samples are useless. */
const JUMP_MS = 2000;

export class ServerClock {
  /** Milliseconds to add to `Date.now()`. */
  skew = 0;
  /** @type {{skew: number, rtt: number}[]} */
  #samples = [];
  /** `wall - now` of the last sample. @type {number | null} */
  #offset = null;

  /**
   * Note a time that the gateway sent.
   *
   * @param {string} serverTime RFC 3339
   * @param {number} wall `Date.now()` at reception
   * @param {number} now monotonic milliseconds at reception
   * @param {number | null} rtt how long the answer took; null if it is not known
   */
  sample(serverTime, wall, now, rtt) {
    const server = Date.parse(serverTime);
    if (Number.isNaN(server)) return;
    const offset = wall - now;
    if (this.#offset !== null && Math.abs(offset - this.#offset) > JUMP_MS) this.#samples = [];
    this.#offset = offset;
    this.#samples.push({ skew: server + (rtt ?? 0) / 2 - wall, rtt: rtt ?? Infinity });
    if (this.#samples.length > SAMPLES) this.#samples.shift();
    // Of equal ones the latest.
    this.skew = this.#samples.reduce((best, one) => (one.rtt <= best.rtt ? one : best)).skew;
  }
}
