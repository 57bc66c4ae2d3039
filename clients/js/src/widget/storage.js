/** What the site's storage holds for the widget. Where the browser allows none, it lasts as long as the page. */

/**
 * A message that is not known to be published.
 * @typedef {{id: string, body: string, at: number, offline?: boolean, isPublished?: boolean,
 *   failed?: boolean}} Unsent `id`: the `client_message_id`; `isPublished`: it is, but the state does not hold it yet
 */
/**
 * For all tabs of the site. `token`: that of an anonymous visitor; `read`: the last message
 * that was read; `rang`: the last one for which a sound was made; `offline`: the address to which an answer will come.
 * @typedef {{session: string | null, token: string | null, expires: number | null, started: boolean, ended: boolean,
 *   name: string, email: string, offline: string | null, read: string | null, rang: string | null, unsent: Unsent[]}} Kept
 */
/**
 * A message as it is shown. `key` stays the same when the message is published.
 * @typedef {{id: string, key: string, from: string, name: string | null, body: string, at: number}} Shown
 */
/** For one tab. @typedef {{isShown: boolean, draft: string, session: string | null, log: Shown[], agent: string | null}} OfTab */

/** @returns {Kept} */
export const nothingKept = () => ({
  session: null, token: null, expires: null, started: false, ended: false, name: "", email: "", offline: null, read: null, rang: null, unsent: [],
});

/** @returns {OfTab} */
export const nothingOfTab = () => ({ isShown: false, draft: "", session: null, log: [], agent: null });

/**
 * Return one entry of a storage, as an object.
 *
 * @template {object} T
 * @param {() => Storage} storage the access alone may be forbidden
 * @param {string} key
 * @param {() => T} initial also says which members are read, and of which types
 */
export function entryOf(storage, key, initial) {
  /** @type {string | null} */
  let present = null;
  return {
    key,
    /** @returns {T} */
    read() {
      try {
        present = storage().getItem(key);
      } catch {
        // What was written in this page, if anything was.
      }
      return merged(initial(), present);
    },
    /** @param {T} value */
    write(value) {
      present = JSON.stringify(value);
      try {
        storage().setItem(key, present);
      } catch {
        // Forbidden, or full.
      }
    },
  };
}

/** Take from a text those members that have the types of the initial ones. @template {object} T @param {T} value @param {string | null} text @returns {T} */
function merged(value, text) {
  try {
    const stored = JSON.parse(text ?? "{}");
    for (const [name, initial] of Object.entries(value)) {
      const found = stored[name];
      const fits = initial === null ? found !== undefined : typeof found === typeof initial && Array.isArray(found) === Array.isArray(initial);
      if (fits) /** @type {any} */ (value)[name] = found;
    }
  } catch {
    // Of another version, or damaged.
  }
  return value;
}
