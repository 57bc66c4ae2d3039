// What a browser remembers for a page: settings of the machine, and what the user has typed. Never a token.

const PREFIX = "callcenter-ws.";

/** @param {() => globalThis.Storage} get @returns {globalThis.Storage | null} */
function storage(get) {
  try {
    return get();
  } catch {
    // Browsers refuse it in frames of other sites, and where their user has turned it off.
    return null;
  }
}

/** @param {() => globalThis.Storage} get */
const memory = (get) => ({
  /** Return what was kept under a name, or a default. @template T @param {string} name @param {T} otherwise @returns {T} */
  get(name, otherwise) {
    try {
      const text = storage(get)?.getItem(PREFIX + name);
      return text == null ? otherwise : JSON.parse(text);
    } catch {
      return otherwise;
    }
  },
  /** Keep a value under a name; null removes it. @param {string} name @param {unknown} value */
  set(name, value) {
    try {
      if (value === null) storage(get)?.removeItem(PREFIX + name);
      else storage(get)?.setItem(PREFIX + name, JSON.stringify(value));
    } catch {
      // It is full: what is kept is lost with the page.
    }
  },
});

/** What this machine remembers, for all its tabs: the theme, whether there is a sound, the extension used last. */
export const machine = memory(() => globalThis.localStorage);

/** What this tab remembers while it is loaded again: unsent texts. */
export const tab = memory(() => globalThis.sessionStorage);
