// Which chats are shown side by side, and which ones as tabs. It knows no page.

export class Columns {
  /** The chats that are shown, from left to right. @type {string[]} */
  #shown = [];
  /** The other ones, in their order. @type {string[]} */
  #others = [];
  /** When each chat was chosen or used last, as a count. @type {Map<string, number>} */
  #used = new Map();
  #count = 0;
  #fit = 1;
  /** The chat that the user works in. @type {string | null} */
  active = null;

  get shown() {
    return this.#shown;
  }

  get others() {
    return this.#others;
  }

  /** All, in the order in which the user goes through them. */
  get all() {
    return [...this.#shown, ...this.#others];
  }

  /** Set how many columns fit; return whether that is another number. @param {number} fit */
  setFit(fit) {
    const whole = Math.max(1, Math.floor(fit));
    if (whole === this.#fit) return false;
    this.#fit = whole;
    this.#arrange();
    return true;
  }

  /** Take the chats that the user handles now, oldest first. @param {readonly string[]} chats */
  update(chats) {
    const present = new Set(chats);
    const known = this.all.filter((id) => present.has(id));
    const added = chats.filter((id) => !known.includes(id));
    this.#shown = this.#shown.filter((id) => present.has(id));
    this.#others = [...this.#others.filter((id) => present.has(id)), ...added];
    for (const id of [...this.#used.keys()]) if (!present.has(id)) this.#used.delete(id);
    if (this.active !== null && !present.has(this.active)) this.active = null;
    this.#arrange();
  }

  /** Note that the user works in a chat. @param {string} id */
  use(id) {
    if (!this.all.includes(id)) return;
    this.active = id;
    this.#used.set(id, ++this.#count);
  }

  /** Show a chat, in place of the one that was not used for longest. @param {string} id */
  choose(id) {
    if (this.#others.includes(id)) {
      const [oldest] = [...this.#shown].sort((one, other) => this.#usedAt(one) - this.#usedAt(other));
      this.#others = this.#others.map((other) => (other === id ? oldest : other)).filter((other) => other !== undefined);
      this.#shown = oldest === undefined ? [id] : this.#shown.map((one) => (one === oldest ? id : one));
    }
    this.use(id);
  }

  /** Return the next chat of all, or the one before; null without any. @param {1 | -1} step @returns {string | null} */
  next(step) {
    const { all } = this;
    if (!all.length) return null;
    const at = this.active === null ? -1 : all.indexOf(this.active);
    return all[at < 0 ? (step > 0 ? 0 : all.length - 1) : (at + step + all.length) % all.length];
  }

  /** @param {string} id */
  #usedAt(id) {
    return this.#used.get(id) ?? 0;
  }

  #arrange() {
    while (this.#shown.length < this.#fit && this.#others.length) this.#shown.push(/** @type {string} */ (this.#others.shift()));
    while (this.#shown.length > this.#fit) {
      // The least used one leaves, and not the one that the user works in.
      const free = this.#shown.filter((id) => id !== this.active);
      const least = Math.min(...free.map((id) => this.#usedAt(id)));
      const leaving = free.filter((id) => this.#usedAt(id) === least).pop();
      this.#shown = this.#shown.filter((id) => id !== leaving);
      this.#others.unshift(/** @type {string} */ (leaving));
    }
  }
}
