// The section of the chats: the open ones as a table, and one of them in full.
import { text } from "../texts.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { offlineBadge, visitor } from "../staff/chats/shown.js";
import "../staff/chats/texts.js";
import { isDialogOpen } from "../staff/dialog.js";
import { count } from "../wallboard/format.js";
import { agentOf, lastWords, waitTime } from "./chat_cells.js";
import { ChatPanel } from "./chat_panel.js";
import { chatRow, chatRows, found, isOver } from "./chat_rows.js";
import { Attention, HeldOrder } from "./held.js";
import { hrefOf } from "./route.js";

/** @typedef {import("./chat_rows.js").ChatRow} ChatRow */
/** @typedef {import("./main.js").Context} Context */

/** Rows that are in the document; more are counted. */
const MAX_ROWS = 200;

export class ChatsSection {
  #context;
  #panel;
  #search = "";
  #order = /** @type {HeldOrder<ChatRow>} */ (new HeldOrder());
  #attention = new Attention();
  /** Whether the person has changed the filter: a screen reader then says how many chats were found. */
  #hasAsked = false;
  #announced = "";

  /** @param {Context} context */
  constructor(context) {
    this.#context = context;
    this.#panel = new ChatPanel(context);
  }

  /** Return how many chats have waited for too long. */
  badge() {
    const now = this.#context.shownNow();
    return this.#context.client.store.chats().filter((chat) => isOver(chat, now)).length;
  }

  /** @param {string | null} id of the chat that is shown in full */
  template(id) {
    const { client } = this.#context;
    const now = this.#context.shownNow();
    const all = chatRows(client.store.chats(), now);
    return html`
      <div class="split" ?data-detail=${id !== null}>
        <div class="list">${all.length ? this.#list(all, id, now) : this.#none()}</div>
        ${id === null ? nothing : this.#panel.template(id, client.store.chat(id))}
      </div>`;
  }

  /** What is done after the section was drawn. @param {string | null} id */
  drawn(id) {
    this.#panel.drawn(id);
  }

  /** Put the focus into the field for the text. */
  focusFilter() {
    /** @type {HTMLElement | null} */ (document.querySelector("#chats [data-filter=text]"))?.focus();
  }

  #none() {
    if (this.#context.client.status.as_of === null) return html`<p class="empty">${text("supervisor.loading")}</p>`;
    return html`<p class="empty">${text("supervisor.chats.none")}<span class="quiet">${text("supervisor.chats.none.hint")}</span></p>`;
  }

  /** @param {ChatRow[]} all @param {string | null} id @param {number} now */
  #list(all, id, now) {
    const sorted = found(all, this.#search);
    if (!document.querySelector("#chats .chats")) this.#attention.leave();
    const isHeld = this.#attention.isHeld(performance.now()) || isDialogOpen();
    const { store } = this.#context.client;
    const present = (/** @type {string} */ key) => {
      const chat = store.chat(key);
      return chat && chatRow(chat, now);
    };
    const rows = this.#order.next(sorted, isHeld, present);
    const of = (/** @type {ChatRow["part"]} */ part) => sorted.filter((row) => row.part === part).length;
    const summary = ["waiting", "assigned", "later"].map((part) => ({ part, n: of(/** @type {any} */ (part)) })).filter(({ n }) => n);
    const words = summary.map(({ part, n }) => text(`supervisor.chats.${part}`, { n })).join(", ");
    if (this.#hasAsked) this.#announced = words || text("supervisor.chats.no_match");
    this.#hasAsked = false;
    return html`
      <div class="filters"><label class="grows">${text("supervisor.chats.filter")}<input type="search" data-filter="text" autocomplete="off" .value=${this.#search} @input=${(/** @type {any} */ { target }) => this.#set(target.value)}></label></div>
      <p class="summary quiet"><span>${words}</span><span class="unseen" role="status">${this.#announced}</span>${isHeld ? html` <span class="held">${text("supervisor.held")}</span>` : nothing}</p>
      ${rows.length ? this.#table(rows.slice(0, MAX_ROWS), id) : html`<p class="empty">${text("supervisor.chats.no_match")}<button data-action="all" @click=${() => this.#set("")}>${text("supervisor.chats.all")}</button></p>`}
      ${rows.length > MAX_ROWS ? html`<p class="quiet">${text("supervisor.more", { n: rows.length - MAX_ROWS })}</p>` : nothing}`;
  }

  /** @param {string} search */
  #set(search) {
    this.#search = search;
    // What is asked for is shown, also while the pointer is on the rows.
    this.#attention.leave();
    this.#hasAsked = true;
    this.#context.draw();
  }

  // ---- The table ----

  /** @param {ChatRow[]} rows @param {string | null} id */
  #table(rows, id) {
    const lines = repeat(rows, ({ key }) => key, (row) => this.#row(row, id));
    return html`
      <table class="data found chats" @pointerover=${this.#pointer} @pointerleave=${this.#pointer} @focusout=${this.#focusout}
        @keydown=${() => this.#attention.touch(performance.now())} @touchstart=${{ handleEvent: () => this.#attention.touch(performance.now()), passive: true }}>
        <caption class="unseen">${text("supervisor.section.chats")}</caption>
        <thead><tr>
          <th scope="col" class="of-name">${text("supervisor.chat.visitor")}</th><th scope="col" class="wider">${text("supervisor.chat.address")}</th>
          <th scope="col" class="wide">${text("supervisor.chat.queue")}</th><th scope="col">${text("supervisor.chat.agent")}</th>
          <th scope="col" class="number">${text("supervisor.chat.since")}</th><th scope="col" class="number wide">${text("supervisor.chat.messages")}</th>
          <th scope="col" class="of-last">${text("supervisor.chat.last")}</th>
        </tr></thead>
        <tbody>${lines}</tbody>
      </table>`;
  }

  /** @param {ChatRow} row @param {string | null} id */
  #row(row, id) {
    const { chat, part, isGone } = row;
    return html`
      <tr data-key=${chat.id} data-part=${part} ?data-chosen=${chat.id === id} ?data-gone=${isGone}>
        <th scope="row" class="of-name"><div><a href=${hrefOf("chats", chat.id)} aria-current=${chat.id === id ? "true" : nothing}><bdi>${visitor(chat)}</bdi></a>${offlineBadge(chat)}</div></th>
        <td class="wider address">${chat.visitor_email ? html`<bdi>${chat.visitor_email}</bdi>` : nothing}</td>
        <td class="wide">${chat.queue === null ? nothing : html`<bdi>${chat.queue}</bdi>`}</td>
        <td>${agentOf(row)}</td>
        <td class="number time"><div>${waitTime(row)}</div></td>
        <td class="number wide">${count(chat.messages.length)}</td>
        <td class="of-last"><div>${lastWords(row)}</div></td>
      </tr>`;
  }

  // ---- Who acts ----

  /** @param {PointerEvent} event */
  #pointer = (event) => {
    if (event.pointerType === "touch") return;
    const wasHeld = this.#attention.isHeld(performance.now());
    this.#attention.pointer(event.type !== "pointerleave" && /** @type {Element} */ (event.target).closest("tbody") !== null);
    if (wasHeld !== this.#attention.isHeld(performance.now())) this.#context.draw();
  };

  /** @param {FocusEvent} event */
  #focusout = ({ relatedTarget }) => {
    if (!(relatedTarget instanceof Element) || !relatedTarget.closest("#chats tbody")) this.#attention.blur();
  };
}
