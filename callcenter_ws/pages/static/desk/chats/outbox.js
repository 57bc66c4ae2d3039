// Replies that are not known to be published: kept while the line is down and while the page is loaded again, and sent with
// the same id each time, so that each is published once.

/** How many characters a reply may have. The gateway refuses much longer ones by closing the connection. */
export const MAX_CHARACTERS = 16_000;
/** Replies that are kept of all chats. */
const MAX_UNSENT = 100;

/**
 * @typedef {object} Unsent
 * @property {string} id the `client_message_id`
 * @property {string} chat
 * @property {string} body
 * @property {number} at Unix milliseconds
 * @property {"sending" | "sent" | "failed"} state `sent`: accepted, and its event has not come yet
 * @property {string} code why it failed
 * @property {string} reason the gateway's words for it
 */
/** @typedef {(chat: string, body: string, options: {clientMessageId: string}) => Promise<unknown>} Send */
/** @typedef {import("./kept.js").Kept} Kept */

export class Outbox {
  /** Oldest first. @type {Unsent[]} */
  #unsent = [];
  /** The ids of replies whose answer this page waits for. @type {Set<string>} */
  #asked = new Set();
  #kept;
  #send;
  #changed;
  #newId;

  /**
   * @param {Kept} kept
   * @param {Send} send
   * @param {(failed: Unsent | null) => void} changed is called after each change, with the reply that failed
   * @param {() => string} [newId]
   */
  constructor(kept, send, changed, newId = () => crypto.randomUUID()) {
    this.#kept = kept;
    this.#send = send;
    this.#changed = changed;
    this.#newId = newId;
  }

  /** Take what an earlier page of this user has kept. Call it once the user is known. */
  load() {
    const stored = this.#kept.read("unsent", /** @type {Unsent[]} */ ([]));
    this.#unsent = (Array.isArray(stored) ? stored : []).filter(isUnsent).filter(({ state }) => state !== "sent").slice(-MAX_UNSENT);
    this.#asked.clear();
  }

  /** @param {string} chat @returns {Unsent[]} oldest first */
  of(chat) {
    return this.#unsent.filter((one) => one.chat === chat);
  }

  /** The chats that have replies here. */
  chats() {
    return new Set(this.#unsent.map(({ chat }) => chat));
  }

  /** Whether another reply can be kept. */
  get isFull() {
    return this.#unsent.length >= MAX_UNSENT;
  }

  /** Send a reply; it is kept until it is known to be published. @param {string} chat @param {string} body @param {number} at */
  add(chat, body, at) {
    /** @type {Unsent} */
    const unsent = { id: this.#newId(), chat, body, at, state: "sending", code: "", reason: "" };
    this.#unsent = [...this.#unsent, unsent];
    this.#save();
    this.#ask(unsent);
  }

  /** Send a failed reply again, with the same id. @param {string} id */
  retry(id) {
    const found = this.#unsent.find((one) => one.id === id);
    if (!found || found.state !== "failed") return;
    this.#replace(found, { state: "sending", code: "", reason: "" });
  }

  /** Give a reply up, and return its text. @param {string} id */
  discard(id) {
    const found = this.#unsent.find((one) => one.id === id);
    this.#forget((one) => one.id === id);
    return found?.body ?? "";
  }

  /** Give up what was for a chat that has left the desk, and return it. @param {string} chat */
  discardChat(chat) {
    const found = this.of(chat);
    this.#forget((one) => one.chat === chat);
    return found;
  }

  /**
   * Forget what the store shows as published, and send what an earlier page had begun to send.
   * @param {readonly import("../../staff/chats/model.js").Chat[]} chats those of the user, as they are now
   */
  compare(chats) {
    for (const { id: chat, messages } of chats) {
      const own = this.of(chat);
      if (!own.length) continue;
      const published = new Set(messages.map(({ payload }) => payload.client_message_id));
      this.#forget(({ id }) => own.some((one) => one.id === id) && published.has(id));
      for (const one of this.of(chat)) if (one.state === "sending") this.#ask(one);
    }
  }

  /** @param {Unsent} unsent */
  async #ask(unsent) {
    const { id, chat, body } = unsent;
    if (this.#asked.has(id)) return;
    this.#asked.add(id);
    try {
      await this.#send(chat, body, { clientMessageId: id });
      this.#asked.delete(id);
      this.#replace(unsent, { state: "sent" });
    } catch (error) {
      this.#asked.delete(id);
      const { code = "not_known", message } = /** @type {{code?: string, message: string}} */ (error);
      // The client was stopped because the user is signed out: the next page of this user sends it.
      if (code === "stopped") return;
      if (this.#unsent.some((one) => one.id === id)) this.#changed(this.#replace(unsent, { state: "failed", code, reason: message }));
    }
  }

  /** @param {Unsent} known @param {Partial<Unsent>} fields */
  #replace(known, fields) {
    const made = { ...known, ...fields };
    this.#unsent = this.#unsent.map((one) => (one.id === known.id ? made : one));
    this.#save();
    if (made.state === "sending") this.#ask(made);
    return made;
  }

  /** @param {(one: Unsent) => boolean} isGone */
  #forget(isGone) {
    const left = this.#unsent.filter((one) => !isGone(one));
    if (left.length === this.#unsent.length) return;
    this.#unsent = left;
    this.#save();
  }

  #save() {
    this.#kept.write("unsent", this.#unsent);
    this.#changed(null);
  }
}

/** @param {any} one */
const isUnsent = (one) =>
  one !== null && typeof one === "object" && ["id", "chat", "body", "state", "code", "reason"].every((name) => typeof one[name] === "string") && Number.isFinite(one.at);
