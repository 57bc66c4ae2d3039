// The chats of the desk: those that wait, those that have left, and the user's own side by side.

import { clockTime, since } from "../../staff/clock.js";
import { hasText, isolated, text } from "../../texts.js";
import { repeat } from "../../vendor/lit-html/directives/repeat.js";
import { html, nothing } from "../../vendor/lit-html/lit-html.js";
import { unreadIn } from "../../staff/chats/model.js";
import { offlineBadge, visitor } from "../../staff/chats/shown.js";
import { column } from "./column.js";

/** Waiting chats that are shown at first: the own ones need the place. */
const FEW_WAITING = 3;
/** Those that are shown when all are asked for. */
const MAX_WAITING = 50;

/** @typedef {import("../../staff/chats/model.js").Chat} Chat */
/** @typedef {import("./chats.js").Chats} Chats */
/** @typedef {import("./departed.js").Departed} Departed */

/** @param {Chats} chats @param {Chat} chat */
function waitingChat(chats, chat) {
  const name = isolated(visitor(chat));
  const isAsked = chats.actions.isUnderWay("chat.accept", chat.id);
  const said = chat.messages[chat.messages.length - 1]?.payload.body ?? "";
  return html`
    <li>
      <span class="who"><strong><bdi>${visitor(chat)}</bdi></strong>
        ${offlineBadge(chat)}
        ${chat.queue === null ? nothing : html`<span class="badge"><bdi>${chat.queue}</bdi></span>`}</span>
      <span class="wait">${text("chats.waiting.for")} ${since(chat.since)}</span>
      <span class="said" dir="auto">${said}</span>
      ${chats.actions.can("chat.accept")
        ? html`<button class="small main" data-command="chat.accept" aria-label=${text("chats.accept.label", { name })} aria-disabled=${isAsked ? "true" : "false"} @click=${() => chats.accept(chat)}>${text("chats.accept")}</button>`
        : nothing}
    </li>`;
}

/** @param {Chats} chats */
function waiting(chats) {
  const { waiting: all } = chats;
  if (!all.length) return nothing;
  const shown = all.slice(0, chats.showsAllWaiting ? MAX_WAITING : FEW_WAITING);
  const more = all.length - shown.length;
  const words = chats.showsAllWaiting ? text("chats.waiting.fewer") : text("chats.waiting.more", { n: more });
  const hasMore = all.length > FEW_WAITING;
  const isOpen = chats.showsAllWaiting ? "true" : "false";
  const lines = repeat(shown, ({ id }) => id, (chat) => waitingChat(chats, chat));
  return html`
    <section class="waiting" aria-labelledby="chats-waiting">
      <header><h3 id="chats-waiting">${text("chats.waiting", { n: all.length })}</h3>${hasMore ? html`<button class="all" aria-expanded=${isOpen} @click=${() => chats.toggleWaiting()}>${words}</button>` : nothing}</header>
      <ul>${lines}</ul>
    </section>`;
}

/** Return what is said of a chat that has left. @param {Departed} departed */
export function departedWords({ name, why, by }) {
  const known = `chats.ended_by.${by}`;
  const who = why === "closed" && hasText(known) ? text(known) : by && isolated(by);
  return text(`chats.departed.${why}`, { name: isolated(name || text("chats.visitor")), by: who });
}

/** @param {Chats} chats @param {Departed} departed */
function departedChat(chats, departed) {
  const { id, at, texts } = departed;
  const typed = texts.map((one) => html`<blockquote dir="auto">${one}</blockquote>`);
  return html`
    <li class="departed" data-departed=${id} tabindex="-1">
      <p><time>${clockTime(at)}</time> ${departedWords(departed)}</p>
      ${texts.length
        ? html`<p class="quiet">${text("chats.departed.texts")}</p>${typed}
            <button class="small" data-action="copy" @click=${() => chats.copy(departed)}>${text(chats.copied === id ? "chats.departed.copied" : "chats.departed.copy")}</button>`
        : nothing}
      <button class="small" data-action="dismiss" @click=${() => chats.dismiss(id)}>${text("chats.departed.dismiss")}</button>
    </li>`;
}

/** @param {Chats} chats */
function departed(chats) {
  const lines = repeat(chats.departures.list, ({ id, at }) => `${id} ${at}`, (one) => departedChat(chats, one));
  return html`<ul class="departures" role="list">${lines}</ul>`;
}

/** @param {Chats} chats @param {Chat} chat */
function tab(chats, chat) {
  const unread = unreadIn(chat, chats.seen(chat.id), chats.client.identity?.user_id);
  const hasDraft = chats.drafts.of(chat.id) !== "";
  return html`
    <li><button class="tab" data-tab=${chat.id} ?data-unread=${unread} @click=${() => chats.choose(chat.id)}>
      <bdi>${visitor(chat)}</bdi>${hasDraft ? html`<span class="pen"><span class="unseen">, ${text("chats.tab.draft")}</span></span>` : nothing}${unread ? html`<span class="count">${unread}<span class="unseen"> ${text("chats.tab.unread", { n: unread })}</span></span>` : nothing}
    </button></li>`;
}

/** @param {Chats} chats */
function tabs(chats) {
  const others = chats.columns.others.map((id) => chats.own.get(id)).filter((chat) => chat !== undefined);
  if (!others.length) return nothing;
  const lines = repeat(others, ({ id }) => id, (chat) => tab(chats, chat));
  return html`<nav class="tabs" aria-label=${text("chats.more")}><ul>${lines}</ul></nav>`;
}

/** @param {Chats} chats */
function nothingYet(chats) {
  if (!chats.isLoaded) return text("chats.loading");
  return text(chats.waiting.length ? "chats.none.waiting" : "chats.none");
}

/** @param {Chats} chats */
export function view(chats) {
  const shown = chats.columns.shown.map((id) => chats.own.get(id)).filter((chat) => chat !== undefined);
  const columns = shown.length ? repeat(shown, ({ id }) => id, (chat) => column(chats, chat)) : html`<p class="quiet none">${nothingYet(chats)}</p>`;
  return html`
    <header class="chats-head"><h2 id="chats-title" tabindex="-1">${text("chats.title")}${chats.own.size ? html` <span class="count">${chats.own.size}</span>` : nothing}</h2>
      ${chats.isOnline() || !chats.isLoaded ? nothing : html`<p class="old-note">${text("chats.old")}</p>`}
    </header>
    ${waiting(chats)}
    ${departed(chats)}
    ${tabs(chats)}
    <div class="columns">${columns}</div>`;
}
