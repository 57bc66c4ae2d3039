// The chart of a board with one queue: the calls of today in quarters of an hour, drawn by uPlot.
import { html, nothing, render } from "../vendor/lit-html/lit-html.js";
import { text } from "../texts.js";
import { axisEnd, dayOf, hoursBelow } from "./day.js";
import { clock, count } from "./format.js";
import { TYPE } from "./layout.js";

/** @typedef {import("./model.js").Age} Age */
/** @typedef {import("./day.js").Day} Day */
/** @typedef {{day: Day | null, readAt: number, nextAt: number}} Known what was read of a queue, and when it is read again */
/** @typedef {{height: number, text: number, age: Age, zone: string | null}} Look `height` and `text` in pixels */

const AGAIN_MS = 60_000;
const RETRY_MS = 10_000;
/** While the statistics are off, or may not be seen, there is no chart. */
const REFUSED_MS = 300_000;
/** Figures that two requests have not renewed are as old as those without a link. */
const OLD_MS = 150_000;
const GONE_MS = 600_000;
/** Queues whose days are kept, for a board that turns pages of one queue. */
const MAX_QUEUES = 50;
/** The width of a time of day, with its distance to the next, in its own size. */
const LABEL_ROOM = 4;

/**
 * Return the path of the figures of a queue, of today.
 * @param {string} queue
 */
export const pathOf = (queue) => `/ws/statistics?interval=15&queue=${encodeURIComponent(queue)}`;

/** @param {string} name a custom property */
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export class DayChart {
  #element = document.createElement("figure");
  #plot = document.createElement("div");
  #caption = document.createElement("figcaption");
  #queue = "";
  /** @type {Map<string, Known>} */
  #known = new Map();
  #isReading = false;
  /** @type {any} */
  #uplot = null;
  /** @type {Look} */
  #look = { height: 0, text: 0, age: "gone", zone: null };
  /** @type {Age} */
  #link = "gone";
  #drawn = "";
  #ask;
  #load;
  #now;
  #changed;

  /**
   * @param {object} given
   * @param {(path: string) => Promise<any>} given.ask rejects with an error that has a `status` if the gateway refuses
   * @param {() => number} given.now the gateway's time
   * @param {() => void} given.changed is called when the chart has other figures
   * @param {() => Promise<any>} [given.load] loads uPlot
   */
  constructor({ ask, now, changed, load = () => import("../vendor/uplot/uPlot.esm.js") }) {
    this.#ask = ask;
    this.#now = now;
    this.#changed = changed;
    this.#load = load;
    this.#element.className = "day";
    this.#plot.className = "plot";
    this.#plot.setAttribute("aria-hidden", "true");
    this.#element.append(this.#caption, this.#plot);
  }

  /**
   * Return the chart of a queue; `nothing` as long as there are no figures.
   * @param {string} queue
   * @param {Look} look
   */
  view(queue, look) {
    const now = this.#now();
    const known = this.#known.get(queue);
    this.#queue = queue;
    // What was missed is asked for as soon as the link is back.
    const isBack = look.age === "fresh" && this.#link !== "fresh";
    this.#link = look.age;
    if (look.age === "fresh" && (isBack || !known || now >= known.nextAt)) this.#read(queue);
    this.#look = { ...look, age: worse(look.age, ageOf(now - (known?.readAt ?? 0))) };
    if (!known?.day) return nothing;
    // The element has its size only after it was put into the page.
    queueMicrotask(() => this.#draw());
    return this.#element;
  }

  /** @param {string} queue */
  async #read(queue) {
    if (this.#isReading) return;
    this.#isReading = true;
    let { day, readAt } = this.#known.get(queue) ?? { day: null, readAt: 0 };
    let wait = AGAIN_MS;
    try {
      const { queues } = await this.#ask(pathOf(queue));
      this.#uplot ??= (await this.#load()).default;
      readAt = this.#now();
      day = dayOf(queues.find((/** @type {any} */ one) => one.queue_name === queue)?.intervals ?? [], readAt);
    } catch (error) {
      const isRefused = [403, 404].includes(/** @type {{status?: number}} */ (error).status ?? 0);
      if (isRefused) day = null;
      wait = isRefused ? REFUSED_MS : RETRY_MS;
    }
    this.#isReading = false;
    if (this.#known.size >= MAX_QUEUES) this.#known.clear();
    this.#known.set(queue, { day, readAt, nextAt: this.#now() + wait });
    this.#changed();
  }

  #draw() {
    const { day, readAt } = this.#known.get(this.#queue) ?? {};
    if (!day) return;
    const { height, text: size, age, zone } = this.#look;
    const isGone = age === "gone";
    this.#element.dataset.age = age;
    render(captionTemplate(isGone ? null : day.sums), this.#caption);
    // The rest of the width is that of the plot.
    const width = this.#plot.clientWidth;
    if (!width) return;
    const key = JSON.stringify([width, height, size, age, zone, readAt, this.#queue, color("--good")]);
    if (key === this.#drawn) return;
    this.#drawn = key;
    const { starts, offered, answered } = day;
    const data = isGone ? [[], [], []] : [starts, offered, answered];
    this.#plot.replaceChildren();
    // Made again when something has changed, once a minute: sizes, colors and the zone are parts of its options.
    new this.#uplot(barOptions(this.#uplot, day, { width, height, size, age, zone }), data, this.#plot);
  }
}

/** @param {number} old @returns {Age} */
const ageOf = (old) => (old < OLD_MS ? "fresh" : old < GONE_MS ? "old" : "gone");

/** @param {Age} one @param {Age} other @returns {Age} */
const worse = (one, other) => {
  const ages = /** @type {Age[]} */ (["fresh", "old", "gone"]);
  return ages[Math.max(ages.indexOf(one), ages.indexOf(other))];
};

/** @param {{offered: number, answered: number} | null} sums */
const captionTemplate = (sums) => html`
  <span class="unseen">${text("wallboard.chart")}</span>
  ${/** @type {const} */ (["offered", "answered"]).map(
    (name) => html`<span class="key" data-series=${name}><span class="swatch"></span>${text(`figure.${name}_today`)} <b>${count(sums?.[name])}</b></span>`,
  )}`;

/**
 * Return the options of a chart of calls: bars of those offered, and before them those answered.
 * @param {any} uplot
 * @param {Day} day
 * @param {{width: number, height: number, size: number, age: Age, zone: string | null}} given
 */
export function barOptions(uplot, { from, to, offered, answered }, { width, height, size, age, zone }) {
  const isFresh = age === "fresh";
  const end = axisEnd([...offered, ...answered]);
  const label = isFresh ? color("--secondary") : color("--old");
  const font = `${size}px ${TYPE}`;
  const bars = uplot.paths.bars({ size: [0.8, Infinity], align: 1 });
  const series = (/** @type {string} */ fill) => ({ paths: bars, points: { show: false }, width: 0, fill });
  const marks = hoursBelow(from, to, Math.floor(width / (size * LABEL_ROOM)));
  const axis = { stroke: label, font, grid: { show: false }, gap: size * 0.15 };
  const edge = { stroke: color("--line"), width: Math.max(1, size / 30), size: size * 0.15 };
  return {
    width,
    height,
    padding: [size * 0.5, size * 1.2, 0, 0],
    legend: { show: false },
    cursor: { show: false },
    select: { show: false },
    scales: { x: { time: false, range: [from, to] }, y: { range: [0, end] } },
    series: [{}, series(color(isFresh ? "--offered" : "--hatch-strong")), series(color(isFresh ? "--good" : "--old"))],
    axes: [
      {
        ...axis,
        size: size * 1.35,
        splits: () => marks,
        values: (/** @type {any} */ _, /** @type {number[]} */ at) => at.map((one) => clock(one * 1000, zone)),
        ticks: edge,
        border: { show: true, stroke: edge.stroke, width: edge.width },
      },
      {
        ...axis,
        size: size * (0.5 + 0.52 * count(end).length),
        splits: () => [end],
        values: (/** @type {any} */ _, /** @type {number[]} */ at) => at.map((one) => (age === "gone" ? "" : count(one))),
        ticks: { show: false },
      },
    ],
  };
}
