// What the user has typed and not sent, by chat.

/** @typedef {{text: string, name: string}} Draft `name`: the visitor's, for the case that the chat is gone when the page is loaded again */

export class Drafts {
  /** @type {Map<string, Draft>} */
  #drafts = new Map();
  #kept;

  /** @param {import("./kept.js").Kept} kept */
  constructor(kept) {
    this.#kept = kept;
  }

  /** Take what an earlier page of this user has kept. Call it once the user is known. */
  load() {
    const stored = Object.entries(this.#kept.read("drafts", /** @type {{[chat: string]: any}} */ ({})));
    const valid = stored.filter(([, one]) => typeof one?.text === "string" && typeof one?.name === "string");
    this.#drafts = new Map([...valid, ...this.#drafts]);
  }

  /** @param {string} chat */
  of(chat) {
    return this.#drafts.get(chat)?.text ?? "";
  }

  /** @param {string} chat @param {string} text @param {string} name */
  set(chat, text, name) {
    if (text) this.#drafts.set(chat, { text, name });
    else this.#drafts.delete(chat);
    this.#kept.write("drafts", Object.fromEntries(this.#drafts));
  }

  /** Give a draft up, and return it. @param {string} chat */
  take(chat) {
    const text = this.of(chat);
    if (text) this.set(chat, "", "");
    return text;
  }

  /** The visitors' names by chat, of the chats that have a draft. @returns {Map<string, string>} */
  names() {
    return new Map([...this.#drafts].map(([chat, { name }]) => [chat, name]));
  }
}
