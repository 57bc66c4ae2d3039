// The figures of the user's day, and the user's queues.

/** @param {HTMLElement} _root @param {import("./main.js").Context} _context */
export function mountFigures(_root, _context) {}
