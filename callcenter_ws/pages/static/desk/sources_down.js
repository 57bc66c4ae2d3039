// Says which sources are not connected: what they have told of calls and agents stays, and may be old.

import { isolated, text } from "../texts.js";
import { html } from "../vendor/lit-html/lit-html.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { since as sinceWhen } from "../wallboard/format.js";

/** @typedef {import("../client.js").Source} Source */

export class SourcesDown {
  #client;
  #announce;
  /** The names of those that were down when it was looked last. @type {Set<string>} */
  #before = new Set();

  /** @param {import("../client.js").Client} client @param {{announce: (words: string) => void, changed: () => void}} page */
  constructor(client, { announce, changed }) {
    this.#client = client;
    this.#announce = announce;
    client.watch((store) => JSON.stringify(store.sources().map(({ name, up, since }) => [name, up, since])), () => {
      this.#tell();
      changed();
    });
  }

  /** @returns {Source[]} */
  get #down() {
    return this.#client.store.sources().filter(({ up }) => !up);
  }

  /** Whether nothing is connected that tells of calls and agents, and something was. */
  get isAll() {
    const sources = this.#client.store.sources();
    return sources.length > 0 && sources.every(({ up }) => !up);
  }

  /** Return a line for each source that is not connected. */
  view() {
    const now = this.#client.now();
    return repeat(this.#down, ({ name }) => name, ({ name, since }) => html`
      <p class="down" data-source=${name}><span class="mark" aria-hidden="true"></span><span>${text("desk.source_down", { source: isolated(name), time: sinceWhen(since, now, null) })}</span></p>`);
  }

  #tell() {
    const down = new Set(this.#down.map(({ name }) => name));
    for (const name of down) if (!this.#before.has(name)) this.#announce(text("desk.source_down.announced", { source: isolated(name) }));
    for (const name of this.#before) if (!down.has(name)) this.#announce(text("desk.source_up", { source: isolated(name) }));
    this.#before = down;
  }
}
