// Where everything goes and how large it is. Lengths are in pixels; the constants are in hundredths of the height ("vh").

const MARGIN = 1.9;
const PADDING = 0.8;
const STRIP = 9;
const HEAD = 7.2;
const MARK = 6;
const NAME_ROOM = 24;
const LEAST_NAME_ROOM = 16;
const TEXT = 6;
/** A figure of the size s is 0.9 s high with its distance to the next. */
const LINE = 0.92;
/** Heads become smaller than other texts only in narrow windows. */
const LEAST_HEAD = 3.6;
const MAX_MAIN = 25;
/** Names become narrower before the main figures become smaller than this. */
const GOOD_MAIN = 12;
const STEP = 0.1;
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
 * @property {number} padding
 * @property {number[]} columns widths; empty for cards
 * @property {number} chart height left for the chart
 */

/**
 * @param {{width: number, height: number, rows: number, columns: Column[], digit?: number}} given `rows`: of a page
 * @returns {Layout}
 */
export function layout({ width, height, rows, columns, digit = DIGIT }) {
  if (width / height < 1.2 || height < 500) return cards(width);
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

/** @param {number} width @returns {Layout} */
function cards(width) {
  // Phones: as large as three figures side by side allow.
  const main = Math.min(56, Math.max(28, width / 9));
  return { form: "cards", rows: 0, strip: 48, head: 0, rowHeight: 0, main, side: 17, name: 20, text: 16, headText: 15, padding: 8, columns: [], chart: 0 };
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
  let main = Math.min(MAX_MAIN, figures / LINE);
  let headText = TEXT;
  const widths = () => least(columns, main, side, headText, digit);
  const isTooWide = () => nameRoom + widths().reduce((one, other) => one + other, 0) > wide;
  while (main > GOOD_MAIN && isTooWide()) main -= STEP;
  while (form === "table" && nameRoom > MARK + LEAST_NAME_ROOM && isTooWide()) nameRoom -= STEP;
  while (headText > LEAST_HEAD && isTooWide()) headText -= STEP;
  while (main > TEXT && isTooWide()) main -= STEP;
  return { rowHeight, main, side, name, headText, columns: widened(columns, widths(), main, side, digit, wide - nameRoom), chart: 0 };
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
  const used = STRIP + name * 1.2 + (mains.length ? TEXT * 1.2 + main * LINE : 0) + (sides.length ? TEXT * 1.2 + side * 1.2 : 0);
  return { rowHeight: 100 - STRIP, main, side, name, headText: TEXT, columns: [], chart: Math.max(0, Math.min(30, 97 - used)) };
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
  return columns.map(({ main: isMain, room, head }) => {
    const figure = ems(room, digit) * (isMain ? main : side);
    return Math.max(figure, ems(head, digit) * headText) + 2 * PADDING;
  });
}

/**
 * Return the widths of the columns: what the longest texts need, as far as there is room.
 * @param {Column[]} columns
 * @param {number[]} widths
 * @param {number} main
 * @param {number} side
 * @param {number} digit
 * @param {number} room
 */
function widened(columns, widths, main, side, digit, room) {
  const extra = columns.map(({ main: isMain, longest }, at) =>
    Math.max(0, ems(longest, digit) * (isMain ? main : side) + 2 * PADDING - widths[at]),
  );
  const wanted = extra.reduce((one, other) => one + other, 0);
  const left = Math.max(0, room - widths.reduce((one, other) => one + other, 0));
  const part = wanted > left ? left / wanted : 1;
  return widths.map((width, at) => width + extra[at] * part);
}

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
