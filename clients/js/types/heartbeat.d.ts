export class Heartbeat {
    /**
     * @param {{idleMs: number, answerMs: number}} limits after how much silence a ping is sent, how long its answer may take
     * @param {number} now monotonic milliseconds
     * @param {number} wall Unix milliseconds
     */
    constructor({ idleMs, answerMs }: {
        idleMs: number;
        answerMs: number;
    }, now: number, wall: number);
    /**
     * Shorten the limits; those of a visible tab hold also for a leader with longer ones.
     *
     * @param {{idleMs: number, answerMs: number}} limits
     */
    limit({ idleMs, answerMs }: {
        idleMs: number;
        answerMs: number;
    }): void;
    /** Note that a message came. @param {number} now */
    received(now: number): void;
    /**
     * Look at the time; call this about every second, and more often if that is convenient.
     *
     * @param {number} now monotonic milliseconds; it may stand still while the computer sleeps
     * @param {number} wall Unix milliseconds; it may jump
     * @param {number} [factor] by which to wait longer for answers
     * @returns {"ping" | "stale" | "dead" | null} "ping": send one; "stale": say so and send one; "dead": abandon the socket
     */
    tick(now: number, wall: number, factor?: number): "ping" | "stale" | "dead" | null;
    /**
     * Ask whether the line is alive: the page became visible, or the network changed.
     *
     * @param {number} now
     * @returns {"ping" | null} null if such a ping is under way
     */
    wake(now: number): "ping" | null;
    #private;
}
