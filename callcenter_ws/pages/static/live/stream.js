// The stream of events as lines, with filters: part of the live view and of the supervisor's page.

import { hasText, LANGUAGE, shownJson, text } from "../texts.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { FAMILIES } from "./lines.js";
import { Lines, MAX_SHOWN } from "./view.js";
import { LineWindow } from "./window.js";

/** Made when it is needed: the first such object of a page takes long. @type {Intl.DateTimeFormat | null} */
let clock = null;

/** @param {number | null} instant */
export function time(instant) {
  if (instant === null || !Number.isFinite(instant)) return text("figure.none");
  clock ??= new Intl.DateTimeFormat(LANGUAGE, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
  return clock.format(instant);
}

export class EventStream {
  lines = new Lines();
  #inDocument = new LineWindow();
  /** The keys of the lines of which all fields are shown. @type {Set<number>} */
  #opened = new Set();
  /** @type {string[]} */
  #queues = [];
  #last = "";
  #client;
  #draw;

  /**
   * @param {import("../client.js").Client} client whose events become lines from now on
   * @param {() => void} draw is called when there is something new
   */
  constructor(client, draw) {
    this.#client = client;
    this.#draw = draw;
    client.on("status", (status) => this.#status(status));
    client.on("event", (message) => {
      this.lines.event(message);
      draw();
    });
    client.on("rebuilt", ({ reason, detail }) => this.control("rebuilt", text(`live.rebuilt.${reason}`, { detail: detail ?? "" })));
    client.on("lost", ({ from_seq, to_seq, reason }) => this.control("gap", text("live.lost", { from_seq, to_seq, reason }), "problem"));
    client.on("refused", ({ code, message }) => this.control("error", `${code}: ${message}`, "problem"));
    client.watch((store) => JSON.stringify(store.queues().map(({ name }) => name).sort()), (names) => {
      this.#queues = JSON.parse(names);
      draw();
    });
  }

  /** @param {import("../client.js").Status} status */
  #status({ state, reason }) {
    const words = hasText(`live.announced.${state}`) ? text(`live.announced.${state}`) : (reason?.text ?? "");
    // Each failed try would be a line otherwise.
    if (`${state} ${words}` !== this.#last && state !== "connecting") this.control(state, words, state === "stopped" ? "problem" : "control");
    this.#last = `${state} ${words}`;
  }

  /** Add a line about the connection. @param {string} type @param {string} words @param {"control" | "problem"} [kind] */
  control(type, words, kind) {
    this.lines.control(this.#client.now(), type, words, kind);
    this.#draw();
  }

  /** Note that the window was scrolled: more lines may be wanted. */
  scrolled() {
    const { scrollHeight } = document.documentElement;
    if (this.#inDocument.scrolled(scrollY, scrollHeight - scrollY - innerHeight, innerHeight)) this.#draw();
  }

  /** Return what is shown; not all new lines are in the first frame. */
  template() {
    const shown = this.lines.shown();
    const next = this.#inDocument.next(shown);
    if (!next.isWhole) this.#draw();
    return html`${this.#filters()}
      ${shown.some(({ kind }) => kind === "event") ? nothing : html`<p class="quiet">${text("live.empty")}</p>`}
      <ol class="lines" aria-label=${text("page.live")}>${repeat(next.lines, (line) => line.key, (line) => this.#row(line))}</ol>`;
  }

  #filters() {
    const { family, queue, search, paused, waiting } = this.lines;
    return html`
      <div class="filters">
        <label>${text("live.filter.family")}
          <select data-filter="family" @change=${this.#change("family")}>
            <option value="" .selected=${!family}>${text("live.filter.all")}</option>
            ${Object.keys(FAMILIES).map((name) => html`<option value=${name} .selected=${name === family}>${text(`live.family.${name}`)}</option>`)}
          </select>
        </label>
        <label>${text("live.filter.queue")}
          <select data-filter="queue" @change=${this.#change("queue")}>
            <option value="" .selected=${!queue}>${text("live.filter.all")}</option>
            ${repeat(this.#queues, (name) => name, (name) => html`<option value=${name} .selected=${name === queue}>${name}</option>`)}
          </select>
        </label>
        <label class="grows">${text("live.filter.search")}<input data-filter="search" type="search" .value=${search} @input=${this.#change("search")}></label>
        <button class=${paused ? "main" : ""} data-action="pause" aria-pressed=${paused ? "true" : "false"} @click=${() => this.#pause()}>
          ${paused ? text("live.resume", { n: waiting }) : text("live.pause")}
        </button>
      </div>`;
  }

  /** @param {import("./view.js").Line} line */
  #row(line) {
    return html`
      <li data-kind=${line.kind} data-family=${line.family}>
        ${line.message
          ? html`<details ?open=${this.#opened.has(line.key)} @toggle=${this.#toggle(line.key)}>
              <summary class="cells">${cells(line)}</summary>
              ${this.#opened.has(line.key) ? html`<pre dir="ltr">${shownJson(line.message)}</pre>` : nothing}
            </details>`
          : html`<div class="cells">${cells(line)}</div>`}
      </li>`;
  }

  /** @param {"family" | "queue" | "search"} name */
  #change(name) {
    return (/** @type {Event} */ event) => {
      this.lines[name] = /** @type {HTMLInputElement} */ (event.target).value;
      this.#draw();
    };
  }

  #pause() {
    this.lines.paused = !this.lines.paused;
    this.#draw();
  }

  /** @param {number} key */
  #toggle(key) {
    return (/** @type {Event} */ event) => {
      const { open } = /** @type {HTMLDetailsElement} */ (event.target);
      if (open === this.#opened.has(key)) return;
      if (open) this.#opened.add(key);
      else this.#opened.delete(key);
      // Lines that have left the list cannot be closed.
      if (this.#opened.size > MAX_SHOWN) this.#opened.delete([...this.#opened][0]);
      this.#draw();
    };
  }
}

/** @param {import("./view.js").Line} line */
const cells = (line) => html`<time>${time(line.at)}</time><span class="type">${line.type}</span><span class="text">${line.text}</span>`;
