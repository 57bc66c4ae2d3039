// What the desk shows of chats, made from the store's views and from what was not sent yet. It knows no page.

/** @typedef {import("../../client.js").Chat} Chat */
/** @typedef {import("../../client.js").EventMessage<"chat.message">} ChatMessage */
/** @typedef {import("../../desk/chats/outbox.js").Unsent} Unsent */

/**
 * One message as it is shown. `state` is that of the user's own messages to the visitor, else null.
 * @typedef {object} Row
 * @property {string} key the same while a reply becomes a message, so that its element stays
 * @property {"visitor" | "own" | "colleague" | "system"} sender
 * @property {string} name
 * @property {string} body
 * @property {number} at Unix milliseconds
 * @property {boolean} isPrivate
 * @property {boolean} isFirst whether it is the first of several from one sender
 * @property {"sending" | "sent" | "delivered" | "failed" | null} state
 * @property {Unsent | null} unsent
 */

/** Whether a visitor began the session while no agent was there. @param {Chat} chat */
export const isOffline = ({ status }) => status === "offline_message";
/** A message after such a pause begins with its sender again. */
const PAUSE_MS = 300_000;

/**
 * Part the chats that the user handles from those that wait, the longest waiting first.
 * @param {readonly Chat[]} chats
 * @param {string | undefined} user
 */
export function partChats(chats, user) {
  const waiting = chats.filter(({ state }) => state === "waiting").sort((one, other) => one.since - other.since);
  return { own: user === undefined ? [] : chats.filter(({ agent_id }) => agent_id === user), waiting };
}

/** @param {ChatMessage} message @param {string | undefined} user @returns {Row["sender"]} */
function senderOf({ payload: { sender_type, sender_id } }, user) {
  if (sender_type === "visitor") return "visitor";
  if (sender_type === "agent") return sender_id === user ? "own" : "colleague";
  return "system";
}

/**
 * Return the index of the last message that the visitor's page has received, -1 if none of them is known to be.
 * @param {Chat} chat
 */
export function deliveredUpTo({ messages, delivered }) {
  for (let at = messages.length - 1; delivered != null && at >= 0; at -= 1) {
    if (messages[at].payload.message_id === delivered) return at;
  }
  return -1;
}

/**
 * Return what a chat shows, oldest first: its messages, then what was not sent.
 * @param {Chat} chat
 * @param {readonly Unsent[]} unsent of this chat, oldest first
 * @param {string | undefined} user
 * @returns {Row[]}
 */
export function rowsOf(chat, unsent, user) {
  const delivered = deliveredUpTo(chat);
  const known = new Set(chat.messages.map(({ payload }) => payload.client_message_id));
  const sent = chat.messages.map((message, at) => {
    const { payload } = message;
    const sender = senderOf(message, user);
    const isReply = sender === "own" && payload.private !== true;
    return {
      key: sender === "own" ? String(payload.client_message_id ?? payload.message_id) : `m:${payload.message_id}`,
      sender,
      name: payload.sender_name ?? (sender === "visitor" ? (chat.visitor_name ?? "") : String(payload.sender_id)),
      body: payload.body,
      at: Date.parse(message.timestamp),
      isPrivate: payload.private === true,
      isFirst: true,
      state: /** @type {Row["state"]} */ (!isReply ? null : at <= delivered ? "delivered" : "sent"),
      unsent: /** @type {Unsent | null} */ (null),
    };
  });
  const rows = unsent.filter(({ id }) => !known.has(id)).map((one) => ({
    key: one.id, sender: /** @type {const} */ ("own"), name: "", body: one.body, at: one.at, isPrivate: false, isFirst: true,
    state: one.state, unsent: one,
  }));
  return grouped([...sent, ...rows]);
}

/** @param {Row[]} rows @returns {Row[]} */
function grouped(rows) {
  for (let at = 1; at < rows.length; at += 1) {
    const [one, other] = [rows[at - 1], rows[at]];
    const isSame = one.sender === other.sender && one.isPrivate === other.isPrivate && (one.name === other.name || one.sender === "own");
    other.isFirst = !isSame || other.at - one.at > PAUSE_MS;
  }
  return rows;
}

/** Return the visitor's last message that no one has answered; null if there is none. @param {Chat} chat */
export function unanswered({ messages }) {
  const said = messages.filter(({ payload }) => payload.private !== true && payload.sender_type !== "system");
  const last = said[said.length - 1];
  return last?.payload.sender_type === "visitor" ? last : null;
}

/**
 * Return since when the visitor has waited for an answer: its first message after the last one of others; null if it waits for none.
 * @param {Chat} chat
 * @returns {number | null} Unix ms
 */
export function unansweredSince({ messages }) {
  let first = null;
  for (let at = messages.length - 1; at >= 0; at -= 1) {
    const { payload, timestamp } = messages[at];
    if (payload.private === true || payload.sender_type === "system") continue;
    if (payload.sender_type !== "visitor") break;
    first = timestamp;
  }
  return first === null ? null : Date.parse(first);
}

/**
 * Return how many messages of others came after the last one that the user has seen.
 * @param {Chat} chat
 * @param {number} seen the position of that message
 * @param {string | undefined} user
 */
export function unreadIn({ messages }, seen, user) {
  let found = 0;
  for (let at = messages.length - 1; at >= 0 && messages[at].seq > seen; at -= 1) {
    if (senderOf(messages[at], user) !== "own") found += 1;
  }
  return found;
}

/** Return the position of the last message of a chat; 0 if there is none. @param {Chat} chat */
export const lastOf = ({ messages }) => messages[messages.length - 1]?.seq ?? 0;

const ADDRESS = /^[^\s@<>"',;:?&%]+@[^\s@<>"',;:?&%]+\.[^\s@<>"',;:?&%]+$/;

/** Whether an e-mail address can be put into a link. @param {string | null | undefined} given */
export const isAddress = (given) => given != null && given.length <= 254 && ADDRESS.test(given);
