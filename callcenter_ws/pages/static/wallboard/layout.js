// Where everything goes and how large it is. Lengths are in pixels; the constants are in hundredths of the height ("vh").

/** The type of all pages, as in base.css: the chart draws letters of its own. */
export const TYPE = '"Roboto Condensed", "DejaVu Sans Condensed", "Arial Narrow", sans-serif';

const MARGIN = 1.9;
const PADDING = 1.2;
const STRIP = 9;
const HEAD = 7.2;
const MARK = 5;
const NAME_ROOM = 22;
const LEAST_NAME_ROOM = 18;
const TEXT = 6;
/** A figure of the size s is 0.9 s high with its distance to the next. */
const LINE = 0.92;
/** Heads become smaller than other texts only in narrow windows. */
const LEAST_HEAD = 3.6;
const MAX_MAIN = 25;
/** Beside names figures are no larger: the room is worth more to the names. */
const MAX_MAIN_BESIDE = 15;
/** Names become narrower before the main figures become smaller than this. */
const GOOD_MAIN = 12;
const STEP = 0.1;
/** The margin and padding of a card, in ems of a main figure. */
const CARD_MARGIN = 0.5;
/** In pixels. */
const SCROLLBAR = 16;
/** A lower chart shows nothing. */
const LEAST_CHART = 16;
const MAX_CHART = 30;
/** A figure that would be smaller than this part of its column's size is written shorter. */
const SHORTEN_BELOW = 0.67;

// Widths of the vendored font in em, bold, rounded up.
const DIGIT = 0.517;
/** @type {{[character: string]: number}} */
const WIDTHS = { ":": 0.27, ".": 0.28, ",": 0.25, " ": 0.23, "–": 0.6, "%": 0.67, "m": 0.79, "w": 0.68, "h": 0.5, "k": 0.49 };
const LETTER = 0.46;

/**
 * Return the width of a text in em, by a measured width of the digits.
 * @param {string} text
 * @param {number} [digit]
 */
export function ems(text, digit = DIGIT) {
  let sum = 0;
  for (const one of text) sum += one >= "0" && one <= "9" ? DIGIT : (WIDTHS[one] ?? LETTER);
  return (sum * digit) / DIGIT;
}

/** @typedef {{main: boolean, room: string, head: string, longest: string}} Column */
/**
 * @typedef {object} Layout
 * @property {"table" | "stacked" | "single" | "cards"} form `stacked`: the name above the figures
 * @property {number} rows rows of a page; 0: all
 * @property {number} strip
 * @property {number} head
 * @property {number} rowHeight
 * @property {number} main size of type
 * @property {number} side
 * @property {number} name
 * @property {number} text
 * @property {number} headText
 * @property {number} mark width of the mark
 * @property {number} nameWidth the width that a name has, with its words
 * @property {number} padding
 * @property {number[]} columns widths
 * @property {number} chart height left for the chart
 */

/**
 * @param {{width: number, height: number, rows: number, columns: Column[], digit?: number}} given `rows`: of a page
 * @returns {Layout}
 */
export function layout({ width, height, rows, columns, digit = DIGIT }) {
  if (width / height < 1.2 || height < 500) return cards(width, width / height < 1.2, columns);
  const unit = height / 100;
  const wide = width / unit - 2 * MARGIN;
  const form = rows <= 1 ? "single" : rows <= 3 ? "stacked" : "table";
  const made = form === "single" ? single(wide, columns, digit) : tabular(form, wide, rows, columns, digit);
  const lengths = Object.entries(made).map(([name, value]) => [
    name,
    Array.isArray(value) ? value.map((one) => one * unit) : value * unit,
  ]);
  const common = { strip: STRIP * unit, head: HEAD * unit, text: TEXT * unit, padding: PADDING * unit };
  return { form, rows, ...common, ...Object.fromEntries(lengths) };
}

/**
 * Cards below each other, for phones and upright screens: as large as the figures side by side allow.
 * @param {number} width
 * @param {boolean} isUpright
 * @param {Column[]} columns
 * @returns {Layout}
 */
function cards(width, isUpright, columns) {
  const main = isUpright ? Math.max(28, width / 8.5) : 40;
  const [side, name, text] = [Math.max(18, main * 0.42), Math.max(18, main * 0.45), Math.max(15, main * 0.34)];
  const padding = 6;
  const inner = width - 2 * main * CARD_MARGIN - SCROLLBAR;
  const sizes = { main, side, name, text, headText: text, padding, columns: tiles(columns, inner, main, side, text, padding) };
  return { form: "cards", rows: 0, strip: text * 3, head: 0, rowHeight: 0, chart: 0, mark: name, nameWidth: inner, ...sizes };
}

/**
 * Return the widths of tiles that fill a line with the main figures and a line with the others.
 * @param {Column[]} columns
 * @param {number} wide
 * @param {number} main
 * @param {number} side
 * @param {number} headText
 * @param {number} padding
 * @param {number} [digit]
 */
function tiles(columns, wide, main, side, headText, padding, digit = DIGIT) {
  const wanted = columns.map(({ main: isMain, room, longest, head }) => {
    const figure = Math.max(ems(room, digit), ems(longest, digit)) * (isMain ? main : side);
    return Math.max(figure, ems(head, digit) * headText) + 2 * padding;
  });
  const sum = (/** @type {boolean} */ isMain) => wanted.reduce((all, one, at) => all + (columns[at].main === isMain ? one : 0), 0);
  return wanted.map((one, at) => (one * wide) / sum(columns[at].main));
}

/**
 * @param {"table" | "stacked"} form
 * @param {number} wide
 * @param {number} rows
 * @param {Column[]} columns
 * @param {number} digit
 */
function tabular(form, wide, rows, columns, digit) {
  const rowHeight = (100 - STRIP - HEAD - 1) / rows;
  const name = form === "stacked" ? (rows === 2 ? 9 : 8) : TEXT;
  const figures = form === "stacked" ? rowHeight - name * 1.25 : rowHeight;
  const side = Math.max(TEXT, Math.min(9, figures / 2.3, form === "stacked" ? 7 : TEXT));
  let nameRoom = form === "stacked" ? 0 : MARK + NAME_ROOM;
  let main = Math.min(form === "table" ? MAX_MAIN_BESIDE : MAX_MAIN, figures / LINE);
  let headText = TEXT;
  const widths = () => least(columns, main, side, headText, digit);
  const isTooWide = () => nameRoom + total(widths()) > wide;
  while (main > GOOD_MAIN && isTooWide()) main -= STEP;
  while (form === "table" && nameRoom > MARK + LEAST_NAME_ROOM && isTooWide()) nameRoom -= STEP;
  while (headText > LEAST_HEAD && isTooWide()) headText -= STEP;
  while (main > TEXT && isTooWide()) main -= STEP;
  const made = widened(columns, widths(), main, digit, wide - nameRoom);
  const nameWidth = form === "table" ? wide - MARK - total(made) : wide;
  return { rowHeight, main, side, name, headText, mark: MARK, nameWidth, columns: made, chart: 0 };
}

/**
 * One queue: the main figures in a line, the side figures in the next, the chart beneath.
 * @param {number} wide
 * @param {Column[]} columns
 * @param {number} digit
 */
function single(wide, columns, digit) {
  const mains = columns.filter(({ main }) => main);
  const sides = columns.filter(({ main }) => !main);
  const name = 10;
  let main = MAX_MAIN;
  const sum = () => mains.map((one) => tile(one, main, digit)).reduce((one, other) => one + other, 0);
  while (main > TEXT && sum() > wide) main -= STEP;
  const side = sides.length > 3 ? 8 : 10;
  const widths = tiles(columns, wide, main, side, TEXT, PADDING, digit);
  const used = STRIP + name * 1.2 + (mains.length ? TEXT * 1.2 + main * LINE : 0) + (sides.length ? TEXT * 1.2 + side * 1.2 : 0);
  const left = Math.min(MAX_CHART, 98 - used);
  const chart = left < LEAST_CHART ? 0 : left;
  return { rowHeight: 100 - STRIP, main, side, name, headText: TEXT, mark: name * 0.7, nameWidth: wide, columns: widths, chart };
}

/** @param {Column} column @param {number} main @param {number} digit */
const tile = ({ room, longest, head }, main, digit) =>
  Math.max(ems(room, digit) * main, ems(longest, digit) * main, ems(head, digit) * TEXT) + 4 * PADDING;

/**
 * Return the widths for the usual texts and the heads.
 * @param {Column[]} columns
 * @param {number} main
 * @param {number} side
 * @param {number} headText
 * @param {number} digit
 */
function least(columns, main, side, headText, digit) {
  return columns.map(({ main: isMain, room, longest, head }) => {
    // Small figures may not become smaller.
    const figure = isMain ? ems(room, digit) * main : Math.max(ems(room, digit), ems(longest, digit)) * side;
    return Math.max(figure, ems(head, digit) * headText) + 2 * PADDING;
  });
}

/**
 * Return the widths of the columns: what the longest texts need, as far as there is room.
 * @param {Column[]} columns
 * @param {number[]} widths
 * @param {number} main
 * @param {number} digit
 * @param {number} room
 */
function widened(columns, widths, main, digit, room) {
  const extra = columns.map(({ main: isMain, longest }, at) =>
    Math.max(0, (isMain ? ems(longest, digit) * main + 2 * PADDING : 0) - widths[at]),
  );
  const left = Math.max(0, room - total(widths));
  const part = total(extra) > left ? left / total(extra) : 1;
  return widths.map((width, at) => width + extra[at] * part);
}

/** @param {number[]} lengths */
const total = (lengths) => lengths.reduce((one, other) => one + other, 0);

/**
 * Return the text of a figure and its size so that it fits its column: smaller, or written shorter, never cut.
 * @param {string} text
 * @param {string | null} short
 * @param {number} size
 * @param {number} width without the padding
 * @param {number} [digit]
 */
export function fit(text, short, size, width, digit = DIGIT) {
  const fitting = (/** @type {string} */ one) => Math.min(size, width / ems(one, digit));
  if (short === null || short === text || fitting(text) >= size * SHORTEN_BELOW) return { text, size: fitting(text) };
  return { text: short, size: fitting(short) };
}
