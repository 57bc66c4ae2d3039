/** Elements, made without markup: sites may forbid it (Trusted Types). */

/**
 * @template {keyof HTMLElementTagNameMap} Name
 * @param {Name} name
 * @param {Record<string, string | number | boolean | null | undefined | ((event: any) => void)>} [given] attributes, and listeners as `onclick`
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[Name]}
 */
export function element(name, given = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(given)) {
    if (typeof value === "function") made.addEventListener(key.slice(2), value);
    else setAttribute(made, key, value);
  }
  made.append(...children);
  return made;
}

/** @param {Element} target @param {string} name @param {string | number | boolean | null | undefined} value */
export function setAttribute(target, name, value) {
  const text = value === true ? "" : value === false || value == null ? null : String(value);
  if (text === target.getAttribute(name)) return;
  if (text === null) target.removeAttribute(name);
  else target.setAttribute(name, text);
}

/** Change a text only if it differs: screen readers read what changes. @param {Element} target @param {string} text */
export function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

/** @param {HTMLElement} target @param {boolean} isShown */
export function setShown(target, isShown) {
  target.hidden = !isShown;
}

const SVG = "http://www.w3.org/2000/svg";

/** @param {string} path of a drawing of 24 by 24, in lines */
export function icon(path) {
  const drawing = document.createElementNS(SVG, "svg");
  for (const [name, value] of Object.entries({ viewBox: "0 0 24 24", "aria-hidden": "true" })) drawing.setAttribute(name, value);
  const line = document.createElementNS(SVG, "path");
  line.setAttribute("d", path);
  drawing.append(line);
  return drawing;
}
