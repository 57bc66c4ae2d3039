// The notifications of a user, with what waited while the user was away.

/** @param {HTMLElement} _root @param {import("./main.js").Context} _context */
export function mountNotifications(_root, _context) {}
