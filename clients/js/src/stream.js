/**
 * The order of a stream: where the client is in it, what is a duplicate, and why its state was rebuilt. It sends nothing.
 *
 * The promise: each event once, in order, or a report that the state was rebuilt or that messages were lost.
 */

/** @typedef {import("./types.js").Position} Position */
/** @typedef {Message & {seq: number, id: string}} Event */
/** @typedef {import("./types.js").Message} Message */
/** @typedef {import("./types.js").Rebuilt} Rebuilt */

/** As many ids of messages for this user are remembered, to recognize those that the mailbox sends again. */
const MAX_IDS = 2000;

export class Stream {
  /** The position after which to resume; null: a snapshot is needed. @type {Position | null} */
  position = null;
  /** Why the next snapshot is loaded. @type {Rebuilt} */
  #why = { reason: "start" };
  /** @type {Set<string>} */
  #ids = new Set();

  /**
   * Return what to do with an event: whether the store applies it, and whether it is reported to the page (`tell`). Then call
   * `done`.
   *
   * @param {Message} message
   * @returns {{apply: boolean, tell: boolean}}
   */
  event(message) {
    const { seq, id, user_id: user } = /** @type {Event} */ (message);
    if (message.offline || message.redelivered) return { apply: true, tell: !this.#ids.has(id) };
    // Without a position, the snapshot that comes contains the event.
    const isNew = this.position !== null && seq > this.position.seq;
    return { apply: isNew, tell: isNew && !(user !== undefined && this.#ids.has(id)) };
  }

  /** Note that an event was applied and reported. @param {Message} message */
  done(message) {
    const { seq, id, user_id: user, offline, redelivered } = /** @type {Event} */ (message);
    if (user !== undefined) this.#remember(id);
    // A message of the mailbox is older than the position, or the stream has yet to come to it.
    if (!offline && !redelivered && this.position && seq > this.position.seq) this.position = { ...this.position, seq };
  }

  /** Move to the end of a replay. @param {{epoch: string, to_seq: number}} payload */
  resumed({ epoch, to_seq: seq }) {
    // Another tab that leads now may have resumed behind this one, at a node that is behind.
    if (this.position) this.position = { epoch, seq: Math.max(seq, this.position.seq) };
  }

  /**
   * Move to a snapshot that the store has loaded, and return why it was needed.
   *
   * @param {Position} position
   * @returns {Rebuilt}
   */
  loaded({ epoch, seq }) {
    this.position = { epoch, seq };
    const why = this.#why;
    this.#why = { reason: "refresh" };
    return why;
  }

  /**
   * Wait for a snapshot: what the store holds is not complete.
   *
   * @param {Rebuilt} why
   */
  rebuild(why) {
    // A state that was never loaded is not rebuilt: `start` is reported, whatever happened before.
    if (this.#why.reason !== "start") this.#why = why;
    this.position = null;
  }

  /** @param {string} id */
  #remember(id) {
    this.#ids.add(id);
    if (this.#ids.size > MAX_IDS) this.#ids.delete(/** @type {string} */ (this.#ids.values().next().value));
  }
}
