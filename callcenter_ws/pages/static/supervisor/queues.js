// The section of the queues: their figures of now and today, the worst first, with the marks of the wallboard.
import { text } from "../texts.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { since } from "../staff/clock.js";
import { isDialogOpen } from "../staff/dialog.js";
import { count } from "../wallboard/format.js";
import { Order, rows } from "../wallboard/model.js";
import { DEFAULTS } from "../wallboard/settings.js";
import { Growth } from "./growth.js";
import { Attention, HeldOrder } from "./held.js";
import { queuePanel, rowsOf } from "./queue_panel.js";
import { hrefOf } from "./route.js";
import { mark, sortHead } from "./shown.js";
import { Sorting } from "./sorting.js";

/** @typedef {import("../wallboard/model.js").Row} Row */
/** @typedef {import("./main.js").Context} Context */

const NOW = ["waiting", "longest_wait", "agents", "service_level_30m", "abandon_rate_30m"];
const TODAY = ["service_level_today", "offered_today", "answered_today", "abandoned_today", "average_wait_today"];
const FIGURES = [...NOW, ...TODAY];
/** What there is without statistics, too. */
const COUNTED = NOW.slice(0, 3);
/** Figures of which small values are bad come first when they are sorted. */
const LOW = new Set(["agents", "service_level_30m", "service_level_today"]);
const WORST = "worst";

/** @type {{[name: string]: import("./sorting.js").Column<Keyed>}} */
const COLUMNS = {
  [WORST]: { value: () => 0 },
  name: { value: ({ name }) => name.toLowerCase() },
  ...Object.fromEntries(FIGURES.map((figure) => [figure, { value: (/** @type {Keyed} */ { cells }) => cells[figure].value, isDescending: !LOW.has(figure) }])),
};

/** @typedef {Row & {key: string, isGone?: boolean}} Keyed */

export class QueuesSection {
  #context;
  #worst = new Order();
  /** @type {Sorting<Keyed>} */
  #sorting = new Sorting(COLUMNS, WORST, ({ key }) => key);
  #order = /** @type {HeldOrder<Keyed>} */ (new HeldOrder());
  #attention = new Attention();
  #growth = new Growth();
  #panelGrowth = new Growth();
  /** Those of the first wallboard of the tenant. */
  thresholds = DEFAULTS.thresholds;

  /** @param {Context} context */
  constructor(context) {
    this.#context = context;
  }

  #rows() {
    const { client } = this.#context;
    const board = { ...DEFAULTS, figures: FIGURES, thresholds: this.thresholds };
    return rows(client.store, board, this.#context.shownNow());
  }

  /** Return how many queues have a breach. */
  badge() {
    return this.#rows().filter(({ severity }) => severity === 2).length;
  }

  /** @param {string | null} name of the queue whose details are shown */
  template(name) {
    const { client } = this.#context;
    const worst = this.#worst.sorted(this.#rows(), client.now()).map((row) => ({ ...row, key: row.name }));
    if (!worst.length) {
      if (client.status.as_of === null) return html`<p class="empty">${text("supervisor.loading")}</p>`;
      return html`<p class="empty">${text("wallboard.empty")}<span class="quiet">${text("wallboard.empty.hint")}</span></p>`;
    }
    const found = this.#sorting.column === WORST ? worst : this.#sorting.sorted(worst);
    if (!document.querySelector("#queues .queues")) this.#attention.leave();
    const shown = this.#order.next(found, this.#attention.isHeld(performance.now()) || isDialogOpen(), (key) => worst.find((row) => row.key === key));
    const hasLevels = client.store.queues().some(({ source }) => source !== "events");
    return html`
      ${this.#overview()}
      <div class="split" ?data-detail=${name !== null}>
        <div class="list">
          ${hasLevels ? nothing : html`<p class="note">${text("supervisor.statistics_off.queues")}</p>`}
          ${this.#table(shown, name, hasLevels ? FIGURES : COUNTED)}
        </div>
        ${name === null ? nothing : this.#panel(name, shown.length)}
      </div>`;
  }

  /** The details come when the list is whole. @param {string} name @param {number} listed */
  #panel(name, listed) {
    const rows = this.#growth.isWhole(listed) ? rowsOf(this.#context.client.store, name) : 0;
    const room = this.#panelGrowth.next(rows, name, document.querySelector("#queues .detail") !== null);
    if (!this.#growth.isWhole(listed) || !this.#panelGrowth.isWhole(rows)) this.#context.draw();
    return queuePanel(this.#context, name, rows ? room : 0);
  }

  // ---- All queues together ----

  #overview() {
    const { store } = this.#context.client;
    const queues = store.queues();
    const agents = store.agents();
    const inState = (/** @type {string[]} */ ...states) => agents.filter(({ state }) => states.includes(state)).length;
    const longest = queues.reduce((/** @type {any} */ found, one) => (one.longest_wait_since && (!found || one.longest_wait_since < found.longest_wait_since) ? one : found), null);
    const total = queues.reduce((sum, { waiting }) => sum + (waiting ?? 0), 0);
    const talking = store.calls().filter(({ state }) => state === "talking" || state === "hold").length;
    const ofAll = text("figure.of", { value: count(agents.length - inState("offline")) });
    const tile = (/** @type {string} */ name, /** @type {unknown} */ value) => html`<div data-tile=${name}><dt>${text(`supervisor.tile.${name}`)}</dt><dd>${value}</dd></div>`;
    return html`<dl class="tiles">
      ${tile("waiting", count(total))}
      ${tile("longest", longest ? html`${since(longest.longest_wait_since)} <a class="of" href=${hrefOf("queues", longest.name)}><bdi>${longest.name}</bdi></a>` : text("figure.none"))}
      ${tile("talking", count(talking))}
      ${tile("available", html`${count(inState("available"))} <span class="of">${ofAll}</span>`)}
      ${tile("paused", count(inState("break", "away")))}
    </dl>`;
  }

  // ---- The table ----

  #changed = () => {
    this.#attention.leave();
    this.#context.draw();
  };

  /** @param {Keyed[]} shown @param {string | null} chosen @param {string[]} figures */
  #table(shown, chosen, figures) {
    const room = this.#growth.next(shown.length, "", document.querySelector("#queues .queues") !== null);
    if (!this.#growth.isWhole(shown.length)) this.#context.draw();
    const head = (/** @type {string} */ figure) => sortHead(this.#sorting, figure, text(`supervisor.figure.${figure}`), this.#changed, { className: `number ${classOf(figure)}`, said: text(`supervisor.figure.${figure}.label`) });
    const group = (/** @type {string[]} */ all, /** @type {string} */ label, /** @type {string} */ className) => {
      const n = all.filter((figure) => figures.includes(figure)).length;
      return n ? html`<th class=${className} colspan=${n} scope="colgroup">${text(label)}</th>` : nothing;
    };
    return html`
      <p class="summary quiet"><span>${text("supervisor.queues.count", { n: shown.length })}</span>
        ${this.#sorting.column === WORST ? text("supervisor.queues.worst") : html`<button class="small" data-sort=${WORST} @click=${() => (this.#sorting.choose(WORST), this.#changed())}>${text("supervisor.queues.sort_worst")}</button>`}</p>
      <table class="data queues" @pointerover=${this.#pointer} @pointerleave=${this.#pointer}>
        <caption class="unseen">${text("supervisor.section.queues")}</caption>
        <colgroup><col>${figures.map((figure) => html`<col class=${`of-figure ${classOf(figure)}`} data-figure=${figure}>`)}</colgroup>
        <thead>
          <tr class="groups"><td></td>${group(NOW, "supervisor.now", "of-now")}${group(TODAY, "supervisor.today", "of-today")}</tr>
          <tr>${sortHead(this.#sorting, "name", text("figure.queue"), this.#changed, { className: "of-name" })}${figures.map(head)}</tr>
        </thead>
        <tbody>${repeat(shown.slice(0, room), ({ key }) => key, (row) => this.#row(row, chosen, figures))}</tbody>
      </table>`;
  }

  /** @param {Keyed} row @param {string | null} chosen @param {string[]} figures */
  #row({ name, severity, words, cells, isGone, source_down: isDown }, chosen, figures) {
    return html`
      <tr data-key=${name} data-severity=${severity} ?data-chosen=${name === chosen} ?data-gone=${isGone} ?data-old=${isDown}>
        <th scope="row" class="of-name"><div>${mark(severity)}<a href=${hrefOf("queues", name)} aria-current=${name === chosen ? "true" : nothing}><bdi>${name}</bdi></a>${words.map((word) => html`<span class="tag breach">${word}</span>`)}</div></th>
        ${figures.map((figure) => cell(figure, cells[figure]))}
      </tr>`;
  }

  /** @param {PointerEvent} event */
  #pointer = (event) => {
    if (event.pointerType !== "touch") this.#attention.pointer(event.type !== "pointerleave" && /** @type {Element} */ (event.target).closest("tbody") !== null);
  };
}

/** Narrow windows have the first figures only. @param {string} figure */
const classOf = (figure) => (figure === "waiting" || figure === "longest_wait" || figure === "agents" ? "" : TODAY.includes(figure) ? "wider" : "wide");

/** @param {string} figure @param {import("../wallboard/model.js").Cell} cell */
const cell = (figure, { text: words, second, severity, value }) => html`
  <td class="number ${classOf(figure)}" data-severity=${severity} ?data-none=${value === null || value === undefined}>${mark(severity)}${words}${second ? html`<span class="quiet"> ${second}</span>` : nothing}</td>`;
