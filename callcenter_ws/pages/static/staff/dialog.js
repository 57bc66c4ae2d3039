// A dialog: it keeps the focus while it is open, and gives it back.

import { html, render } from "../vendor/lit-html/lit-html.js";
import { spoken, text } from "../texts.js";
import { newAnnouncer } from "./announcer.js";

/** @typedef {{update: () => void, close: () => void, closed: Promise<void>, element: HTMLDialogElement}} Dialog */

/**
 * Open a dialog. Escape and its button close it; the focus goes back to where it was.
 * @param {string} title
 * @param {(dialog: Dialog) => unknown} content what it shows, rendered by `update` again
 * @param {{className?: string}} [options]
 * @returns {Dialog}
 */
export function openDialog(title, content, { className = "" } = {}) {
  const before = /** @type {HTMLElement | null} */ (document.activeElement);
  const element = document.createElement("dialog");
  element.className = className;
  element.setAttribute("aria-label", spoken(title));
  const announcer = newAnnouncer();
  element.append(announcer);
  document.body.append(element);
  /** @type {() => void} */
  let settle;
  /** @type {Dialog} */
  const dialog = {
    element,
    update: () =>
      void render(
        html`<header role="none"><h2 tabindex="-1">${title}</h2><button class="small" data-action="close" @click=${() => dialog.close()}>${text("staff.close")}</button></header>${content(dialog)}`,
        element,
        { renderBefore: announcer },
      ),
    close: () => (element.close ? element.close() : end()),
    closed: new Promise((resolve) => (settle = resolve)),
  };
  function end() {
    if (!element.isConnected) return;
    element.remove();
    // What had the focus may have left the document meanwhile.
    if (before?.isConnected) before.focus();
    settle();
  }
  element.addEventListener("close", end);
  dialog.update();
  // The oldest browsers that the manual names have no dialogs: there it is a part of the page.
  if (element.showModal) element.showModal();
  else element.setAttribute("open", "");
  /** @type {HTMLElement | null} */ (element.querySelector("[autofocus]") ?? element.querySelector("h2"))?.focus();
  return dialog;
}

/** Whether a dialog is open. */
export const isDialogOpen = () => document.querySelector("dialog[open]") !== null;
