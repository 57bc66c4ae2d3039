// The rows of the open chats: those that wait, the longest first, then those that agents have, then what was left for later.
import { isOffline, unansweredSince } from "../staff/chats/model.js";

/** A visitor who waits longer for an agent, or for an answer, is marked. */
export const LIMIT_MS = 120_000;

/** @typedef {import("../client.js").Chat} Chat */
/**
 * `isOver`: the visitor has waited for an agent for too long; `unanswered`: since when it has waited for an answer of its agent,
 * `isLate`: for too long; `last`: who wrote last.
 * @typedef {object} ChatRow
 * @property {string} key
 * @property {Chat} chat
 * @property {"waiting" | "assigned" | "later"} part
 * @property {boolean} isOver
 * @property {number | null} unanswered
 * @property {boolean} isLate
 * @property {{sender: string, name: string | null, at: number} | null} last
 * @property {boolean} [isGone]
 */

const ORDER = ["waiting", "assigned", "later"];

/** @param {Chat} chat @returns {ChatRow["part"]} */
const partOf = (chat) => (chat.state === "assigned" ? "assigned" : isOffline(chat) ? "later" : "waiting");

/** Whether a visitor has waited for an agent for too long. An offline message does not wait: its visitor has left. @param {Chat} chat @param {number} now */
export const isOver = (chat, now) => partOf(chat) === "waiting" && now - chat.since > LIMIT_MS;

/** @param {Chat} chat @returns {ChatRow["last"]} */
function lastOf({ messages }) {
  const last = messages[messages.length - 1];
  if (!last) return null;
  const { sender_type: sender, sender_name: name, sender_id: id } = last.payload;
  return { sender, name: name ?? (sender === "visitor" ? null : String(id)), at: Date.parse(last.timestamp) };
}

/** @param {Chat} chat @param {number} now @returns {ChatRow} */
export function chatRow(chat, now) {
  const part = partOf(chat);
  const unanswered = part === "assigned" && !isOffline(chat) ? unansweredSince(chat) : null;
  return { key: chat.id, chat, part, isOver: isOver(chat, now), unanswered, isLate: unanswered !== null && now - unanswered > LIMIT_MS, last: lastOf(chat) };
}

/** @param {string | null} one @param {string | null} other */
const between = (one, other) => ((one ?? "") < (other ?? "") ? -1 : Number((one ?? "") > (other ?? "")));

/** Return the rows in their order. @param {readonly Chat[]} chats @param {number} now */
export function chatRows(chats, now) {
  return chats.map((chat) => chatRow(chat, now)).sort(
    (one, other) =>
      ORDER.indexOf(one.part) - ORDER.indexOf(other.part) || between(one.chat.agent_name, other.chat.agent_name) || between(one.chat.agent_id, other.chat.agent_id) || one.chat.since - other.chat.since,
  );
}

/** Return the rows whose visitor, queue or agent has a text. @param {readonly ChatRow[]} rows @param {string} search */
export function found(rows, search) {
  const wanted = search.trim().toLowerCase();
  if (!wanted) return [...rows];
  return rows.filter(({ chat }) => [chat.visitor_name, chat.visitor_email, chat.queue, chat.agent_name, chat.agent_id].some((one) => one && one.toLowerCase().includes(wanted)));
}
