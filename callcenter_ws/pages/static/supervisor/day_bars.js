// The chart of today's intervals, drawn by uPlot with the bars of the wallboard.
import { barOptions } from "../wallboard/chart.js";
import { dayOf } from "../wallboard/day.js";

const HEIGHT_REM = 11;

export class DayBars {
  /** The element, which a template puts into the page. */
  element = document.createElement("div");
  /** @type {any} */
  #uplot = null;
  #drawn = "";
  #isLoading = false;
  #load;

  /** @param {() => Promise<any>} [load] loads uPlot */
  constructor(load = () => import("../vendor/uplot/uPlot.esm.js")) {
    this.#load = load;
    this.element.className = "plot";
    // The table beside it has every figure.
    this.element.setAttribute("aria-hidden", "true");
  }

  /**
   * Draw intervals, once the element has a size.
   * @param {readonly import("./day_report.js").Window[]} windows
   * @param {{now: number, age: import("../wallboard/model.js").Age, zone: string | null}} look
   */
  async draw(windows, { now, age, zone }) {
    if (!this.#uplot && !this.#isLoading) {
      this.#isLoading = true;
      // Without the chart there is still the table.
      this.#uplot = (await this.#load().catch(() => null))?.default ?? null;
      this.#isLoading = false;
    }
    const width = this.element.clientWidth;
    if (!this.#uplot || !width) return;
    const rem = Number.parseFloat(getComputedStyle(document.documentElement).fontSize);
    const style = getComputedStyle(document.documentElement).getPropertyValue("--good");
    const key = JSON.stringify([width, rem, age, zone, style, windows.map(({ start, offered, answered }) => [start, offered, answered])]);
    if (key === this.#drawn) return;
    this.#drawn = key;
    const day = dayOf([...windows], now);
    this.element.replaceChildren();
    new this.#uplot(barOptions(this.#uplot, day, { width, height: HEIGHT_REM * rem, size: 0.8 * rem, age, zone }), [day.starts, day.offered, day.answered], this.element);
  }
}
