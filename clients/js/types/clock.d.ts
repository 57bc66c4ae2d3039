export class ServerClock {
    /** Milliseconds to add to `Date.now()`. */
    skew: number;
    /**
     * Note a time that the gateway sent.
     *
     * @param {string} serverTime RFC 3339
     * @param {number} wall `Date.now()` at reception
     * @param {number} now monotonic milliseconds at reception
     * @param {number | null} rtt how long the answer took; null if it is not known
     */
    sample(serverTime: string, wall: number, now: number, rtt: number | null): void;
    #private;
}
