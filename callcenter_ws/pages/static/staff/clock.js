// Durations that go on: once a second the texts of these elements change, and nothing is rendered again.

import { LANGUAGE } from "../texts.js";
import { html } from "../vendor/lit-html/lit-html.js";
import { Directive, directive } from "../vendor/lit-html/directive.js";
import { duration } from "../wallboard/format.js";

const SECOND = 1000;

/** The gateway's clock, in Unix ms. */
let now = () => Date.now();
let ticking = false;

/** @typedef {{kind: "since" | "until" | "limit", at: number, limit?: number}} Ticking */

/** @param {HTMLElement} element */
function tick(element) {
  const { since, until, limit } = element.dataset;
  const passed = since === undefined ? Number(until) - now() + SECOND - 1 : now() - Number(since);
  const words = duration(Math.max(0, passed));
  if (element.textContent !== words) element.textContent = words;
  if (limit !== undefined) element.toggleAttribute("data-over", passed >= Number(limit));
}

/**
 * Have all durations of the document go on, by this clock. A page calls it once.
 * @param {() => number} clock
 */
export function startClock(clock) {
  now = clock;
  if (ticking) return;
  ticking = true;
  setInterval(() => {
    for (const element of document.querySelectorAll("time[data-since], time[data-until]")) tick(/** @type {HTMLElement} */ (element));
  }, SECOND);
}

class Ticks extends Directive {
  /** @param {string} _name @param {number} _instant @param {number | undefined} _limit */
  render(_name, _instant, _limit) {}

  /**
   * @param {import("../vendor/lit-html/directive.js").Part} part
   * @param {["since" | "until", number, number | undefined]} values
   */
  update(part, [name, instant, limit]) {
    const { element } = /** @type {{element: HTMLElement}} */ (part);
    element.dataset[name] = String(instant);
    if (limit === undefined) delete element.dataset.limit;
    else element.dataset.limit = String(limit);
    tick(element);
  }
}

const ticks = directive(Ticks);

/**
 * Return a duration since an instant, which goes on. With a limit in ms, the element has `data-over` from then on.
 * @param {number} instant Unix ms, of the gateway's clock
 * @param {number} [limit]
 */
export const since = (instant, limit) => html`<time ${ticks("since", instant, limit)}></time>`;

/** Return a duration until an instant, which goes on. @param {number} instant Unix ms, of the gateway's clock */
export const until = (instant) => html`<time ${ticks("until", instant, undefined)}></time>`;

/** Made when it is needed: the first such object of a page takes long. @type {Intl.DateTimeFormat | null} */
let format = null;

/** Return an instant as hours and minutes, of the browser's time zone. @param {number} instant */
export function clockTime(instant) {
  format ??= new Intl.DateTimeFormat(LANGUAGE, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  return Number.isFinite(instant) ? format.format(instant) : "–";
}
