// The templates of a wallboard. Values go into text and data attributes only.
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { hasText, text } from "../texts.js";
import { FIGURES } from "./figures.js";
import { ems, fit } from "./layout.js";
import { styled } from "./styled.js";

/** @typedef {import("./layout.js").Layout} Layout */
/** @typedef {import("./model.js").Row} Row */
/** @typedef {import("./model.js").Strip} Strip */
/** @typedef {{figures: string[], layout: Layout, digit: number, nameWidth: number}} View */

const px = (/** @type {number} */ length) => `${Math.round(length * 100) / 100}px`;
/** Capital letters are wider than those for which `ems` is made. */
const CAPITALS = 1.25;
const NAME = 1.1;
/** The padding of a word, in its ems. */
const WORD_PADDING = 0.4;
/** In narrow windows names are written smaller, down to this part of their size, before a word is divided. */
const SMALLEST_NAME = 0.55;
/** In ems of a name above its figures, as in board.css: the size of a word, and the gap before it. */
const WORD = 0.75;
const GAP = 0.4;

/** @param {string} figure */
const label = (figure) => text(hasText(`figure.${figure}.label`) ? `figure.${figure}.label` : `figure.${figure}`);

/** The mark of a severity is a shape, so that it does not depend on color. @param {number} severity */
const mark = (severity) =>
  severity ? html`<span class="mark" data-severity=${severity}><span class="unseen">${text(`severity.${severity}`)}</span></span>` : nothing;

/**
 * Return the words of a row that fit, and how many more there are.
 * @param {string[]} words
 * @param {number} room in em
 * @param {number} digit
 */
export function wordsWithin(words, room, digit) {
  for (let length = words.length; length > 0; length--) {
    const more = words.length > length ? ` +${words.length - length}` : "";
    const said = words.slice(0, length).join(", ") + more;
    if (ems(said, digit) * CAPITALS + WORD_PADDING <= room) return said;
  }
  return words[0] ?? "";
}

/**
 * @param {Strip} strip
 * @param {{title: string, clock: string, number: number, of: number, announced: string}} given
 */
export function stripTemplate(strip, { title, clock, number, of, announced }) {
  return html`<header class="strip" data-notice=${strip.kind}>
    <h1 class="title"><bdi dir="auto">${title}</bdi></h1>
    <p class="notice" data-kind=${strip.kind} data-severity=${strip.severity} ?data-quiet=${strip.isAcknowledged}>
      ${mark(strip.severity)}<bdi class="of" dir="auto">${strip.name}</bdi><span class="said">${strip.text}</span>
      ${strip.of > 1 ? html`<span class="count">${text("wallboard.page", { number: strip.number, of: strip.of })}</span>` : nothing}
    </p>
    <p class="unseen" role="status">${announced}</p>
    ${of > 1
      ? html`<p class="page">
          <span aria-hidden="true">${text("wallboard.page", { number, of })}</span>
          <span class="unseen">${text("wallboard.page.label", { number, of })}</span>
        </p>`
      : nothing}
    <time class="clock">${clock}</time>
  </header>`;
}

/** @param {Row[]} rows @param {View} view */
export function tableTemplate(rows, view) {
  const { layout, figures } = view;
  const isStacked = layout.form === "stacked";
  return html`<table class="rows">
    <colgroup>
      ${isStacked ? nothing : html`<col class="of-mark" /><col />`}
      ${figures.map((_, at) => html`<col ${styled({ width: px(layout.columns[at]) })} />`)}
    </colgroup>
    <thead>
      <tr>
        ${isStacked ? nothing : html`<td></td><th scope="col" class="of-name">${text("figure.queue")}</th>`}
        ${figures.map((figure) => html`<th scope="col"><span aria-hidden="true">${text(`figure.${figure}`)}</span><span class="unseen">${label(figure)}</span></th>`)}
      </tr>
    </thead>
    ${repeat(rows, (row) => row.name, (row) => (isStacked ? stackedRow(row, view) : tableRow(row, view)))}
  </table>`;
}

/** @param {Row} row @param {View} view */
function tableRow(row, view) {
  const words = wordsWithin(row.words, view.nameWidth / view.layout.text, view.digit);
  return html`<tbody>
    <tr>
      <td class="of-mark">${mark(row.severity)}</td>
      <th scope="row" class="name" data-lines=${words ? 1 : 2}><bdi dir="auto" ${styled({ "font-size": nameSize(row.name, view) })}>${row.name}</bdi>${words ? html`<span class="word">${words}</span>` : nothing}</th>
      ${view.figures.map((figure, at) => cellTemplate(row, figure, at, view))}
    </tr>
  </tbody>`;
}

/** @param {string} name @param {View} view */
function nameSize(name, { layout, digit, nameWidth }) {
  const isNarrow = layout.headText < layout.text;
  const longest = Math.max(...name.split(/\s+/).map((word) => ems(word, digit)));
  const fitting = nameWidth / (longest * NAME);
  return px(isNarrow ? Math.max(layout.name * SMALLEST_NAME, Math.min(layout.name, fitting)) : layout.name);
}

/** @param {Row} row @param {View} view */
function stackedRow(row, view) {
  return html`<tbody>
    <tr class="heading">
      <th scope="rowgroup" class="name" colspan=${view.figures.length}><div>${nameTemplate(row, view)}</div></th>
    </tr>
    <tr class="figures">
      ${view.figures.map((figure, at) => cellTemplate(row, figure, at, view))}
    </tr>
  </tbody>`;
}

/** @param {Row} row @param {View} view */
function nameTemplate(row, { layout, digit, nameWidth }) {
  // The name has room first.
  const left = nameWidth / layout.name - ems(row.name, digit) * NAME - layout.mark / layout.name - 2 * GAP;
  const words = wordsWithin(row.words, left / WORD, digit);
  return html`${mark(row.severity)}<bdi dir="auto">${row.name}</bdi>${words ? html`<span class="word">${words}</span>` : nothing}`;
}

/** @param {Row} row @param {string} figure @param {number} at @param {View} view */
function cellTemplate(row, figure, at, view) {
  const { severity, second } = row.cells[figure];
  return html`<td data-main=${FIGURES[figure].main} data-severity=${severity}>
    ${figureTemplate(row, figure, at, view)}${second ? secondTemplate(second, at, view) : nothing}
  </td>`;
}

/** @param {string} second @param {number} at @param {View} view */
function secondTemplate(second, at, { layout, digit }) {
  const { size } = fit(second, null, layout.text, layout.columns[at] - 2 * layout.padding, digit);
  return html`<small ${styled({ "font-size": px(size) })}>${second}</small>`;
}

/** @param {Row} row @param {string} figure @param {number} at @param {View} view */
function figureTemplate(row, figure, at, { layout, digit }) {
  const { text, short, value } = row.cells[figure];
  const size = FIGURES[figure].main ? layout.main : layout.side;
  const shown = fit(text, short, size, layout.columns[at] - 2 * layout.padding, digit);
  return html`<span class="figure" ?data-none=${value === null} ${styled({ "font-size": px(shown.size) })}>${shown.text}</span>`;
}

/** @param {Row[]} rows @param {View} view @param {unknown} [chart] */
export function cardsTemplate(rows, view, chart = nothing) {
  const line = (/** @type {Row} */ row, /** @type {boolean} */ isMain) => {
    const shown = view.figures.filter((figure) => FIGURES[figure].main === isMain);
    return shown.length ? html`<dl data-main=${isMain}>${shown.map((figure) => tileTemplate(row, figure, view.figures.indexOf(figure), view))}</dl>` : nothing;
  };
  return html`<ul class="cards">
    ${repeat(
      rows,
      (row) => row.name,
      (row) => html`<li data-severity=${row.severity}>
        <h2 class="name">${nameTemplate(row, view)}</h2>
        ${line(row, true)}${line(row, false)}${chart}
      </li>`,
    )}
  </ul>`;
}

/** @param {Row} row @param {string} figure @param {number} at @param {View} view */
function tileTemplate(row, figure, at, view) {
  const { severity, second } = row.cells[figure];
  return html`<div data-severity=${severity} ${styled({ width: px(view.layout.columns[at]) })}>
    <dt><span aria-hidden="true">${text(`figure.${figure}`)}</span><span class="unseen">${label(figure)}</span></dt>
    <dd>${figureTemplate(row, figure, at, view)}${second ? html`<small>${second}</small>` : nothing}</dd>
  </div>`;
}

/** @param {string} said @param {string} hint */
export const emptyTemplate = (said, hint) => html`<div class="empty"><p>${said}</p>${hint ? html`<p class="hint">${hint}</p>` : nothing}</div>`;
