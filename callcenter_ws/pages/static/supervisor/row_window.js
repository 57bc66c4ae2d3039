// Which rows of a long table are in the document: those near the window of the browser, and the row that has the focus.

/** Rows above and below the window. */
export const SPARE = 8;
/** New rows of one frame, so that no frame takes long. */
export const STEP = 14;

/** A row, or a gap of so many rows. @typedef {{at: number} | {gap: number, before: number}} Part */

export class RowWindow {
  /** @type {Set<string>} */
  #drawn = new Set();

  /**
   * Return the parts of the next frame, from the top; `isWhole`: no further frame is needed for the present rows.
   * @param {readonly string[]} keys of all rows
   * @param {{top: number, height: number, rowHeight: number, focused?: string | null}} view `top`: how far the first row is
   *   above the window
   * @returns {{parts: Part[], isWhole: boolean}}
   */
  next(keys, { top, height, rowHeight, focused = null }) {
    const first = Math.max(0, Math.min(keys.length - 1, Math.floor(top / rowHeight)) - SPARE);
    const last = Math.min(keys.length, Math.ceil((top + height) / rowHeight) + SPARE);
    const wanted = [];
    for (let at = first; at < last; at += 1) wanted.push(at);
    const focusedAt = focused === null ? -1 : keys.indexOf(focused);
    if (focusedAt >= 0 && focusedAt < first) wanted.unshift(focusedAt);
    else if (focusedAt >= last) wanted.push(focusedAt);
    const fresh = wanted.filter((at) => !this.#drawn.has(keys[at]));
    const left = new Set(fresh.slice(STEP));
    const shown = wanted.filter((at) => !left.has(at));
    this.#drawn = new Set(shown.map((at) => keys[at]));
    return { parts: parts(shown, keys.length), isWhole: !left.size };
  }
}

/** @param {number[]} shown @param {number} count @returns {Part[]} */
function parts(shown, count) {
  /** @type {Part[]} */
  const found = [];
  let next = 0;
  for (const at of shown) {
    if (at > next) found.push({ gap: at - next, before: at });
    found.push({ at });
    next = at + 1;
  }
  if (count > next) found.push({ gap: count - next, before: count });
  return found;
}
