// Who is typing: visitors, or others, for some seconds after the last notice, and the user, who is reported while writing.

/** A notice that typing has ended may have been lost: it ends by itself. */
export const SHOWN_MS = 6_000;
/** While the user goes on typing, that is reported again after this time. */
const AGAIN_MS = 3_000;
/** Without a key for this time, the user has stopped. */
const IDLE_MS = 4_000;

/** @typedef {{setTimeout: (callback: () => void, ms: number) => any, clearTimeout: (timer: any) => void, now: () => number}} Timers */

const BROWSER = {
  setTimeout: (/** @type {() => void} */ callback, /** @type {number} */ ms) => setTimeout(callback, ms),
  clearTimeout: (/** @type {any} */ timer) => clearTimeout(timer),
  now: () => performance.now(),
};

export class Typing {
  /** By chat: the timer that ends it. @type {Map<string, any>} */
  #shown = new Map();
  /** By chat: when it was reported that the user types, and the timer that ends it. @type {Map<string, {at: number, timer: any}>} */
  #own = new Map();
  #send;
  #changed;
  #timers;
  #sender;

  /**
   * @param {(chat: string, isTyping: boolean) => void} send
   * @param {() => void} changed
   * @param {{timers?: Timers, sender?: "visitor" | "agent"}} [options] `sender`: whose typing is shown
   */
  constructor(send, changed, { timers = BROWSER, sender = "visitor" } = {}) {
    this.#send = send;
    this.#changed = changed;
    this.#timers = timers;
    this.#sender = sender;
  }

  /** Take a `chat.typing` or a `chat.message`, which ends it. @param {{type: string, payload: any}} event */
  event({ type, payload }) {
    const chat = String(payload.session_id);
    if (payload.sender_type !== this.#sender) return;
    this.#timers.clearTimeout(this.#shown.get(chat));
    const before = this.#shown.delete(chat);
    const isTyping = type === "chat.typing" && payload.is_typing === true;
    const end = () => this.#shown.delete(chat) && this.#changed();
    if (isTyping) this.#shown.set(chat, this.#timers.setTimeout(end, SHOWN_MS));
    if (before !== isTyping) this.#changed();
  }

  /** Whether one of those who are shown is typing in a chat. @param {string} chat */
  isTyping(chat) {
    return this.#shown.has(chat);
  }

  /** Note that the user has changed a draft. @param {string} chat @param {boolean} isEmpty */
  typed(chat, isEmpty) {
    if (isEmpty) return this.stopped(chat);
    const known = this.#own.get(chat);
    this.#timers.clearTimeout(known?.timer);
    const now = this.#timers.now();
    const isDue = known === undefined || now - known.at >= AGAIN_MS;
    if (isDue) this.#send(chat, true);
    this.#own.set(chat, { at: isDue ? now : known.at, timer: this.#timers.setTimeout(() => this.stopped(chat), IDLE_MS) });
  }

  /** Report that the user types no more: the reply was sent, or the draft is empty. @param {string} chat */
  stopped(chat) {
    const known = this.#own.get(chat);
    if (known === undefined) return;
    this.#timers.clearTimeout(known.timer);
    this.#own.delete(chat);
    this.#send(chat, false);
  }
}
