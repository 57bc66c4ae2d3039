// Which lines are in the document: those near the top, and of new ones a few in each frame, so that no frame takes long.

/** Lines that are in the document while it is not scrolled: more than a window shows. */
export const LEAST = 60;
/** New lines of one frame. */
export const STEP = 12;
const MORE = 40;

/** @typedef {import("./view.js").Line} Line */

export class LineWindow {
  /** @type {Set<number>} */
  #drawn = new Set();
  /** How many lines are wanted in the document. */
  most = LEAST;

  /**
   * Return the lines of the next frame, newest first; `isWhole`: no further frame is needed for the present ones.
   * @param {Line[]} shown all that the filters let through, newest first
   * @returns {{lines: Line[], isWhole: boolean}}
   */
  next(shown) {
    const fresh = shown.slice(0, this.most).filter(({ key }) => !this.#drawn.has(key));
    // The oldest come first: no line is put between two others.
    const added = new Set(fresh.slice(-STEP).map(({ key }) => key));
    const lines = shown.filter(({ key }) => this.#drawn.has(key) || added.has(key)).slice(0, this.most);
    this.#drawn = new Set(lines.map(({ key }) => key));
    return { lines, isWhole: fresh.length <= STEP };
  }

  /**
   * Note where the document is scrolled to; return whether other lines are wanted.
   * @param {number} above pixels above the window, and
   * @param {number} below pixels below it
   * @param {number} height of the window
   */
  scrolled(above, below, height) {
    const before = this.most;
    if (above <= 0) this.most = LEAST;
    else if (below < height) this.most += MORE;
    return this.most !== before;
  }
}
