// The settings of a wallboard: what the gateway sends, what the address of the page says, and the defaults.

/** @typedef {{warning: number, breach: number}} Limits */
/** @typedef {{service_level: Limits, longest_wait: Limits, waiting: Limits, abandon_rate: Limits}} Thresholds */
/**
 * @typedef {{name: string, title: string, queues: string[], figures: string[], rows: number, page_seconds: number,
 *   theme: "dark" | "light" | "auto", chart: boolean, thresholds: Thresholds,
 *   note: {text: string, hint: string} | null}} Settings `note`: what is said in place of the queues
 */

export const MAX_ROWS = 6;
export const MAX_FIGURES = 6;

/** @type {Settings} */
export const DEFAULTS = {
  name: "",
  title: "",
  queues: [],
  figures: ["waiting", "longest_wait", "service_level_30m", "service_level_today", "agents", "abandon_rate_30m"],
  rows: MAX_ROWS,
  page_seconds: 12,
  theme: "dark",
  chart: true,
  note: null,
  thresholds: {
    service_level: { warning: 0, breach: 10 },
    longest_wait: { warning: 1, breach: 3 },
    waiting: { warning: 5, breach: 10 },
    abandon_rate: { warning: 5, breach: 10 },
  },
};

/**
 * Return settings with all defaults; unknown names of figures are left out.
 * @param {any} given
 * @param {(name: string) => boolean} isFigure
 * @returns {Settings}
 */
export function complete(given, isFigure) {
  const figures = (given.figures ?? []).filter(isFigure).slice(0, MAX_FIGURES);
  return {
    ...DEFAULTS,
    ...given,
    figures: figures.length ? figures : DEFAULTS.figures,
    rows: within(given.rows, 1, MAX_ROWS, DEFAULTS.rows),
    page_seconds: within(given.page_seconds, 5, 120, DEFAULTS.page_seconds),
    theme: ["dark", "light", "auto"].includes(given.theme) ? given.theme : DEFAULTS.theme,
    chart: given.chart !== false && given.chart !== "false",
    thresholds: { ...DEFAULTS.thresholds, ...given.thresholds },
  };
}

/** @param {unknown} value @param {number} least @param {number} most @param {number} otherwise */
function within(value, least, most, otherwise) {
  const number = Math.round(Number(value ?? otherwise));
  return Number.isNaN(number) ? otherwise : Math.min(most, Math.max(least, number));
}

/**
 * Return the settings in the fragment of the page's address: `#queues=sales,support&rows=4&theme=light`.
 * @param {string} fragment
 */
export function ofFragment(fragment) {
  /** @type {any} */
  const given = {};
  for (const [name, value] of new URLSearchParams(fragment.replace(/^#/, ""))) {
    if (name === "queues" || name === "figures") given[name] = [...new Set(value.split(","))].filter((one) => one !== "");
    else if (Object.keys(DEFAULTS).includes(name) && !["name", "thresholds", "note"].includes(name)) given[name] = value;
  }
  return given;
}
