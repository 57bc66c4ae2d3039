// What the table of the chats and the details of one both say of it.
import { isolated, text } from "../texts.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { clockTime, since } from "../staff/clock.js";
import { LIMIT_MS } from "./chat_rows.js";
import { written } from "./limits.js";
import { hrefOf } from "./route.js";

/** @typedef {import("./chat_rows.js").ChatRow} ChatRow */

/** A shape and words, beside the color. */
const overTag = () => html`<span class="tag over"><span class="mark" data-severity="1"></span>${text("supervisor.over")} <span class="unseen">${text("supervisor.over.label", { limit: written(LIMIT_MS / 1000) })}</span></span>`;

/** Who has a chat, or that it waits. @param {ChatRow} row */
export function agentOf({ chat, part }) {
  if (chat.agent_id !== null) return html`<a href=${hrefOf("agents", chat.agent_id)}><bdi>${chat.agent_name || chat.agent_id}</bdi></a>`;
  return part === "later" ? html`<span class="quiet">${text("supervisor.chat.no_agent")}</span>` : html`<strong class="waits">${text("supervisor.chat.waits")}</strong>`;
}

/** How long a chat has waited, or has been open. @param {ChatRow} row */
export const waitTime = ({ chat, part, isOver: marked }) => html`${since(chat.since, part === "waiting" ? LIMIT_MS : undefined)}${marked ? overTag() : nothing}`;

/** Who wrote last and when, and how long the visitor has waited for an answer. @param {ChatRow} row */
export function lastWords({ last, unanswered, isLate }) {
  if (last === null) return html`<span class="quiet">${text("supervisor.chat.silent")}</span>`;
  const name = last.sender === "visitor" ? text("chats.visitor") : last.name || text("chats.system");
  return html`<span class="who">${isolated(name)} <span class="quiet">${clockTime(last.at)}</span></span>${unanswered === null ? nothing : html`<span class="unanswered">${isLate ? html`<span class="mark" data-severity="1"></span>` : nothing}${text("supervisor.chat.unanswered")} ${since(unanswered, LIMIT_MS)}</span>`}`;
}
