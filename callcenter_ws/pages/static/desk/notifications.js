// The notifications of a user, with what waited while the user was away.

import "./chats/texts.js";
import { embedder } from "../embedded.js";
import { clockTime } from "../staff/clock.js";
import { onceAFrame } from "../staff/frame.js";
import { hasText, isolated, text } from "../texts.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { html, nothing, render } from "../vendor/lit-html/lit-html.js";
import { Kept } from "./chats/kept.js";
import { Notices } from "./notices.js";

/** The longest time that a timer of a browser takes. */
const MAX_TIMER_MS = 2_000_000_000;

/** @typedef {import("./notices.js").Notice} Notice */

/** Words beside the severity, so that it does not depend on color. @param {Notice} notice */
const mark = ({ severity }) =>
  hasText(`notices.severity.${severity}`) ? html`<span class="mark" data-severity=${severity}>${text(`notices.severity.${severity}`)}</span>` : nothing;

/** @param {Notices} notices */
function view(notices, wasLost = false) {
  const { list, unread } = notices;
  const read = list.filter(({ isRead }) => isRead).map(({ id }) => id);
  return html`
    <header class="side-head"><h2 id="notices-title" tabindex="-1">${text("notices.title")}${unread ? html` <span class="count">${text("notices.unread", { n: unread })}</span>` : nothing}</h2>
      ${unread > 1 ? html`<button class="small" data-action="read-all" @click=${() => notices.read(list.map(({ id }) => id))}>${text("notices.read_all")}</button>` : nothing}
      ${read.length > 1 ? html`<button class="small" data-action="dismiss-all" @click=${() => notices.dismiss(read)}>${text("notices.dismiss_all")}</button>` : nothing}
    </header>
    ${wasLost ? html`<p class="problem">${text("notices.lost")}</p>` : nothing}
    ${list.length ? nothing : html`<p class="quiet">${text("notices.none")}</p>`}
    <ol class="notices" aria-labelledby="notices-title">${repeat(list, ({ id }) => id, (one) => notice(notices, one))}</ol>`;
}

/** @param {Notices} notices @param {Notice} one */
function notice(notices, one) {
  const { id, title, message, at, isAway, isRead } = one;
  const named = { title: isolated(title) };
  return html`
    <li data-notice=${id} ?data-unread=${!isRead}>
      <p class="facts"><time>${clockTime(at)}</time>${isRead ? nothing : html`<span class="badge unread">${text("notices.new")}</span>`}${isAway ? html`<span class="badge away">${text("notices.away")}</span>` : nothing}${mark(one)}</p>
      <p class="title"><strong dir="auto">${title}</strong></p>
      <p class="words" dir="auto">${message}</p>
      <p class="doing">
        ${isRead ? nothing : html`<button class="small" data-action="read" aria-label=${text("notices.read.label", named)} @click=${() => notices.read([id])}>${text("notices.read")}</button>`}
        <button class="small" data-action="dismiss" aria-label=${text("notices.dismiss.label", named)} @click=${() => notices.dismiss([id])}>${text("notices.dismiss")}</button>
      </p>
    </li>`;
}

/** Return a channel to the other desks of a user in this browser; in a frame, browsers may refuse it. @param {string} user */
function channelOf(user) {
  return embedder() ? null : new BroadcastChannel(`callcenter-ws desk ${user}`);
}

/** Show the notifications. @param {HTMLElement} root @param {import("./main.js").Context} context */
export function mountNotifications(root, { client, announce, attention }) {
  const kept = new Kept();
  /** @type {BroadcastChannel | null} */
  let channel = null;
  let user = "";
  let wasLost = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const notices = new Notices(kept, (message) => {
    channel?.postMessage(message);
    draw();
  });
  const draw = onceAFrame(() => {
    clearTimeout(timer);
    const next = notices.expire(client.now());
    if (next !== null) timer = setTimeout(draw, Math.min(MAX_TIMER_MS, Math.max(0, next - client.now()) + 100));
    const had = root.contains(document.activeElement);
    render(view(notices, wasLost), root);
    // The button that was pressed is gone with what it was for.
    if (had && document.activeElement === document.body) /** @type {HTMLElement | null} */ (root.querySelector("[data-notice] button, h2"))?.focus();
  });
  /** Those that waited come one after the other: a screen reader says how many they are. */
  const tellAway = onceAFrame(() => announce(text("notices.announced.away", { n: notices.unread })));
  const begin = () => {
    const { identity } = client;
    const present = identity ? JSON.stringify([identity.tenant_id, identity.user_id]) : "";
    if (!identity || present === user) return;
    user = present;
    kept.setUser(identity);
    channel?.close();
    channel = channelOf(user);
    channel?.addEventListener("message", ({ data }) => {
      notices.told(data);
      draw();
    });
    notices.load();
    draw();
  };
  client.on("status", begin);
  client.on("event", (event) => {
    begin();
    if (event.type !== "notification") {
      // What else is for this user is acknowledged by having been received; commands acknowledge their own.
      if (event.user_id !== undefined && client.status.leads) event.acknowledge?.();
      return;
    }
    const added = notices.event(event, client.now());
    draw();
    if (!added) return;
    if (added.isAway) tellAway();
    else announce(text("notices.announced", { title: isolated(added.title) }));
    attention.notify({ kind: "notification", title: added.title, body: added.message, tag: `notification:${added.id}` });
  });
  client.on("lost", ({ reason }) => {
    wasLost ||= reason === "mailbox";
    draw();
  });
  begin();
  draw();
}
