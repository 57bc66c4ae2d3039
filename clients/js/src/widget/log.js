/** The messages on the screen. */

import { element, icon, setAttribute, setShown, setText } from "./dom.js";
import { piecesOf } from "./messages.js";

/** @typedef {import("./messages.js").Line} Line */
/** @typedef {import("./texts.js").Say} Say */
/** @typedef {{root: HTMLElement, who: HTMLElement, time: HTMLElement, state: HTMLElement, retry: HTMLElement}} Shape */

/** Messages of one sender that are no further apart have one time. */
const TOGETHER_MS = 5 * 60000;
const CHECK = "M5 13l4 4 10-11";

/** @param {Say} say @param {string} language @param {() => void} retry */
export function logOf(say, language, retry) {
  const root = element("div", { role: "log", class: "log", "aria-label": say("log"), "aria-relevant": "additions" });
  /** @type {Map<string, Shape>} */
  const shapes = new Map();

  /** @param {Line} line @returns {Shape} */
  const shapeOf = ({ from, body, at }) => {
    const isOwn = from === "visitor";
    const who = element("p", { class: "who" });
    // Each text is isolated: what changes the direction of writing in it ends with it.
    const text = element("p", { class: "body", dir: "auto" }, ...piecesOf(body).map(({ text, href }) => (href && !isOwn ? link(href) : text)));
    const time = element("time", { datetime: dateOf(at)?.toISOString() ?? "" });
    const state = element("span", { class: "state" });
    const again = element("button", { type: "button", class: "link", onclick: retry }, say("retry"));
    const made = element("div", { class: `line ${from === "system" ? "system" : isOwn ? "own" : "other"}` }, who, text, element("p", { class: "meta" }, time, state, again));
    return { root: made, who, time, state, retry: again };
  };

  /** @param {string} href */
  const link = (href) => element("a", { href, target: "_blank", rel: "noopener noreferrer nofollow", title: say("links") }, href);

  /** @param {Line} line @param {Line | undefined} before @param {Line | undefined} next @param {boolean} isLastOwn */
  const update = (line, before, next, isLastOwn) => {
    const { root: made, who, time, state, retry: again } = /** @type {Shape} */ (shapes.get(line.key));
    const isOwn = line.from === "visitor";
    const isFirst = !before || before.from !== line.from || before.name !== line.name || line.at - before.at > TOGETHER_MS;
    const isLast = !next || next.from !== line.from || next.name !== line.name || next.at - line.at > TOGETHER_MS;
    setText(who, isOwn ? say("you") : (line.name ?? say("agent")));
    // Own messages are at their own side; for screen readers each has its sender.
    setAttribute(who, "class", isFirst && !isOwn ? "who" : "who unseen");
    setAttribute(made, "data-first", isFirst);
    setAttribute(made, "data-state", isOwn ? line.state : null);
    setText(time, timeOf(line.at, language));
    const isDone = line.state === "published";
    const shown = !isOwn || (isDone && !isLastOwn) ? "" : say(isDone ? "published" : /** @type {"sending" | "failed"} */ (line.state));
    if (state.dataset.shown !== shown) {
      state.dataset.shown = shown;
      state.textContent = shown;
      if (isDone && shown) state.prepend(icon(CHECK));
    }
    setShown(time, isDone && (isLast || isLastOwn));
    setShown(again, line.state === "failed");
    setShown(/** @type {HTMLElement} */ (time.parentElement), !time.hidden || shown !== "");
  };

  return {
    root,
    /** Show these lines in place of what is shown. @param {readonly Line[]} lines @returns {boolean} whether one was added */
    show(lines) {
      const keys = new Set(lines.map(({ key }) => key));
      for (const [key, { root: made }] of shapes) {
        if (keys.has(key)) continue;
        made.remove();
        shapes.delete(key);
      }
      let isAdded = false;
      /** @type {Element | null} */
      let at = root.firstElementChild;
      const own = lines.filter(({ from }) => from === "visitor").pop();
      for (const line of lines) {
        if (!shapes.has(line.key)) {
          shapes.set(line.key, shapeOf(line));
          isAdded = true;
        }
        const { root: made } = /** @type {Shape} */ (shapes.get(line.key));
        if (made === at) at = at.nextElementSibling;
        else root.insertBefore(made, at);
      }
      lines.forEach((line, index) => update(line, lines[index - 1], lines[index + 1], line === own));
      return isAdded;
    },
  };
}

/** @param {number} at @returns {Date | null} */
const dateOf = (at) => (Number.isFinite(at) ? new Date(at) : null);

/** Return the time of day, and the date if it is another day. @param {number} at Unix ms @param {string} language */
function timeOf(at, language) {
  const date = dateOf(at);
  if (!date) return "";
  const isToday = date.toDateString() === new Date().toDateString();
  /** @type {Intl.DateTimeFormatOptions} */
  const day = isToday ? {} : { day: "numeric", month: "short" };
  return date.toLocaleString(language, { hour: "numeric", minute: "2-digit", ...day });
}
