/** Decides from silence whether a connection is dead. It has no timer and no socket: times are passed in. */

const TICK_MS = 1000;
/** A tick that is late by this much is a wake-up: the tab was throttled, or the computer slept. */
const LATE_MS = 5000;
/** How long an answer may take after a wake-up. */
const WAKE_ANSWER_MS = 5000;

export class Heartbeat {
  #idleMs;
  #answerMs;
  /** When the last message came. */
  #heard;
  /** When the unanswered ping was sent. @type {number | null} */
  #asked = null;
  /** "idle": the first ping after silence; "second": the ping of a stale line; "wake": a ping after a wake-up. */
  #why = "idle";
  #tick;
  #wall;

  /**
   * @param {{idleMs: number, answerMs: number}} limits after how much silence a ping is sent, how long its answer may take
   * @param {number} now monotonic milliseconds
   * @param {number} wall Unix milliseconds
   */
  constructor({ idleMs, answerMs }, now, wall) {
    this.#idleMs = idleMs;
    this.#answerMs = answerMs;
    this.#heard = this.#tick = now;
    this.#wall = wall;
  }

  /**
   * Shorten the limits; those of a visible tab hold also for a leader with longer ones.
   *
   * @param {{idleMs: number, answerMs: number}} limits
   */
  limit({ idleMs, answerMs }) {
    this.#idleMs = Math.min(this.#idleMs, idleMs);
    this.#answerMs = Math.min(this.#answerMs, answerMs);
  }

  /** Note that a message came. @param {number} now */
  received(now) {
    this.#heard = now;
    this.#asked = null;
  }

  /**
   * Look at the time; call this about every second, and more often if that is convenient.
   *
   * @param {number} now monotonic milliseconds; it may stand still while the computer sleeps
   * @param {number} wall Unix milliseconds; it may jump
   * @param {number} [factor] by which to wait longer for answers
   * @returns {"ping" | "stale" | "dead" | null} "ping": send one; "stale": say so and send one; "dead": abandon the socket
   */
  tick(now, wall, factor = 1) {
    const late = Math.max(now - this.#tick, wall - this.#wall) - TICK_MS > LATE_MS;
    this.#tick = now;
    this.#wall = wall;
    // The silence before a wake-up proves nothing: answers that came meanwhile are handled after this call. A ping that was
    // sent at the wake-up before is different: a throttled tab wakes once a minute, and handles messages in between.
    if (late && !(this.#why === "wake" && this.#asked !== null)) return this.#ask("wake", now);
    if (this.#asked === null) return now - this.#heard >= this.#idleMs ? this.#ask("idle", now) : null;
    if (now - this.#asked < (this.#why === "wake" ? WAKE_ANSWER_MS : this.#answerMs) * factor) return null;
    if (this.#why !== "idle") return "dead";
    this.#ask("second", now);
    return "stale";
  }

  /**
   * Ask whether the line is alive: the page became visible, or the network changed.
   *
   * @param {number} now
   * @returns {"ping" | null} null if such a ping is under way
   */
  wake(now) {
    return this.#why === "wake" && this.#asked !== null ? null : this.#ask("wake", now);
  }

  /** @param {"idle" | "second" | "wake"} why @param {number} now @returns {"ping"} */
  #ask(why, now) {
    this.#why = why;
    this.#asked = now;
    return "ping";
  }
}
