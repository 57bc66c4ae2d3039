/** The tenant's color and what fits it: text on it, and the same color as text on a light and on a dark ground. */

/** @typedef {[number, number, number]} Rgb each from 0 to 255 */

const DEFAULT = "#0b5cad";
/** The grounds of the panel, as in widget.css. */
export const LIGHT = "#ffffff";
export const DARK = "#161b22";
/** The least contrast of text (WCAG 2.2, 1.4.3). */
const TEXT = 4.5;

/** @param {string} text like `#0b5cad` or `#0bd` @returns {Rgb | null} */
export function parseColor(text) {
  const digits = /^#(?:([\da-f]{3})|([\da-f]{6}))$/i.exec(text.trim());
  if (!digits) return null;
  const six = digits[2] ?? [...digits[1]].map((digit) => digit + digit).join("");
  return /** @type {Rgb} */ ([0, 2, 4].map((at) => parseInt(six.slice(at, at + 2), 16)));
}

/** @param {Rgb} color */
const format = (color) => `#${color.map((part) => Math.round(part).toString(16).padStart(2, "0")).join("")}`;

/** @param {Rgb} color the relative luminance (WCAG 2.2) */
function luminance(color) {
  const [red, green, blue] = color.map((part) => {
    const share = part / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

/** @param {string} one @param {string} other two valid colors */
export function contrast(one, other) {
  const [low, high] = [one, other].map((color) => luminance(/** @type {Rgb} */ (parseColor(color)))).sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}

/** Return the color, moved towards black or white until text in it can be read on a ground. @param {string} color @param {string} ground */
function readable(color, ground) {
  const target = ground === LIGHT ? 0 : 255;
  const from = /** @type {Rgb} */ (parseColor(color));
  for (let step = 0; step <= 20; step += 1) {
    const moved = format(/** @type {Rgb} */ (from.map((part) => part + ((target - part) * step) / 20)));
    if (contrast(moved, ground) >= TEXT) return moved;
  }
  return target ? LIGHT : "#000000";
}

/**
 * Return the colors of the widget for that of a tenant; an invalid one is replaced by the default.
 *
 * @param {string | null | undefined} color
 * @returns {{accent: string, onAccent: string, light: string, dark: string}} `light` and `dark`: as text on these grounds
 */
export function colorsOf(color) {
  const accent = format(parseColor(color ?? "") ?? /** @type {Rgb} */ (parseColor(DEFAULT)));
  // One of the two has a contrast of at least 4.58 on every color.
  const onAccent = contrast(accent, "#ffffff") >= contrast(accent, "#000000") ? "#ffffff" : "#000000";
  return { accent, onAccent, light: readable(accent, LIGHT), dark: readable(accent, DARK) };
}
