// Small parts that every page shows of a chat: its visitor, the visitor's address, and how it was begun.

import { text } from "../../texts.js";
import { html, nothing } from "../../vendor/lit-html/lit-html.js";
import { isAddress, isOffline } from "./model.js";

/** @typedef {import("./model.js").Chat} Chat */

/** @param {{visitor_name: string | null}} chat */
export const visitor = ({ visitor_name }) => visitor_name || text("chats.visitor");

/** @param {Chat} chat */
export const address = ({ visitor_email: given }) =>
  !given ? nothing : isAddress(given) ? html`<a href=${`mailto:${given}`}><bdi>${given}</bdi></a>` : html`<bdi>${given}</bdi>`;

/** @param {Chat} chat */
export const offlineBadge = (chat) => (isOffline(chat) ? html`<span class="badge offline">${text("chats.offline")}</span>` : nothing);

/** Say of a message that was left while no agent was there how it is answered. @param {Chat} chat */
export function offlineNote(chat) {
  if (!isOffline(chat)) return nothing;
  if (!chat.visitor_email) return html`<p class="note">${text("chats.offline.no_address")}</p>`;
  return html`<p class="note">${text("chats.offline.answer")} ${address(chat)}</p>`;
}
