// What a screen reader says without being asked: each text once, in its order, the same text again too. While a dialog is
// open, browsers hide from screen readers what is outside of it, live regions too: texts are said in the dialog then.

import { spoken } from "../texts.js";

/** Screen readers have taken a text long before. */
const KEPT_MS = 10_000;
/** More at once would not be listened to. */
const MAX_KEPT = 8;

/** Return a place for texts; it has to be in the document before the first of them. */
export function newAnnouncer() {
  const region = document.createElement("div");
  region.className = "unseen announcer";
  region.setAttribute("role", "status");
  region.setAttribute("aria-atomic", "false");
  region.setAttribute("aria-relevant", "additions");
  return region;
}

/** Have the page be able to announce. A page calls it once, before the first text. */
export function startAnnouncer() {
  document.body.append(newAnnouncer());
}

/** Have a screen reader say something, after what it says now. @param {string} words */
export function announce(words) {
  const dialogs = document.querySelectorAll("dialog[open] > .announcer");
  const region = dialogs[dialogs.length - 1] ?? document.querySelector("body > .announcer");
  if (!region || !words) return;
  const line = document.createElement("p");
  line.textContent = spoken(words);
  region.append(line);
  while (region.children.length > MAX_KEPT) region.firstElementChild?.remove();
  setTimeout(() => line.remove(), KEPT_MS);
}
