// One chat in full: its visitor, who has it, what was written, and what a supervisor can do with it.
import { isolated, text } from "../texts.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { askToClose, chooseColleague } from "../staff/chats/dialogs.js";
import { LogPlaces, placed, unchanged } from "../staff/chats/log_view.js";
import { stated } from "../staff/chats/message.js";
import { isOffline, rowsOf, unanswered } from "../staff/chats/model.js";
import { address, offlineBadge, offlineNote, visitor } from "../staff/chats/shown.js";
import { Typing } from "../staff/chats/typing.js";
import { clockTime } from "../staff/clock.js";
import { count } from "../wallboard/format.js";
import { agentOf, lastWords, waitTime } from "./chat_cells.js";
import { chatRow } from "./chat_rows.js";
import { hrefOf } from "./route.js";
import { fact, named } from "./shown.js";

/** @typedef {import("../client.js").Chat} Chat */
/** @typedef {import("./main.js").Context} Context */

export class ChatPanel {
  #context;
  #places;
  /** The chat as it was last: it stays readable when it has ended. @type {Chat | null} */
  #last = null;
  /** Long messages of which all is shown. @type {Set<string>} */
  #opened = new Set();
  #openedVersion = 0;
  /** Of visitors and of agents. @type {Typing[]} */
  #typing;
  #doing;

  /** @param {Context} context */
  constructor(context) {
    this.#context = context;
    this.#places = new LogPlaces(context.draw);
    this.#typing = /** @type {const} */ (["visitor", "agent"]).map((sender) => new Typing(() => {}, context.soon, { sender }));
    context.client.on("event", (event) => {
      if (event.type === "chat.typing" || event.type === "chat.message") for (const typing of this.#typing) typing.event(event);
    });
    this.#doing = {
      retry: () => {},
      discard: () => {},
      toggle: (/** @type {string} */ key) => this.#toggle(key),
      isOpened: (/** @type {string} */ key) => this.#opened.has(key),
      isOnline: () => true,
    };
  }

  /** @param {string} id @param {Chat | undefined} present */
  template(id, present) {
    if (this.#last?.id !== id) this.#opened.clear();
    const chat = (this.#last = present ?? (this.#last?.id === id ? this.#last : null));
    return html`
      <aside class="detail" aria-labelledby="detail-title">
        <header><h2 id="detail-title" tabindex="-1">${chat ? html`<bdi>${visitor(chat)}</bdi>` : text("supervisor.chat.title")}</h2><a class="button small" data-action="back" href=${hrefOf("chats")}>${text("supervisor.detail.close")}</a></header>
        ${present ? nothing : html`<p class="note" data-note="gone" role="status">${text(chat ? "supervisor.chat.ended" : "supervisor.chat.gone")}</p>`}
        ${chat ? html`${present ? this.#buttons(chat) : nothing}${this.#facts(chat, present !== undefined)}${this.#log(chat, present !== undefined)}` : nothing}
      </aside>`;
  }

  /** Keep the newest message in view. @param {string | null} id */
  drawn(id) {
    this.#places.settle(new Set(id === null ? [] : [id]));
  }

  /** @param {Chat} chat */
  #buttons(chat) {
    const { actions } = this.#context;
    const name = isolated(visitor(chat));
    const fields = { session_id: chat.id };
    const transfer = actions.button("chat.transfer", fields, { label: named("supervisor.chat.transfer", name), run: () => void this.#transfer(chat) });
    const close = actions.button("chat.close", fields, { label: named("supervisor.chat.close", name), className: "danger", run: () => void this.#close(chat) });
    return html`<div class="buttons">${transfer}${close}</div>`;
  }

  /** @param {Chat} chat @param {boolean} isOpen */
  #facts(chat, isOpen) {
    const found = chatRow(chat, this.#context.shownNow());
    // No one waits any more in a chat that has ended.
    const row = isOpen ? found : { ...found, unanswered: null };
    return html`
      ${isOffline(chat) ? html`<p>${offlineBadge(chat)}</p>${offlineNote(chat)}` : nothing}
      <dl class="facts">
        ${fact(text("supervisor.chat.agent"), agentOf(row), "agent")}
        ${fact(text(row.part === "waiting" ? "supervisor.chat.waits_for" : "supervisor.chat.since"), html`<span class="tags">${isOpen ? waitTime(row) : nothing} <span class="quiet">${text("chats.since", { time: clockTime(chat.since) })}</span></span>`)}
        ${chat.queue === null ? nothing : fact(text("supervisor.chat.queue"), html`<a href=${hrefOf("queues", chat.queue)}><bdi>${chat.queue}</bdi></a>`)}
        ${chat.visitor_email ? fact(text("supervisor.chat.address"), address(chat), "address") : nothing}
        ${fact(text("supervisor.chat.messages"), count(chat.messages.length))}
        ${fact(text("supervisor.chat.last"), html`<span class="of-last">${lastWords(row)}</span>`, "last")}
      </dl>`;
  }

  /** @param {Chat} chat @param {boolean} isOpen */
  #log(chat, isOpen) {
    const name = isolated(visitor(chat));
    const user = this.#context.client.identity?.user_id;
    const shown = () => {
      const rows = rowsOf(chat, [], user);
      return rows.length ? repeat(stated(rows, this.#doing), ({ key }) => key, ({ template }) => template) : html`<p class="quiet">${text("chats.empty")}</p>`;
    };
    const scrolled = (/** @type {Event} */ event) => this.#places.scrolled(chat.id, /** @type {HTMLElement} */ (event.target));
    return html`
      <div class="chat watched" data-chat=${chat.id}>
        <div class="frame">
          <div class="log" role="log" aria-relevant="additions" tabindex="0" aria-label=${text("chats.messages", { name })} @scroll=${scrolled} ${placed(this.#places, chat.id)}>${unchanged([chat, this.#openedVersion, user], shown)}</div>
          ${this.#places.isAtEnd(chat.id) ? nothing : html`<button class="newer" @click=${() => this.#places.toEnd(chat.id)}>${text("chats.newest")}</button>`}
        </div>
        <p class="typing">${isOpen ? this.#typist(chat) : nothing}</p>
      </div>`;
  }

  /** Return who is typing. @param {Chat} chat */
  #typist(chat) {
    const [visitors, agents] = this.#typing;
    if (visitors.isTyping(chat.id)) return text("chats.typing", { name: isolated(visitor(chat)) });
    return agents.isTyping(chat.id) && chat.agent_id !== null ? text("chats.typing", { name: isolated(chat.agent_name || chat.agent_id) }) : nothing;
  }

  /** @param {string} key of a message */
  #toggle(key) {
    if (!this.#opened.delete(key)) this.#opened.add(key);
    this.#openedVersion += 1;
    this.#context.draw();
  }

  // ---- What the supervisor does ----

  /** @param {Chat} chat */
  async #transfer(chat) {
    const { actions, client } = this.#context;
    const name = isolated(visitor(chat));
    const agent = await chooseColleague(client, name, chat.agent_id);
    if (!agent || !client.store.chat(chat.id)) return;
    await actions.run("chat.transfer", { session_id: chat.id, to_agent_id: agent.id }, text("chats.transfer.command", { name, agent: isolated(agent.name) }));
  }

  /** @param {Chat} chat */
  async #close(chat) {
    const { actions, client } = this.#context;
    const name = isolated(visitor(chat));
    const agent = chat.agent_id === null ? "" : isolated(chat.agent_name || chat.agent_id);
    const words = [text("supervisor.chat.close.sure", { agent }), unanswered(chat) ? text("chats.close.unanswered") : ""].filter(Boolean);
    if ((await askToClose(name, words)) && client.store.chat(chat.id)) await actions.run("chat.close", { session_id: chat.id }, text("chats.close.command", { name }));
  }
}
