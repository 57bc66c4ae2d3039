// Long tables come into the document some rows a frame, so that no frame takes long.

/** New rows of one frame. */
export const ROWS_A_FRAME = 8;

export class Growth {
  #room = 0;
  #key = "";

  /**
   * Return how many rows may be in the document with the next frame.
   * @param {number} count of all rows
   * @param {string} key of the table; another one begins again
   * @param {boolean} isThere whether the table is in the document
   */
  next(count, key, isThere) {
    const begins = !isThere || key !== this.#key;
    this.#key = key;
    this.#room = begins ? ROWS_A_FRAME : Math.min(Math.max(count, ROWS_A_FRAME), this.#room + ROWS_A_FRAME);
    return this.#room;
  }

  /** Whether so many rows are all in the document. @param {number} count */
  isWhole(count) {
    return this.#room >= count;
  }
}
