// The order of rows that stands still while a person points at them or acts on one: no row moves under the pointer.

/** @typedef {{key: string, isGone?: boolean}} Keyed */

/**
 * While it is held, rows stay where they are: one that would be left out stays with its last values and `isGone`, and new ones
 * come after all others.
 * @template {Keyed} Row
 */
export class HeldOrder {
  /** @type {Row[]} */
  #shown = [];

  /**
   * Return the rows in the order in which they are shown.
   * @param {Row[]} sorted those that are to be shown, in their order
   * @param {boolean} isHeld
   * @param {(key: string) => Row | undefined} [find] the present values of a row that is not among them
   * @returns {Row[]}
   */
  next(sorted, isHeld, find = () => undefined) {
    this.#shown = isHeld ? this.#kept(sorted, find) : sorted;
    return this.#shown;
  }

  /** @param {Row[]} sorted @param {(key: string) => Row | undefined} find */
  #kept(sorted, find) {
    const present = new Map(sorted.map((row) => [row.key, row]));
    const kept = this.#shown.map((row) => {
      const found = present.get(row.key);
      present.delete(row.key);
      return found ?? { ...(find(row.key) ?? row), isGone: true };
    });
    return [...kept, ...present.values()];
  }
}

/** How long a key, or a tap, holds the order. */
export const HOLD_MS = 15_000;

/** Whether a person acts on the rows of a table: the pointer is over them, or a key was pressed in them a moment ago. */
export class Attention {
  #isOver = false;
  #until = -Infinity;

  /** @param {boolean} isOver whether a mouse is over the rows */
  pointer(isOver) {
    this.#isOver = isOver;
  }

  /** Note that a key was pressed, or that the rows were touched. @param {number} now monotonic */
  touch(now) {
    this.#until = now + HOLD_MS;
  }

  /** Note that the person has left the rows. */
  leave() {
    this.#isOver = false;
    this.#until = -Infinity;
  }

  /** Note that the focus has left the rows; the pointer may be over them. */
  blur() {
    this.#until = -Infinity;
  }

  /** @param {number} now monotonic */
  isHeld(now) {
    return this.#isOver || now < this.#until;
  }
}
