// The section of today: the intervals of one queue or of all, as a chart and as tables, and as CSV.
import { read } from "../session.js";
import { text } from "../texts.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { clock, count } from "../wallboard/format.js";
import { DayBars } from "./day_bars.js";
import { fileName, INTERVALS, pathOf, possibleInterval, total, windows, withCalls } from "./day_report.js";
import { dayTable, QUEUE_COLUMNS, WINDOW_COLUMNS } from "./day_table.js";
import { downloadCsv } from "./download.js";
import { Sorting } from "./sorting.js";

/** @typedef {import("./main.js").Context} Context */
/** @typedef {import("./day_report.js").Interval} Interval */
/**
 * `interval`: null if there are too many queues for any.
 * @typedef {{key: string, readAt: number, interval: Interval | null, zone: string, day: string, incomplete: number | null,
 *   windows: import("./day_report.js").Window[], total: any, days: any[]}} Report
 */

const AGAIN_MS = 60_000;
const RETRY_MS = 10_000;
const OLD_MS = 150_000;

export class TodaySection {
  #context;
  #queue = "";
  /** @type {Interval} */
  #interval = "30";
  /** @type {Report | null} */
  #report = null;
  #isReading = false;
  #nextAt = 0;
  /** @type {{id: string, message: string} | null} */
  #problem = null;
  #saving = "";
  #bars = new DayBars();
  #byTime = new Sorting(WINDOW_COLUMNS, "start", ({ start }) => start);
  #byQueue = new Sorting(QUEUE_COLUMNS, "offered", ({ queue_name: name }) => name);

  /** @param {Context} context */
  constructor(context) {
    this.#context = context;
  }

  /** Show a queue that the address names, as in `#today?queue=sales`. @param {string} fragment */
  open(fragment) {
    const queue = new URLSearchParams(fragment.split("?")[1] ?? "").get("queue");
    if (queue !== null) this.#queue = queue;
  }

  get #key() {
    return JSON.stringify([this.#queue, this.#interval]);
  }

  template() {
    this.#readIfDue();
    const report = this.#report?.key === this.#key ? this.#report : null;
    return html`
      ${this.#toolbar(report)}
      ${this.#problem ? html`<p class=${this.#problem.id === "statistics_off" ? "empty" : "problem"} role="status">${text(`supervisor.today.${this.#problem.id}`, { message: this.#problem.message })}</p>` : nothing}
      ${report ? this.#shown(report) : this.#problem ? nothing : html`<p class="empty">${text("supervisor.loading")}</p>`}`;
  }

  /** @param {Report | null} report */
  #toolbar(report) {
    const names = this.#context.client.store.queues().map(({ name }) => name);
    if (this.#queue && !names.includes(this.#queue)) names.push(this.#queue);
    return html`
      <div class="filters">
        <label>${text("supervisor.filter.queue")}
          <select data-filter="queue" @change=${(/** @type {any} */ { target }) => this.#choose(target.value, this.#interval)}>
            <option value="" .selected=${!this.#queue}>${text("supervisor.today.all")}</option>
            ${repeat(names, (name) => name, (name) => html`<option value=${name} .selected=${name === this.#queue}>${name}</option>`)}
          </select>
        </label>
        <label>${text("supervisor.today.interval")}
          <select data-filter="interval" @change=${(/** @type {any} */ { target }) => this.#choose(this.#queue, target.value)}>
            ${INTERVALS.map((one) => html`<option value=${one} .selected=${one === this.#interval}>${text("supervisor.today.minutes", { n: one })}</option>`)}
          </select>
        </label>
        <span class="grows"></span>
        ${report?.interval ? this.#saveButton("intervals", "supervisor.today.save", report.interval, report) : nothing}
        ${report && !this.#queue ? this.#saveButton("day", "supervisor.today.save_day", "day", report) : nothing}
      </div>`;
  }

  /** @param {string} name @param {string} label @param {Interval | "day"} interval @param {Report} report */
  #saveButton(name, label, interval, report) {
    const isBusy = this.#saving === name;
    return html`<button data-action=${`save-${name}`} aria-disabled=${isBusy ? "true" : nothing} @click=${() => isBusy || this.#save(name, interval, report)}>${text(label)}</button>`;
  }

  /** @param {Report} report */
  #shown(report) {
    const now = this.#context.client.now();
    const isOld = this.#context.isOld() || now - report.readAt > OLD_MS;
    const rows = withCalls(report.windows);
    queueMicrotask(() => this.#bars.draw(report.windows, { now, age: isOld ? "old" : "fresh", zone: report.zone }));
    return html`
      <div ?data-old=${isOld}>
        <p class="summary quiet"><span>${text("supervisor.today.as_of", { time: clock(report.readAt, report.zone), zone: report.zone })}</span>
          ${report.interval && report.interval !== this.#interval ? html`<span>${text("supervisor.today.coarser", { n: report.interval })}</span>` : nothing}</p>
        ${report.incomplete === null ? nothing : html`<p class="note">${text("supervisor.today.incomplete", { time: clock(report.incomplete, report.zone) })}</p>`}
        ${report.interval
          ? html`<figure class="day-chart" ?hidden=${!rows.length}>
                <figcaption>${["offered", "answered"].map((name) => html`<span class="key" data-series=${name}><span class="swatch"></span>${text(`figure.${name}_today`)} <strong>${count(report.total?.[name])}</strong></span>`)}</figcaption>
                ${this.#bars.element}
              </figure>
              ${rows.length
                ? dayTable({ caption: text("supervisor.today.by_time"), sorting: this.#byTime, rows, total: report.total, zone: report.zone, isSum: !this.#queue && report.days.length > 1, changed: this.#context.draw })
                : html`<p class="empty">${text("supervisor.today.no_calls")}</p>`}`
          : html`<p class="note">${text("supervisor.today.too_many")}</p>`}
        ${this.#queue || !report.days.length ? nothing : html`
          <h2 class="part">${text("supervisor.today.by_queue")}</h2>
          ${dayTable({ caption: text("supervisor.today.by_queue"), sorting: this.#byQueue, rows: report.days, total: null, zone: report.zone, isSum: false, changed: this.#context.draw })}`}
      </div>`;
  }

  // ---- What is asked of the gateway ----

  /** @param {string} queue @param {Interval} interval */
  #choose(queue, interval) {
    this.#queue = queue;
    this.#interval = interval;
    this.#nextAt = 0;
    this.#problem = null;
    this.#context.draw();
  }

  #names() {
    return this.#queue ? [this.#queue] : this.#context.client.store.queues().map(({ name }) => name);
  }

  async #readIfDue() {
    const now = this.#context.client.now();
    const key = this.#key;
    if (this.#isReading || this.#context.client.status.state !== "live") return;
    if (this.#report?.key === key ? now < this.#nextAt : this.#problem && now < this.#nextAt) return;
    this.#isReading = true;
    let wait = AGAIN_MS;
    try {
      this.#report = await this.#read(key);
      this.#problem = null;
    } catch (error) {
      const { status = 0, message } = /** @type {{status?: number, message: string}} */ (error);
      this.#problem = { id: status === 404 ? "statistics_off" : status === 403 ? "forbidden" : "failed", message };
      if (status === 404 || status === 403) this.#report = null;
      else wait = RETRY_MS;
    }
    this.#isReading = false;
    this.#nextAt = this.#context.client.now() + wait;
    this.#context.draw();
  }

  /** One request after the other: a user may have two at a time. @param {string} key @returns {Promise<Report>} */
  async #read(key) {
    const names = this.#names();
    const interval = names.length ? possibleInterval(names.length, this.#interval) : null;
    const day = await read(pathOf(interval ? names : [], "day"));
    const parts = interval ? await read(pathOf(names, interval)) : null;
    const days = day.queues.flatMap((/** @type {any} */ { queue_name, intervals }) => intervals.slice(0, 1).map((/** @type {any} */ one) => ({ ...one, queue_name })));
    const readAt = Date.parse(day.generated_at);
    return {
      key, readAt, interval: names.length ? interval : "30", zone: day.time_zone, day: day.from.slice(0, 10), days,
      incomplete: day.incomplete_since ? Date.parse(day.incomplete_since) : null,
      windows: parts ? windows(parts.queues, readAt) : [],
      total: total(day.queues),
    };
  }

  /** @param {string} name @param {Interval | "day"} interval @param {Report} report */
  async #save(name, interval, report) {
    this.#saving = name;
    this.#context.draw();
    try {
      const tenant = this.#context.client.identity?.tenant_id ?? "";
      const path = pathOf(interval === "day" ? [] : this.#names(), interval);
      await downloadCsv(path, fileName({ tenant, queue: this.#queue, day: report.day, interval }));
      this.#problem = null;
    } catch (error) {
      this.#problem = { id: "save_failed", message: /** @type {Error} */ (error).message };
    }
    this.#saving = "";
    this.#context.draw();
  }
}
