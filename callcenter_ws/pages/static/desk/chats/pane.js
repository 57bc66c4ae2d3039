// The chats of an agent, side by side.

/** @param {HTMLElement} _root @param {import("../main.js").Context} _context */
export function mountChats(_root, _context) {}
