// Which section is shown, and of it which queue, agent, chat or call: what the fragment of the address says.

export const SECTIONS = /** @type {const} */ (["queues", "agents", "chats", "today", "alerts", "sources", "live", "search"]);

/** @typedef {(typeof SECTIONS)[number]} SectionName */
/** @typedef {{section: SectionName, item: string | null}} Route */

/** @param {string} fragment like `#queues/sales` @returns {Route} */
export function routeOf(fragment) {
  const [name, ...rest] = fragment.replace(/^#/, "").split("?")[0].split("/");
  const section = SECTIONS.find((one) => one === name) ?? SECTIONS[0];
  return { section, item: decoded(rest.join("/")) || null };
}

/** @param {string} text */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** @param {SectionName} section @param {string} [item] */
export const hrefOf = (section, item) => `#${section}${item === undefined ? "" : `/${encodeURIComponent(item)}`}`;
