// The tables of today: by intervals, and by queues.
import { text } from "../texts.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { clock, count, duration, percent } from "../wallboard/format.js";
import { hrefOf } from "./route.js";
import { sortHead } from "./shown.js";

/** @param {any} value */
const seconds = (value) => (typeof value === "number" ? duration(value * 1000) : text("figure.none"));
/** @param {any} value @param {any} target */
const level = (value, target) => (typeof value === "number" ? text("supervisor.percent", { value: percent(value, [target ?? null]) }) : text("figure.none"));

/** The figures, how they are written, and whether they exist for several queues together. @type {{[name: string]: {shown: (row: any) => string, isSum?: boolean, className?: string}}} */
const FIGURES = {
  offered: { shown: (row) => count(row.offered), isSum: true },
  answered: { shown: (row) => count(row.answered), isSum: true },
  abandoned: { shown: (row) => count(row.abandoned), isSum: true },
  service_level: { shown: (row) => level(row.service_level, row.service_level_target) },
  abandon_rate: { shown: (row) => level(row.abandon_rate, null), isSum: true, className: "wide" },
  average_wait_time: { shown: (row) => seconds(row.average_wait_time), className: "wide" },
  max_wait: { shown: (row) => seconds(row.max_wait), isSum: true, className: "wide" },
  average_handle_time: { shown: (row) => seconds(row.average_handle_time), className: "wider" },
};

/** @type {{[name: string]: import("./sorting.js").Column<any>}} */
const COLUMNS = Object.fromEntries(Object.keys(FIGURES).map((figure) => [figure, { value: (/** @type {any} */ row) => row[figure], isDescending: true }]));
export const WINDOW_COLUMNS = { start: { value: (/** @type {any} */ { start }) => start }, ...COLUMNS };
export const QUEUE_COLUMNS = { queue_name: { value: (/** @type {any} */ row) => row.queue_name.toLowerCase() }, ...COLUMNS };

/**
 * @param {{caption: string, sorting: import("./sorting.js").Sorting<any>, rows: any[], total: any, zone: string, isSum: boolean,
 *   changed: () => void}} given `isSum`: the rows are sums over several queues, for which some figures cannot be made
 */
export function dayTable({ caption, sorting, rows, total, zone, isSum, changed }) {
  const figures = Object.keys(FIGURES).filter((figure) => !isSum || FIGURES[figure].isSum);
  const isByQueue = "queue_name" in (rows[0] ?? {});
  const first = isByQueue ? "queue_name" : "start";
  const cells = (/** @type {any} */ row) => figures.map((figure) => html`<td class="number ${FIGURES[figure].className ?? ""}">${FIGURES[figure].shown(row)}</td>`);
  return html`
    <table class="data day">
      <caption class="unseen">${caption}</caption>
      <thead><tr>
        ${sortHead(sorting, first, text(isByQueue ? "figure.queue" : "supervisor.day.start"), changed, { className: isByQueue ? "of-name" : "" })}
        ${figures.map((figure) => sortHead(sorting, figure, text(`supervisor.day.${figure}`), changed, { className: `number ${FIGURES[figure].className ?? ""}` }))}
      </tr></thead>
      <tbody>${repeat(sorting.sorted(rows), (row) => row[first], (row) => html`<tr>
        <th scope="row" class=${isByQueue ? "of-name" : ""}>${isByQueue ? html`<a href=${hrefOf("queues", row.queue_name)}><bdi>${row.queue_name}</bdi></a>` : clock(Date.parse(row.start), zone)}</th>
        ${cells(row)}</tr>`)}</tbody>
      ${total ? html`<tfoot><tr><th scope="row">${text("supervisor.day.total")}</th>${cells(total)}</tr></tfoot>` : nothing}
    </table>`;
}
