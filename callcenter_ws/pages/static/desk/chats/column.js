// One chat of the user: who it is with, its messages, and the field for a reply.

import { clockTime, since } from "../../staff/clock.js";
import { isolated, text } from "../../texts.js";
import { repeat } from "../../vendor/lit-html/directives/repeat.js";
import { html, nothing } from "../../vendor/lit-html/lit-html.js";
import { placed, unchanged } from "../../staff/chats/log_view.js";
import { stated } from "../../staff/chats/message.js";
import { isOffline, rowsOf, unreadIn } from "../../staff/chats/model.js";
import { address, offlineBadge, offlineNote, visitor } from "../../staff/chats/shown.js";
import { MAX_CHARACTERS } from "./outbox.js";

/** @typedef {import("../../staff/chats/model.js").Chat} Chat */
/** @typedef {import("./chats.js").Chats} Chats */

/** @param {Chats} chats @param {Chat} chat */
function head(chats, chat) {
  const name = isolated(visitor(chat));
  /** @param {string} command @param {string} words @param {string} label @param {() => void} run */
  const button = (command, words, label, run) =>
    chats.actions.can(command)
      ? html`<button class="small" data-command=${command} aria-label=${label} aria-disabled=${chats.actions.isUnderWay(command, chat.id) ? "true" : "false"} @click=${run}>${words}</button>`
      : nothing;
  const transfer = button("chat.transfer", text("chats.transfer"), text("chats.transfer.label", { name }), () => chats.transfer(chat));
  const close = button("chat.close", text("chats.close"), text("chats.close.label", { name }), () => chats.close(chat));
  return html`
    <header>
      <h3><bdi>${visitor(chat)}</bdi></h3>
      <div class="doing">${transfer}${close}</div>
      <p class="facts">
        ${offlineBadge(chat)}
        ${chat.queue === null ? nothing : html`<span class="badge"><span class="unseen">${text("ownqueues.queue")} </span><bdi>${chat.queue}</bdi></span>`}
        ${isOffline(chat) ? nothing : address(chat)}
        <span>${text("chats.since", { time: clockTime(chat.since) })} (${since(chat.since)})</span>
      </p>
    </header>
    ${offlineNote(chat)}`;
}

/** @param {Chats} chats @param {Chat} chat */
function log(chats, chat) {
  const unsent = chats.outbox.of(chat.id);
  const name = isolated(visitor(chat));
  const user = chats.client.identity?.user_id;
  const depends = [chat, chats.openedVersion, chats.isOnline(), user, ...unsent];
  const isAtEnd = chats.places.isAtEnd(chat.id);
  const newer = isAtEnd ? 0 : unreadIn(chat, chats.seen(chat.id), user);
  const shown = () => {
    const rows = rowsOf(chat, unsent, user);
    return rows.length ? repeat(stated(rows, chats.doing), ({ key }) => key, ({ template }) => template) : html`<p class="quiet">${text("chats.empty")}</p>`;
  };
  return html`
    <div class="frame">
      <div class="log" role="log" aria-relevant="additions" tabindex="0" aria-label=${text("chats.messages", { name })} @scroll=${(/** @type {Event} */ event) => chats.places.scrolled(chat.id, /** @type {HTMLElement} */ (event.target))} ${placed(chats.places, chat.id)}>${unchanged(depends, shown)}</div>
      ${isAtEnd ? nothing : html`<button class=${newer ? "newer main" : "newer"} @click=${() => chats.toEnd(chat.id)}>${newer ? text("chats.newer", { n: newer }) : text("chats.newest")}</button>`}
    </div>
    <p class="typing">${chats.typing.isTyping(chat.id) ? text("chats.typing", { name }) : nothing}</p>`;
}

/** @param {Chats} chats @param {Chat} chat */
function reply(chats, chat) {
  const draft = chats.drafts.of(chat.id);
  const over = draft.length - MAX_CHARACTERS;
  const problem = over > 0 ? text("chats.too_long", { n: over }) : chats.outbox.isFull ? text("chats.full") : "";
  const name = isolated(visitor(chat));
  const id = `reply-problem-${chats.numberOf(chat.id)}`;
  return html`
    <form class="reply" @submit=${(/** @type {Event} */ event) => chats.submit(event, chat)}>
      <textarea rows="2" dir="auto" .value=${draft} aria-label=${text("chats.reply", { name })} placeholder=${text("chats.reply.hint")} aria-describedby=${id} aria-invalid=${problem ? "true" : "false"}
        @input=${(/** @type {Event} */ event) => chats.typed(event, chat)} @keydown=${(/** @type {KeyboardEvent} */ event) => chats.pressed(event, chat)}></textarea>
      <button class="main" ?disabled=${!draft.trim() || problem !== ""}>${text("chats.send")}</button>
      <p class="problem-text" id=${id}>${problem}</p>
    </form>`;
}

/** @param {Chats} chats @param {Chat} chat */
export const column = (chats, chat) => html`
  <article class="chat" data-chat=${chat.id} ?data-active=${chats.columns.active === chat.id} aria-label=${text("chats.with", { name: isolated(visitor(chat)) })} @focusin=${() => chats.use(chat.id)}>
    ${head(chats, chat)}
    ${log(chats, chat)}
    ${reply(chats, chat)}
  </article>`;
