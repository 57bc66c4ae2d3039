// The page /desk: the regions of an agent's desk, and what they share.

import "../staff/texts.js";
import "./texts.js";
import { openClient } from "../session.js";
import { Actions } from "../staff/actions.js";
import { announce, startAnnouncer } from "../staff/announcer.js";
import { startClock } from "../staff/clock.js";
import { keepFocus } from "../staff/focus.js";
import { onceAFrame } from "../staff/frame.js";
import { applyTheme, Head, isOld } from "../staff/head.js";
import { Keys } from "../staff/keys.js";
import { text } from "../texts.js";
import { html, render } from "../vendor/lit-html/lit-html.js";
import { Attention } from "./attention.js";
import { CallColumn } from "./call_column.js";
import { mountChats } from "./chats/pane.js";
import { mountFigures } from "./figures.js";
import { missing } from "./missing.js";
import { mountNotifications } from "./notifications.js";
import { beforeSignOut } from "./sign_out.js";
import { SourcesDown } from "./sources_down.js";
import { OwnState } from "./state.js";

/**
 * What the regions of the desk share. `changed` has the header and what became of commands drawn again; `onActions` calls back
 * when a command, or what may be done, has changed; `announce` has a screen reader say something, once; `attention.notify` has
 * something noticed by a user who does not look at the page.
 * @typedef {{client: import("../client.js").Client, actions: Actions, keys: Keys, attention: Attention, changed: () => void,
 *   onActions: (callback: () => void) => void, announce: (words: string) => void}} Context
 */

applyTheme();
document.title = text("desk.title");
startAnnouncer();
keepFocus();
const root = /** @type {HTMLElement} */ (document.getElementById("desk"));
/** @type {(() => void)[]} */
const callbacks = [];

/** The regions are drawn by their modules, each for itself. */
render(
  html`
    <div id="head"></div>
    <main>
      <h1 class="unseen">${text("desk.title")}</h1>
      <div id="down"></div>
      <section id="state" aria-label=${text("desk.state.title")}></section>
      <section id="calls" aria-label=${text("desk.calls")}></section>
      <section id="chats" aria-labelledby="chats-title"></section>
      <aside aria-label=${text("desk.side")}><section id="notifications" aria-labelledby="notices-title"></section><section id="figures"></section></aside>
    </main>
    <div id="actions"></div>`,
  root,
);
const place = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));
const places = { head: place("head"), actions: place("actions"), down: place("down") };

// Notifications are acknowledged when the user dismisses them.
const client = openClient({ acknowledge: "manual" });
startClock(() => client.now());
const changed = onceAFrame(() => {
  root.toggleAttribute("data-old", isOld(client));
  root.toggleAttribute("data-down", down.isAll);
  render(down.view(), places.down);
  render(head.view(attention.view()), places.head);
  render(actions.view(), places.actions);
});
const actions = new Actions(client, {
  changed: () => {
    changed();
    for (const callback of callbacks) callback();
  },
});
const keys = new Keys();
const head = new Head(client, { page: "desk", changed, beforeSignOut: () => beforeSignOut(context, own) });
const attention = new Attention(client, changed);

/** @type {Context} */
const context = {
  client,
  actions,
  keys,
  attention,
  changed,
  onActions: (callback) => void callbacks.push(callback),
  announce,
};
const down = new SourcesDown(client, context);
const own = new OwnState(place("state"), context);
new CallColumn(place("calls"), context, own, (ringing) => attention.rings(ringing));
mountChats(place("chats"), context);
mountNotifications(place("notifications"), context);
mountFigures(place("figures"), context);
keys.note(() => missing(actions));
changed();
