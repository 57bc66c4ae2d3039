// The chats of the agent's desk: what is shown, and what the agent does with them.

import { askToClose, chooseColleague } from "../../staff/chats/dialogs.js";
import { LogPlaces } from "../../staff/chats/log_view.js";
import { failure } from "../../staff/chats/message.js";
import { isOffline, lastOf, partChats, unanswered } from "../../staff/chats/model.js";
import { visitor } from "../../staff/chats/shown.js";
import { Typing } from "../../staff/chats/typing.js";
import { onceAFrame } from "../../staff/frame.js";
import { isolated, text } from "../../texts.js";
import { render } from "../../vendor/lit-html/lit-html.js";
import { Columns } from "./columns.js";
import { Departures, isDeparted } from "./departed.js";
import { Drafts } from "./drafts.js";
import { Kept } from "./kept.js";
import { tellNews } from "./news.js";
import { MAX_CHARACTERS, Outbox } from "./outbox.js";
import { followRoom } from "./room.js";
import { addShortcuts } from "./shortcuts.js";
import { departedWords, view } from "./view.js";

/** @typedef {import("../../staff/chats/model.js").Chat} Chat */
/** @typedef {import("./departed.js").Departed} Departed */
/** @typedef {import("../main.js").Context} Context */

/** Long messages that are remembered as opened. */
const MAX_OPENED = 200;

export class Chats {
  client;
  actions;
  columns = new Columns();
  departures = new Departures();
  /** The user's chats, by id. @type {Map<string, Chat>} */
  own = new Map();
  /** @type {Chat[]} */
  waiting = [];
  /** Whether the state of the call center is known. */
  isLoaded = false;
  /** The departed chat whose text was copied last. @type {string | null} */
  copied = null;
  openedVersion = 0;
  showsAllWaiting = false;
  #root;
  #context;
  #kept = new Kept();
  /** Long messages of which all is shown. @type {Set<string>} */
  #opened = new Set();
  /** By chat: the position of the last message that the user has seen. @type {Map<string, number>} */
  #seen = new Map();
  /** @type {Map<string, number>} */
  #numbers = new Map();
  #numbered = 0;
  /** Whose chats these are. */
  #user = "";
  /** The chat whose reply gets the focus when it is drawn. @type {string | null} */
  #focus = null;
  /** A chat that the user has accepted. @type {string | null} */
  #accepted = null;

  /** @param {HTMLElement} root @param {Context} context */
  constructor(root, context) {
    const { client, actions, keys, onActions } = context;
    this.client = client;
    this.actions = actions;
    this.#root = root;
    this.#context = context;
    this.draw = onceAFrame(() => this.#draw());
    this.drafts = new Drafts(this.#kept);
    this.outbox = new Outbox(this.#kept, (chat, body, options) => client.sendChat(chat, body, options), (failed) => this.#failed(failed));
    this.typing = new Typing((chat, isTyping) => client.sendTyping(chat, isTyping), this.draw);
    this.places = new LogPlaces(this.draw);
    this.doing = {
      retry: (/** @type {string} */ id) => this.outbox.retry(id),
      discard: (/** @type {string} */ id) => this.#discard(id),
      toggle: (/** @type {string} */ key) => this.#toggle(key),
      isOpened: (/** @type {string} */ key) => this.#opened.has(key),
      isOnline: () => this.isOnline(),
    };
    addShortcuts(this, keys);
    onActions(this.draw);
    client.on("event", (event) => this.#event(event));
    client.on("status", () => this.#look());
    client.on("rebuilt", () => this.#look());
    client.watch((store) => store.chats(), () => this.#look(), { equal: (one, other) => one.length === other.length && one.every((chat, at) => chat === other[at]) });
    document.addEventListener("visibilitychange", this.draw);
    followRoom(root, (fit) => this.columns.setFit(fit) && this.draw());
    this.draw();
  }

  // ---- What the templates ask ----

  isOnline() {
    return this.client.status.state === "live" || this.client.status.state === "catching_up";
  }

  /** @param {string} chat */
  seen(chat) {
    return this.#seen.get(chat) ?? 0;
  }

  /** Return a number for a chat, for ids in the document. @param {string} chat */
  numberOf(chat) {
    if (!this.#numbers.has(chat)) this.#numbers.set(chat, ++this.#numbered);
    return this.#numbers.get(chat);
  }

  // ---- What the user does ----

  /** @param {string} chat */
  use(chat) {
    if (this.columns.active === chat) return;
    this.columns.use(chat);
    this.draw();
  }

  /** Show a chat, with the focus in its reply. @param {string} chat */
  choose(chat) {
    this.columns.choose(chat);
    this.#focus = chat;
    this.draw();
  }

  /** @param {string} chat */
  toEnd(chat) {
    this.places.toEnd(chat);
    this.#focus = chat;
    this.draw();
  }

  /** @param {Event} event @param {Chat} chat */
  typed(event, chat) {
    const field = /** @type {HTMLTextAreaElement} */ (event.target);
    this.drafts.set(chat.id, field.value, visitor(chat));
    this.typing.typed(chat.id, !field.value.trim());
    this.draw();
  }

  /** @param {KeyboardEvent} event @param {Chat} chat */
  pressed(event, chat) {
    // While an input method composes a word, Enter chooses it; browsers without isComposing there send the code 229.
    if (event.key !== "Enter" || event.shiftKey || event.ctrlKey || event.altKey || event.metaKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    this.#send(chat);
  }

  /** @param {Event} event @param {Chat} chat */
  submit(event, chat) {
    event.preventDefault();
    this.#send(chat);
    this.#focus = chat.id;
  }

  /** @param {Chat} chat */
  #send({ id }) {
    const body = this.drafts.of(id);
    if (!body.trim() || body.length > MAX_CHARACTERS || this.outbox.isFull) return;
    this.drafts.take(id);
    // What was written and sent within one frame was never drawn, so that an empty field is nothing new to the template.
    const field = /** @type {HTMLTextAreaElement | null} */ (document.querySelector(`[data-chat="${CSS.escape(id)}"] textarea`));
    if (field) field.value = "";
    this.typing.stopped(id);
    this.outbox.add(id, body, this.client.now());
    this.places.toEnd(id);
    this.draw();
  }

  /** Give a failed reply up. @param {string} id */
  #discard(id) {
    this.outbox.discard(id);
    this.draw();
  }

  /** @param {string} key of a message */
  #toggle(key) {
    if (!this.#opened.delete(key)) this.#opened.add(key);
    // Messages that have left the page cannot be closed.
    if (this.#opened.size > MAX_OPENED) this.#opened.delete([...this.#opened][0]);
    this.openedVersion += 1;
    this.draw();
  }

  toggleWaiting() {
    this.showsAllWaiting = !this.showsAllWaiting;
    this.draw();
  }

  /** @param {Chat} chat */
  async accept(chat) {
    if (this.actions.isUnderWay("chat.accept", chat.id)) return;
    this.#accepted = chat.id;
    const label = text("chats.accept.command", { name: isolated(visitor(chat)) });
    const outcome = await this.actions.run("chat.accept", { session_id: chat.id }, label);
    if (outcome?.state !== "done" && this.#accepted === chat.id) this.#accepted = null;
    this.draw();
  }

  /** @param {Chat} chat */
  async transfer(chat) {
    if (this.actions.isUnderWay("chat.transfer", chat.id)) return;
    const agent = await chooseColleague(this.client, isolated(visitor(chat)), this.client.identity?.user_id);
    if (!agent || !this.own.has(chat.id)) return;
    const label = text("chats.transfer.command", { name: isolated(visitor(chat)), agent: isolated(agent.name) });
    await this.#leave(chat.id, "chat.transfer", { session_id: chat.id, to_agent_id: agent.id }, label);
  }

  /** @param {Chat} chat */
  async close(chat) {
    if (this.actions.isUnderWay("chat.close", chat.id)) return;
    const name = isolated(visitor(chat));
    const present = this.own.get(chat.id) ?? chat;
    const isUnsent = this.drafts.of(chat.id).trim() !== "" || this.outbox.of(chat.id).some(({ state }) => state !== "sent");
    const isUnanswered = unanswered(present) !== null && !isOffline(present);
    const words = [isUnanswered ? text("chats.close.unanswered") : "", isUnsent ? text("chats.close.unsent") : ""].filter(Boolean);
    if (words.length && !(await askToClose(name, words))) return;
    if (!this.own.has(chat.id)) return;
    await this.#leave(chat.id, "chat.close", { session_id: chat.id }, text("chats.close.command", { name }));
  }

  /** @param {string} chat @param {string} command @param {Record<string, unknown>} fields @param {string} label */
  async #leave(chat, command, fields, label) {
    this.departures.ask(chat);
    const outcome = await this.actions.run(command, fields, label);
    if (outcome?.state !== "done") this.departures.keep(chat);
    this.draw();
  }

  /** @param {Departed} departed */
  async copy({ id, texts }) {
    try {
      await navigator.clipboard.writeText(texts.join("\n\n"));
      this.copied = id;
    } catch {
      // The browser does not allow it: the text can be marked.
    }
    this.draw();
  }

  /** @param {string} chat */
  dismiss(chat) {
    this.departures.dismiss(chat);
    this.#kept.write("departed", this.departures.list);
    this.draw();
  }

  // ---- What happens ----

  /** @param {{type: string, payload: any, offline?: boolean}} event */
  #event(event) {
    const { type } = event;
    if (!type.startsWith("chat.")) return;
    this.departures.event(event, this.client.identity?.user_id);
    if (type === "chat.typing" || type === "chat.message") this.typing.event(event);
    tellNews(this, this.#context, event);
  }

  /** @param {import("./outbox.js").Unsent | null} failed */
  #failed(failed) {
    if (failed) {
      const name = isolated(this.own.get(failed.chat)?.visitor_name || text("chats.visitor"));
      this.#context.announce(text("chats.announced.failed", { name, reason: failure(failed) }));
    }
    this.draw();
  }

  /** Compare what is shown with the store. */
  #look() {
    const { identity, store } = this.client;
    this.draw();
    if (!identity || store.epoch === null) return;
    const user = JSON.stringify([identity.tenant_id, identity.user_id]);
    if (user !== this.#user) this.#load(identity, user);
    const { own, waiting } = partChats(store.chats(), identity.user_id);
    this.own = new Map(own.map((chat) => [chat.id, chat]));
    this.waiting = waiting;
    this.columns.update(own.map(({ id }) => id));
    this.outbox.compare(own);
    const left = this.departures.compare(own, this.client.now(), (id) => this.#takeTexts(id));
    if (left.length) {
      this.#kept.write("departed", this.departures.list);
      this.#context.announce(left.map(departedWords).join(" "));
    }
    for (const id of [...this.#numbers.keys()]) if (!this.own.has(id)) this.#numbers.delete(id);
    if (this.#accepted !== null && this.own.has(this.#accepted)) {
      this.choose(this.#accepted);
      this.#accepted = null;
    }
  }

  /** Take what an earlier page of this user has kept. @param {{tenant_id: string, user_id: string}} identity @param {string} user */
  #load(identity, user) {
    this.#user = user;
    this.#kept.setUser(identity);
    this.drafts.load();
    this.outbox.load();
    this.#seen = new Map(Object.entries(this.#kept.read("seen", /** @type {{[chat: string]: number}} */ ({}))));
    const names = this.drafts.names();
    for (const chat of this.outbox.chats()) if (!names.has(chat)) names.set(chat, "");
    this.departures.load(this.#kept.read("departed", /** @type {unknown[]} */ ([])).filter(isDeparted), names);
    this.isLoaded = true;
  }

  /** Give up what the user had typed for a chat that has left, and return it. @param {string} chat */
  #takeTexts(chat) {
    const unsent = this.outbox.discardChat(chat).filter(({ state }) => state !== "sent");
    return [...unsent.map(({ body }) => body), this.drafts.take(chat)].filter((one) => one.trim());
  }

  /** Note which messages the user sees now. */
  #see() {
    if (document.hidden) return;
    let changed = false;
    for (const id of this.columns.shown) {
      const last = lastOf(/** @type {Chat} */ (this.own.get(id)));
      if (!this.places.isAtEnd(id) || last <= this.seen(id)) continue;
      this.#seen.set(id, last);
      changed = true;
    }
    for (const id of [...this.#seen.keys()]) if (!this.own.has(id)) changed = this.#seen.delete(id);
    if (changed) this.#kept.write("seen", Object.fromEntries(this.#seen));
  }

  #draw() {
    if (this.isLoaded) this.#see();
    const had = this.#root.contains(document.activeElement);
    render(view(this), this.#root);
    this.places.settle(new Set(this.own.keys()));
    if (this.#focus !== null) this.#find(this.#focus, "textarea")?.focus();
    // What had the focus has left: the sentence about it, or the title, has it then.
    else if (had && !this.#root.contains(document.activeElement)) this.#rescueFocus();
    this.#focus = null;
  }

  #rescueFocus() {
    if (document.activeElement !== document.body) return;
    const target = this.#root.querySelector(".departed") ?? this.#root.querySelector("h2");
    /** @type {HTMLElement | null} */ (target)?.focus();
  }

  /** @param {string} chat @param {string} selector @returns {HTMLElement | null} */
  #find(chat, selector) {
    return this.#root.querySelector(`[data-chat="${CSS.escape(chat)}"] ${selector}`);
  }
}
