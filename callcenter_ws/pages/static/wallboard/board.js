// The wallboard: draws what the model makes of a client's store, each second and when something changed.
import { html, nothing, render } from "../vendor/lit-html/lit-html.js";
import { text } from "../texts.js";
import { FIGURES } from "./figures.js";
import { clock } from "./format.js";
import { TYPE, ems, layout } from "./layout.js";
import { Messages, Order, Pager, age, page, rows, shownTime, strip } from "./model.js";
import { styled } from "./styled.js";
import { cardsTemplate, emptyTemplate, stripTemplate, tableTemplate } from "./templates.js";

/** @typedef {import("./settings.js").Settings} Settings */
/** @typedef {import("./layout.js").Layout} Layout */
/** @typedef {import("./model.js").Row} Row */
/**
 * What a board needs of a client.
 * @typedef {{store: any, status: any, now: () => number, on: (name: any, callback: (value: any) => void, options?: {signal?: AbortSignal}) => void}} BoardClient
 */
/** @typedef {(queue: string, look: import("./chart.js").Look) => unknown} Chart returns what is shown, or `nothing` */
/**
 * @typedef {object} Timing what tests replace
 * @property {() => number} now monotonic milliseconds
 * @property {(callback: () => void, ms: number) => any} schedule
 * @property {(handle: any) => void} cancel
 */

/** Changes are drawn at most so often. */
const DRAW_MS = 250;
const ANNOUNCE_MS = 10_000;
const POINTER_MS = 3_000;

/** @type {Timing} */
const TIMING = {
  now: () => performance.now(),
  schedule: (callback, ms) => setTimeout(callback, ms),
  cancel: (handle) => clearTimeout(handle),
};

/** Return the width of bold digits in em, as the browser draws them: the vendored font may be missing. */
function digitWidth() {
  const context = document.createElement("canvas").getContext("2d");
  if (!context) return undefined;
  context.font = `700 100px ${TYPE}`;
  return context.measureText("0000000000").width / 1000;
}

class Board {
  #order = new Order();
  #messages = new Messages();
  #closing = new AbortController();
  #announced = { key: "", text: "", at: -Infinity };
  /** @type {number | undefined} */
  #digit;
  #pages = 1;
  #drawnAt = -Infinity;
  /** @type {any} */
  #soon = null;
  /** @type {any} */
  #tick = null;
  /** @type {any} */
  #pointer = null;
  /** @type {{key: string, layout: Layout} | null} */
  #layout = null;
  #root;
  #client;
  #settings;
  #timing;
  #pager;
  #chart;

  /**
   * @param {HTMLElement} root
   * @param {BoardClient} client
   * @param {Settings} settings
   * @param {Partial<Timing> & {chart?: Chart}} options
   */
  constructor(root, client, settings, { chart, ...timing }) {
    this.#root = root;
    this.#client = client;
    this.#settings = settings;
    this.#chart = chart;
    this.#timing = { ...TIMING, ...timing };
    this.#pager = new Pager(settings.page_seconds * 1000);
    this.#listen();
    this.#eachSecond();
  }

  #listen() {
    const { signal } = this.#closing;
    this.#client.on("change", () => this.#drawSoon(), { signal });
    this.#client.on("rebuilt", () => this.#drawSoon(), { signal });
    this.#client.on("status", () => this.draw(), { signal });
    this.#client.on("event", (event) => this.#message(event), { signal });
    addEventListener("resize", () => this.draw(), { signal });
    addEventListener("keydown", (event) => this.#key(event), { signal });
    addEventListener("pointermove", () => this.#showPointer(), { signal });
    // Everything is drawn with measured digits once the font is there, or known to be missing.
    const loaded = ["400", "700"].map((weight) => document.fonts.load(`${weight} 16px ${TYPE}`));
    Promise.allSettled(loaded).then(() => {
      this.#digit = digitWidth();
      this.draw();
    });
  }

  /** @param {any} event */
  #message(event) {
    if (event.type !== "alert") return;
    this.#messages.add(event, this.#client.now());
    this.#drawSoon();
  }

  /** @param {KeyboardEvent} event */
  #key({ key, ctrlKey, altKey, metaKey }) {
    if (ctrlKey || altKey || metaKey) return;
    const by = key === "ArrowRight" ? 1 : key === "ArrowLeft" ? -1 : 0;
    if (by) {
      this.#pager.move(by, this.#pages, this.#timing.now());
      this.draw();
    } else if (key === "f") {
      const { fullscreenElement, documentElement } = document;
      (fullscreenElement ? document.exitFullscreen() : documentElement.requestFullscreen()).catch(() => {});
    }
  }

  #showPointer() {
    this.#root.classList.remove("without-pointer");
    this.#timing.cancel(this.#pointer);
    this.#pointer = this.#timing.schedule(() => this.#root.classList.add("without-pointer"), POINTER_MS);
  }

  #eachSecond() {
    if (this.#closing.signal.aborted) return;
    this.draw();
    // On the second of the gateway's clock, so that all screens tick together.
    this.#tick = this.#timing.schedule(() => this.#eachSecond(), 1000 - (this.#client.now() % 1000));
  }

  #drawSoon() {
    if (this.#soon !== null) return;
    const wait = Math.max(0, this.#drawnAt + DRAW_MS - this.#timing.now());
    this.#soon = this.#timing.schedule(() => this.draw(), wait);
  }

  /** Show other settings from now on. @param {Settings} settings */
  use(settings) {
    this.#settings = settings;
    this.#pager = new Pager(settings.page_seconds * 1000);
    this.#order = new Order();
    this.draw();
  }

  /** Draw the present state. */
  draw() {
    if (this.#closing.signal.aborted) return;
    this.#timing.cancel(this.#soon);
    this.#soon = null;
    this.#drawnAt = this.#timing.now();
    const { store, status } = this.#client;
    const now = this.#client.now();
    const howOld = age(status, now);
    const made = this.#settings.note ? [] : rows(store, this.#settings, shownTime(status, now), howOld);
    const all = this.#order.sorted(made, now);
    const zone = store.figures("queue.stats")[0]?.time_zone ?? null;
    const shown = strip(store, status, now, { zone, messages: this.#messages, queues: this.#settings.queues });
    const isOld = howOld === "fresh" && all.some((row) => row.source_down);
    this.#render(all, shown, isOld ? "old" : howOld, now, zone);
  }

  /**
   * @param {Row[]} all
   * @param {import("./model.js").Strip} shown
   * @param {import("./model.js").Age} howOld
   * @param {number} now
   * @param {string | null} zone
   */
  #render(all, shown, howOld, now, zone) {
    const { title } = this.#settings;
    const made = this.#layoutOf(all);
    const pages = page(all, made.rows, 1).of;
    this.#pages = pages;
    const { rows, number, of } = page(all, made.rows, this.#pager.at(pages, this.#order.breaches, this.#timing.now()));
    const head = { title: title || text("wallboard.title"), clock: clock(now, zone), number, of, announced: this.#announce(shown) };
    render(
      html`<div class="board" data-form=${made.form} data-age=${howOld} ${styled(sizes(made))}>
        ${stripTemplate(shown, head)} ${this.#body(rows, made, howOld, zone)}
      </div>`,
      this.#root,
    );
  }

  /** @param {Row[]} rows @param {Layout} made @param {import("./model.js").Age} age @param {string | null} zone */
  #body(rows, made, age, zone) {
    if (!rows.length) {
      const { note } = this.#settings;
      if (note) return emptyTemplate(note.text, note.hint);
      const isKnown = this.#client.status.as_of !== null;
      return isKnown ? emptyTemplate(text("wallboard.empty"), text("wallboard.empty.hint")) : emptyTemplate(text("wallboard.connecting"), "");
    }
    const { figures, chart } = this.#settings;
    const nameWidth = made.nameWidth - 2 * made.padding;
    const view = { figures, layout: made, digit: this.#digit ?? ems("0"), nameWidth };
    if (made.form === "table" || made.form === "stacked") return tableTemplate(rows, view);
    const hasChart = chart && made.form === "single" && made.chart;
    const look = { height: made.chart, text: made.text, age, zone };
    return cardsTemplate(rows, view, hasChart ? this.#chart?.(rows[0].name, look) : nothing);
  }

  /** @param {Row[]} all @returns {Layout} */
  #layoutOf(all) {
    const columns = this.#settings.figures.map((figure) => {
      const { main, room } = FIGURES[figure];
      return { main, room, head: text(`figure.${figure}`), longest: longest(all, figure) };
    });
    const perPage = Math.min(this.#settings.rows, Math.max(1, all.length));
    const given = { width: innerWidth, height: innerHeight, rows: perPage, columns, digit: this.#digit };
    const key = JSON.stringify([given, columns.map(({ longest }) => ems(longest))]);
    if (this.#layout?.key !== key) this.#layout = { key, layout: layout(given) };
    return this.#layout.layout;
  }

  /**
   * Return what a screen reader says: what the strip says when that changes its kind, not each time it turns.
   * @param {import("./model.js").Strip} shown
   */
  #announce({ kind, of, name, text }) {
    const key = `${kind} ${of}`;
    const now = this.#timing.now();
    if (key !== this.#announced.key && now - this.#announced.at >= ANNOUNCE_MS) this.#announced = { key, text: name + text, at: now };
    return this.#announced.text;
  }

  close() {
    this.#closing.abort();
    for (const handle of [this.#tick, this.#soon, this.#pointer]) this.#timing.cancel(handle);
    render(nothing, this.#root);
  }
}

/** @param {Row[]} all @param {string} figure */
function longest(all, figure) {
  let found = "";
  for (const { cells } of all) {
    for (const one of [cells[figure].text, cells[figure].second]) if (ems(one) > ems(found)) found = one;
  }
  return found;
}

/** @param {Layout} made */
function sizes(made) {
  const lengths = ["strip", "head", "rowHeight", "main", "side", "name", "text", "headText", "padding", "mark", "chart"];
  return Object.fromEntries(lengths.map((name) => [name === "text" ? "--text-px" : `--${name}`, `${/** @type {any} */ (made)[name].toFixed(2)}px`]));
}

/**
 * Show a wallboard in an element until it is closed.
 * @param {HTMLElement} root
 * @param {BoardClient} client
 * @param {Settings} settings
 * @param {Partial<Timing> & {chart?: Chart}} [options] `chart` draws the day of a queue that is shown alone
 * @returns {{draw: () => void, use: (settings: Settings) => void, close: () => void}}
 */
export function mountBoard(root, client, settings, options = {}) {
  return new Board(root, client, settings, options);
}
