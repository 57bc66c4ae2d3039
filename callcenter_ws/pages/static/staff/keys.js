// The keyboard shortcuts of a page: single keys while no field has the focus, Alt with a key and function keys anywhere.
// "?" lists them.

import { hasText, text } from "../texts.js";
import { html } from "../vendor/lit-html/lit-html.js";
import { isDialogOpen, openDialog } from "./dialog.js";
import { machine } from "./memory.js";

const SETTING = "single-keys";

/**
 * `keys`: like "a", "?", "Alt+A", "F2"; `group`: the id of a text; `label`: what it does; `enabled`: whether it does so now.
 * @typedef {{id: string, keys: string[], group: string, label: string, run: () => void, enabled?: () => boolean}} Shortcut
 */

/** @param {EventTarget | null} target */
export const isField = (target) =>
  target instanceof HTMLElement &&
  (target.isContentEditable || target.matches("textarea, select, input:not([type=checkbox], [type=radio], [type=button])"));

/**
 * Whether a key was pressed. With Alt its place counts, because some systems write other characters with it.
 * @param {string} keys
 * @param {KeyboardEvent} event
 */
export function isPressed(keys, event) {
  if (event.ctrlKey || event.metaKey) return false;
  if (keys.startsWith("Alt+")) {
    const key = keys.slice(4);
    return event.altKey && !event.shiftKey && (event.code === `Key${key}` || event.code === `Digit${key}` || event.key.toUpperCase() === key);
  }
  if (event.altKey) return false;
  return keys.length > 1 ? event.key === keys && !event.shiftKey : event.key.toLowerCase() === keys;
}

/**
 * Whether a key writes a character into the field that has the focus: on a Mac, Alt does so, like ą and €.
 * @param {KeyboardEvent} event
 */
const isWritten = ({ altKey, key, target }) => altKey && isField(target) && navigator.platform.startsWith("Mac") && (key === "Dead" || key.length === 1);

export class Keys {
  /** @type {Map<string, Shortcut>} */
  #shortcuts = new Map();
  /** @type {import("./dialog.js").Dialog | null} */
  #help = null;
  /** @type {(() => unknown)[]} */
  #notes = [];

  constructor() {
    document.addEventListener("keydown", (event) => this.#pressed(event));
    this.add({ id: "help", keys: ["?", "F1"], group: "staff.keys.page", label: text("staff.keys.help"), run: () => this.help() });
  }

  /** Whether single keys do something: who dictates, or uses other tools with them, can turn them off. */
  get single() {
    return machine.get(SETTING, true) === true;
  }

  /**
   * Add a shortcut, in place of the one with this id. Return a function that removes it.
   * @param {Shortcut} shortcut
   */
  add(shortcut) {
    this.#shortcuts.set(shortcut.id, shortcut);
    return () => {
      if (this.#shortcuts.get(shortcut.id) === shortcut) this.#shortcuts.delete(shortcut.id);
    };
  }

  /** Have the list of shortcuts show something below it. @param {() => unknown} note returns what lit-html renders */
  note(note) {
    this.#notes.push(note);
  }

  /** Return the keys of a shortcut, for `aria-keyshortcuts`; empty without one. @param {string} id */
  hint(id) {
    const keys = this.#shortcuts.get(id)?.keys.filter((one) => this.single || one.length > 1);
    return keys?.map((keys) => (keys.length === 1 ? keys.toUpperCase() : keys)).join(" ") ?? "";
  }

  /** Return the mark of a shortcut beside the name of its button. @param {string} id */
  mark(id) {
    const keys = this.#shortcuts.get(id)?.keys ?? [];
    const shown = this.single ? keys[0] : keys.find((one) => one.length > 1);
    return shown ? html`<kbd aria-hidden="true">${shown.length === 1 ? shown.toUpperCase() : shown}</kbd>` : "";
  }

  /** Open the list of all shortcuts. */
  help() {
    if (this.#help) return;
    this.#help = openDialog(text("staff.keys.title"), () => this.#list(), { className: "keys" });
    this.#help.closed.then(() => (this.#help = null));
  }

  #list() {
    const shortcuts = [...this.#shortcuts.values()];
    const groups = [...new Set(shortcuts.map(({ group }) => group))];
    return html`
      <div class="groups">${groups.map((group) => html`
        <section><h3>${hasText(group) ? text(group) : group}</h3><dl>
          ${shortcuts.filter((one) => one.group === group).map(({ keys, label }) => html`
            <div><dt>${keys.map((one) => html`<kbd>${one.length === 1 ? one.toUpperCase() : one}</kbd> `)}</dt><dd>${label}</dd></div>`)}
        </dl></section>`)}
      </div>
      <label class="check"><input type="checkbox" .checked=${this.single} @change=${this.#toggle}> ${text("staff.keys.single")}</label>
      <p class="quiet">${text("staff.keys.hint")}</p>
      ${this.#notes.map((note) => note())}`;
  }

  /** @param {Event} event */
  #toggle = (event) => machine.set(SETTING, /** @type {HTMLInputElement} */ (event.target).checked);

  /** @param {KeyboardEvent} event */
  #pressed(event) {
    if (event.defaultPrevented || event.isComposing || isDialogOpen() || isWritten(event)) return;
    for (const shortcut of this.#shortcuts.values()) {
      const pressed = shortcut.keys.find((keys) => isPressed(keys, event));
      if (pressed === undefined || shortcut.enabled?.() === false) continue;
      if (pressed.length === 1 && (isField(event.target) || !this.single)) continue;
      event.preventDefault();
      if (!event.repeat) shortcut.run();
      return;
    }
  }
}
