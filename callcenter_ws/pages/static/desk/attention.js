// Has a ringing call noticed by a user who does not look at the page: the title of the tab, a sound, a notification of the
// system. Of all tabs with a desk one makes the sound and the notification.

import { embedder } from "../embedded.js";
import { machine } from "../staff/memory.js";
import { spoken, text } from "../texts.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { whoOf } from "./call_card.js";
import { Sound } from "./sound.js";

const BLINK_MS = 1000;
const SOUND = "sound";
/** Held by a tab with a desk that the user looks at. */
const SEEN = "callcenter-ws desk seen";

/** @typedef {import("./own_calls.js").OwnCall} OwnCall */

export class Attention {
  /** @type {OwnCall[]} */
  #ringing = [];
  /** @type {Map<string, Notification>} */
  #notifications = new Map();
  #sound;
  #changed;
  #client;
  /** Whether this tab is the one that makes the sound. */
  #sounds = false;
  /** Whether this tab is the one that notifies. */
  #notifies = false;
  #asked = false;
  /** @type {number | null} */
  #blinking = null;
  /** @type {(() => void) | null} */
  #notSeen = null;
  #words = "";

  /** @param {import("../client.js").Client} client @param {() => void} changed */
  constructor(client, changed) {
    this.#client = client;
    this.#changed = changed;
    // Only a tab that may make a sound is a candidate: one that was loaded and not touched yet may not.
    this.#sound = new Sound(() => {
      this.#become("sounds");
      changed();
    });
    client.on("status", () => {
      this.#become("notifies");
      this.#update();
    });
    document.addEventListener("visibilitychange", () => this.#look());
    this.#look();
  }

  /** Note which calls ring now. @param {OwnCall[]} ringing */
  rings(ringing) {
    const before = new Set(this.#ringing.map(({ id }) => id));
    this.#ringing = ringing;
    const present = new Set(ringing.map(({ id }) => id));
    for (const call of ringing) if (!before.has(call.id)) this.#notify(call.id, text("desk.attention.rings", { who: whoOf(call) }), call.queue ?? "");
    for (const [id, notification] of this.#notifications) {
      if (present.has(id) || !before.has(id)) continue;
      notification.close();
      this.#notifications.delete(id);
    }
    this.#update();
  }

  /**
   * Have something else noticed, like a new chat: a short sound, and a notification of the system while no desk is seen.
   * @param {{kind: string, title: string, body: string, tag: string}} what `tag`: the same one replaces what was shown
   */
  notify({ title, body, tag }) {
    if (this.#hasSound && this.#sounds && !this.#sound.isRinging) this.#sound.beep();
    if (document.hidden) {
      this.#words = title;
      this.#update();
    }
    this.#notify(tag, title, body);
  }

  get #hasSound() {
    return machine.get(SOUND, true) === true;
  }

  /** Become the one tab that does something, when the tab that does so is closed. @param {"sounds" | "notifies"} what */
  #become(what) {
    const set = () => {
      if (what === "sounds") this.#sounds = true;
      else this.#notifies = true;
      this.#update();
      // The lock is held until the tab is closed.
      return new Promise(() => {});
    };
    const user = this.#client.identity;
    if (what === "notifies") {
      if (this.#asked || !user) return;
      this.#asked = true;
    }
    // Without locks the tab with the connection does it; there each tab has its own.
    if (!navigator.locks) return void set();
    navigator.locks.request(`callcenter-ws desk ${what}`, set).catch(() => undefined);
  }

  #look() {
    if (document.hidden) {
      this.#notSeen?.();
      this.#notSeen = null;
    } else {
      this.#words = "";
      if (!this.#notSeen && navigator.locks) {
        const seen = new Promise((resolve) => (this.#notSeen = () => resolve(undefined)));
        navigator.locks.request(SEEN, { mode: "shared" }, () => seen).catch(() => undefined);
      }
    }
    this.#update();
  }

  /** @param {string} tag @param {string} title @param {string} body */
  async #notify(tag, title, body) {
    if (!this.#notifies || !("Notification" in window) || Notification.permission !== "granted" || !document.hidden) return;
    const held = (await navigator.locks?.query())?.held ?? [];
    if (held.some(({ name }) => name === SEEN)) return;
    try {
      const notification = new Notification(title, { body, tag: `callcenter-ws ${tag}`, icon: new URL("../icon.svg", import.meta.url).href });
      notification.addEventListener("click", () => {
        window.focus();
        notification.close();
      });
      this.#notifications.set(tag, notification);
      // It has stopped ringing meanwhile.
      setTimeout(() => this.#notifications.delete(tag), 60_000);
    } catch {
      // Some systems allow notifications of service workers only.
    }
  }

  #update() {
    const isRinging = this.#ringing.length > 0;
    if (isRinging && this.#hasSound && this.#sounds) this.#sound.ring();
    else this.#sound.stop();
    this.#title();
    this.#changed();
  }

  #title() {
    const [call] = this.#ringing;
    const words = call ? text("desk.attention.rings", { who: whoOf(call) }) : document.hidden ? this.#words : "";
    const plain = text("desk.title");
    if (!words) {
      if (this.#blinking !== null) clearInterval(this.#blinking);
      this.#blinking = null;
      document.title = plain;
      return;
    }
    const title = spoken(words);
    document.title = title;
    if (this.#blinking !== null) clearInterval(this.#blinking);
    // It blinks only for those who do not see the page.
    this.#blinking = document.hidden ? setInterval(() => (document.title = document.title === title ? `● ${plain}` : title), BLINK_MS) : null;
  }

  /** Return the switches for sound and notifications. */
  view() {
    const on = this.#hasSound;
    const canNotify = !embedder() && "Notification" in window && Notification.permission === "default";
    return html`
      <div class="attention">
        <button class="small" data-setting="sound" data-ready=${this.#sound.isPossible ? "true" : "false"} @click=${this.#toggle}>${text(!on ? "desk.sound.off" : this.#sound.isPossible ? "desk.sound.on" : "desk.sound.locked")}</button>
        ${canNotify ? html`<button class="small" data-action="notify" @click=${this.#permit}>${text("desk.notify")}</button>` : nothing}
      </div>`;
  }

  #toggle = () => {
    machine.set(SOUND, !this.#hasSound);
    this.#update();
  };

  /** Browsers ask only after a click. */
  #permit = async () => {
    await Notification.requestPermission();
    this.#changed();
  };
}
