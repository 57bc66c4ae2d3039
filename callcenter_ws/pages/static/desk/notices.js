// The notifications of a user: which of them are read, and which were sent away. The gateway keeps those that no page has
// acknowledged; a notification is acknowledged when the user dismisses it. It knows no page.

/** Notifications that are kept; the oldest leave without being acknowledged, and come again with the next page. */
export const MAX_NOTICES = 50;
/** Dismissed ones that the gateway may send once more. */
const MAX_DISMISSED = 1_000;

/**
 * `isAway`: it waited while no desk of the user was connected.
 * @typedef {{id: string, title: string, message: string, severity: string, at: number, expires: number | null,
 *   isAway: boolean, isRead: boolean}} Notice
 */
/** @typedef {{type: "read" | "dismissed", ids: string[]} | {type: "hello"} | {type: "notices", notices: Notice[]}} Told */

export class Notices {
  /** Newest first. @type {Notice[]} */
  list = [];
  /** @type {Set<string>} */
  #dismissed = new Set();
  /** @type {Map<string, () => void>} */
  #acknowledge = new Map();
  #kept;
  #tell;

  /**
   * @param {import("./chats/kept.js").Kept} kept
   * @param {(message: Told) => void} tell tells the other tabs of the user
   */
  constructor(kept, tell) {
    this.#kept = kept;
    this.#tell = tell;
  }

  /** Take what an earlier page of this user has kept. Call it once the user is known. */
  load() {
    this.#dismissed = new Set(this.#kept.read("dismissed", /** @type {string[]} */ ([])));
    this.#merge(this.#kept.read("notices", /** @type {Notice[]} */ ([])));
    this.#tell({ type: "hello" });
  }

  get unread() {
    return this.list.filter(({ isRead }) => !isRead).length;
  }

  /**
   * Take a `notification`; return it if it is new.
   * @param {{id: string, timestamp: string, offline?: boolean, payload: any, acknowledge?: () => void}} event
   * @param {number} now
   */
  event({ id, timestamp, offline, payload, acknowledge }, now) {
    if (this.#dismissed.has(id)) {
      acknowledge?.();
      return null;
    }
    if (acknowledge) this.#acknowledge.set(id, acknowledge);
    if (this.list.some((one) => one.id === id)) return null;
    const { title, message, severity, expires_at: expires } = payload;
    /** @type {Notice} */
    const notice = { id, title, message, severity: severity ?? "", at: Date.parse(timestamp), expires: expires ? Date.parse(expires) : null, isAway: offline === true, isRead: false };
    if (notice.expires !== null && notice.expires <= now) return null;
    this.#merge([notice]);
    this.#save();
    return this.list.includes(notice) ? notice : null;
  }

  /** Take what another tab of this user tells. @param {Told} told */
  told(told) {
    if (told.type === "hello") this.#tell({ type: "notices", notices: this.list });
    else if (told.type === "notices") this.#merge(told.notices);
    else if (told.type === "read") this.#mark(told.ids);
    else this.#remove(told.ids);
    this.#save();
  }

  /** @param {string[]} ids */
  read(ids) {
    this.#mark(ids);
    this.#save();
    this.#tell({ type: "read", ids });
  }

  /** Show notifications no longer, and have the gateway forget them. @param {string[]} ids */
  dismiss(ids) {
    this.#remove(ids);
    this.#save();
    this.#tell({ type: "dismissed", ids });
  }

  /** Remove what has expired; return when the next one does, or null. @param {number} now */
  expire(now) {
    const left = this.list.filter(({ expires }) => expires === null || expires > now);
    if (left.length < this.list.length) {
      this.list = left;
      this.#save();
    }
    const next = Math.min(...left.map(({ expires }) => expires ?? Infinity));
    return next < Infinity ? next : null;
  }

  /** @param {string[]} ids */
  #mark(ids) {
    this.list = this.list.map((one) => (ids.includes(one.id) && !one.isRead ? { ...one, isRead: true } : one));
  }

  /** @param {string[]} ids */
  #remove(ids) {
    for (const id of ids) {
      this.#acknowledge.get(id)?.();
      this.#acknowledge.delete(id);
      this.#dismissed.add(id);
      if (this.#dismissed.size > MAX_DISMISSED) this.#dismissed.delete(/** @type {string} */ (this.#dismissed.values().next().value));
    }
    this.list = this.list.filter(({ id }) => !ids.includes(id));
  }

  /** @param {Notice[]} notices */
  #merge(notices) {
    const known = new Set([...this.#dismissed, ...this.list.map(({ id }) => id)]);
    const added = (Array.isArray(notices) ? notices : []).filter((one) => isNotice(one) && !known.has(one.id));
    if (!added.length) return;
    this.list = [...added, ...this.list].sort((one, other) => other.at - one.at).slice(0, MAX_NOTICES);
  }

  #save() {
    this.#kept.write("notices", this.list);
    this.#kept.write("dismissed", [...this.#dismissed]);
  }
}

/** @param {any} one */
const isNotice = (one) =>
  one !== null && typeof one === "object" && ["id", "title", "message", "severity"].every((name) => typeof one[name] === "string") && Number.isFinite(one.at) && (one.expires === null || Number.isFinite(one.expires));
