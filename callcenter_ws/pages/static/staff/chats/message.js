// One message of a chat.

import { clockTime } from "../clock.js";
import { hasText, isolated, text } from "../../texts.js";
import { html, nothing } from "../../vendor/lit-html/lit-html.js";

/** Longer messages are shown in part. */
const LONG_CHARACTERS = 1_200;
const LONG_LINES = 16;
/** Of a message, in the name of a button. */
const NAMED_CHARACTERS = 40;

/** @typedef {import("./model.js").Row} Row */
/**
 * What messages can be asked to do.
 * @typedef {{retry: (id: string) => void, discard: (id: string) => void, toggle: (key: string) => void,
 *   isOpened: (key: string) => boolean, isOnline: () => boolean}} Doing
 */

/** @param {string} body */
const isLong = (body) => body.length > LONG_CHARACTERS || body.split("\n", LONG_LINES + 1).length > LONG_LINES;

/** @param {string} body */
const nameOf = (body) => isolated(body.length > NAMED_CHARACTERS ? `${[...body.slice(0, NAMED_CHARACTERS)].slice(0, -1).join("")}…` : body);

/** Return why a reply failed, for a person. @param {{code: string, reason: string}} unsent */
export function failure({ code, reason }) {
  return text(hasText(`chats.failed.${code}`) ? `chats.failed.${code}` : "chats.failed.other", { reason });
}

/** @param {Row} row */
function nameOfSender({ sender, name }) {
  if (sender === "own") return text("chats.own");
  if (sender === "system") return name || text("chats.system");
  return name || text("chats.visitor");
}

/** @param {Row} row @param {Doing} doing */
function stateText({ state, unsent }, doing) {
  if (state === "failed") return text("chats.state.failed", { reason: unsent ? failure(unsent) : "" });
  return text(state === "sending" && !doing.isOnline() ? "chats.state.waiting" : `chats.state.${state}`);
}

/** @param {Row} row @param {Doing} doing */
const failed = ({ unsent }, doing) =>
  unsent === null
    ? nothing
    : html`<span class="again">
        <button class="small" data-action="retry" aria-label=${text("chats.retry.label", { body: nameOf(unsent.body) })} @click=${() => doing.retry(unsent.id)}>${text("chats.retry")}</button>
        <button class="small" data-action="discard" aria-label=${text("chats.discard.label", { body: nameOf(unsent.body) })} @click=${() => doing.discard(unsent.id)}>${text("chats.discard")}</button>
      </span>`;

/**
 * @param {Row} row
 * @param {boolean} showsState whether its state is not that of the user's next message
 * @param {Doing} doing
 */
export function message(row, showsState, doing) {
  const { key, sender, body, at, isPrivate, isFirst, state } = row;
  const long = isLong(body);
  const opened = long && doing.isOpened(key);
  return html`
    <div class="message" data-sender=${sender} data-state=${state ?? ""} ?data-private=${isPrivate} ?data-first=${isFirst}>
      ${isFirst
        ? html`<p class="who"><strong><bdi>${nameOfSender(row)}</bdi></strong> ${isPrivate ? html`<span class="badge private">${text("chats.private")}<span class="unseen">, ${text("chats.private.label")}</span></span>` : nothing} <time>${clockTime(at)}</time></p>`
        : html`<span class="unseen">${nameOfSender(row)}: </span>`}
      <p class="body" dir="auto" ?data-short=${long && !opened}>${body}</p>
      ${long ? html`<button class="all" aria-expanded=${opened ? "true" : "false"} @click=${() => doing.toggle(key)}>${text(opened ? "chats.show_less" : "chats.show_all")}</button>` : nothing}
      ${state === null ? nothing : html`<p class=${showsState ? "state" : "state unseen"}><span class="sign" aria-hidden="true"></span><span>${stateText(row, doing)}</span>${state === "failed" ? failed(row, doing) : nothing}</p>`}
    </div>`;
}

/**
 * Return the messages of a log; those with the same key keep their element.
 * @param {Row[]} rows
 * @param {Doing} doing
 */
export function stated(rows, doing) {
  /** @type {Row["state"] | undefined} */
  let next;
  const shown = new Array(rows.length);
  for (let at = rows.length - 1; at >= 0; at -= 1) {
    const { state } = rows[at];
    shown[at] = { key: rows[at].key, template: message(rows[at], state === "failed" || state !== next, doing) };
    if (state !== null) next = state;
  }
  return shown;
}
