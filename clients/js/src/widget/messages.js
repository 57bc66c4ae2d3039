/** The messages that are shown: those that are published, and then those that are not yet. */

/** @typedef {import("./storage.js").Shown} Shown */
/** @typedef {import("./storage.js").Unsent} Unsent */
/** @typedef {import("../../types/events.js").EventMessage<"chat.message">} ChatMessage */
/** @typedef {Shown & {state: "published" | "sending" | "failed"}} Line */

/** As many are kept for the next page of the tab. */
export const MAX_KEPT = 50;

/** @param {ChatMessage} message @returns {Shown} */
export function shownOf({ timestamp, payload }) {
  const { message_id, client_message_id, sender_type, sender_name, body } = payload;
  const id = String(message_id);
  return { id, key: String(client_message_id ?? id), from: sender_type, name: sender_name ?? null, body: String(body), at: Date.parse(timestamp) };
}

/**
 * Add published messages to those that are known from before.
 *
 * @param {readonly Shown[]} known
 * @param {readonly ChatMessage[]} messages those of the store, which has perhaps only the last ones
 * @returns {Shown[]} in their order: the store lacks older ones only
 */
export function joined(known, messages) {
  const ids = new Set(messages.map(({ payload }) => String(payload.message_id)));
  return [...known.filter(({ id }) => !ids.has(id)), ...messages.map(shownOf)];
}

/**
 * Return those that are not published.
 *
 * @param {readonly Unsent[]} unsent
 * @param {readonly ChatMessage[]} messages
 */
export function withoutPublished(unsent, messages) {
  const published = new Set(messages.map(({ payload }) => payload.client_message_id));
  return unsent.filter(({ id }) => !published.has(id));
}

/** @param {readonly Shown[]} log @param {readonly Unsent[]} unsent @returns {Line[]} */
export const linesOf = (log, unsent) => [
  ...log.map((one) => ({ ...one, state: /** @type {const} */ ("published") })),
  ...unsent.map(({ id, body, at, failed, isPublished }) => ({ id, key: id, from: "visitor", name: null, body, at, state: /** @type {Line["state"]} */ (isPublished ? "published" : failed ? "failed" : "sending") })),
];

/**
 * Return those that others have written after a message.
 *
 * @param {readonly Shown[]} log
 * @param {string | null} id of the last one that was read; all are new after one that is not known
 */
export const newAfter = (log, id) => log.slice(log.findIndex((one) => one.id === id) + 1).filter(({ from }) => from !== "visitor");

/** @param {string} text @returns {{text: string, href?: string}[]} pieces, those with `href` are addresses of the web */
export function piecesOf(text) {
  // What ends a sentence is not part of an address.
  return text.split(/(https?:\/\/[^\s<>"']*[^\s<>"'.,;:!?)\]}])/).map((piece, at) => (at % 2 ? { text: piece, href: piece } : { text: piece }));
}
