// What a screen reader says once: an element for each sentence, so that one that comes soon after another one, or says the same
// again, is said too.

import { spoken } from "../texts.js";
import { html } from "../vendor/lit-html/lit-html.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";

/** So many sentences stay in the document. */
const MAX_KEPT = 4;

export class Announcer {
  /** @type {{key: number, words: string}[]} */
  #said = [];
  #counter = 0;

  /** @param {string} words */
  say(words) {
    this.#counter += 1;
    this.#said = [...this.#said, { key: this.#counter, words: spoken(words) }].slice(-MAX_KEPT);
  }

  /** Return the live region. It must be in the document before something is said. */
  view() {
    return html`<div class="unseen" role="status" aria-atomic="false" aria-relevant="additions">${repeat(this.#said, ({ key }) => key, ({ words }) => html`<p>${words}</p>`)}</div>`;
  }
}
