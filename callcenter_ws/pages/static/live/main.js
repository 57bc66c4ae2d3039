// The live view: the stream of events as lines, with filters, and the alerts that are raised.

import { embedder } from "../embedded.js";
import { openClient, signOut } from "../session.js";
import { hasText, isolated, text } from "../texts.js";
import { html, nothing, render } from "../vendor/lit-html/lit-html.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { alertMark, byUrgency, MAY_ACKNOWLEDGE } from "./alerts.js";
import { alertReason, alertTitle } from "./lines.js";
import { EventStream, time } from "./stream.js";

const OLD = new Set(["stale", "offline", "stopped"]);

const root = /** @type {HTMLElement} */ (document.getElementById("live"));
const client = openClient();
/** @type {any[]} */
let alerts = [];
let scheduled = false;
const stream = new EventStream(client, draw);

function draw() {
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(() => {
    scheduled = false;
    render(page(), root);
  });
}

// ---- What is shown ----

function statusText() {
  const { state, as_of, offline_since, retry_at, reason } = client.status;
  const values = {
    as_of: time(as_of),
    since: time(offline_since ?? as_of),
    at: time(retry_at),
    reason: reason?.text ?? "",
  };
  return text(state === "offline" && retry_at !== null ? "live.status.offline.retry" : `live.status.${state}`, values);
}

/** Return what a screen reader says: the state without the times, which change each second. */
function announced() {
  const { state, reason } = client.status;
  return hasText(`live.announced.${state}`) ? text(`live.announced.${state}`) : (reason?.text ?? text("live.status.connecting"));
}

const head = () => html`
  <header>
    <h1>${text("page.live")}</h1>
    <p class="status" data-state=${client.status.state}><span aria-hidden="true">${statusText()}</span><span class="unseen" role="status">${announced()}</span></p>
    <a class="button" href="/wallboard">${text("page.wallboard")}</a>
    ${client.status.state === "stopped" ? html`<button class="main" data-action="again" @click=${() => location.reload()}>${text("live.again")}</button>` : nothing}
    ${embedder() ? nothing : html`<button data-action="sign-out" @click=${end}>${text("login.sign_out")}</button>`}
  </header>`;

/** @param {any} alert */
const alertLine = (alert) => html`
  <li data-severity=${alert.severity ?? "warning"} class=${alert.acknowledged ? "acknowledged" : ""}>
    ${alertMark(alert)}<strong><bdi>${alertTitle({ queue_name: alert.queue ?? undefined, source: alert.source, rule: alert.rule })}</bdi></strong>
    <span>${alertReason(alert)}</span>
    ${alert.acknowledged ? html`<span class="quiet">${text("live.alert.acknowledged", { name: isolated(alert.by ?? "") })}</span>` : nothing}
    ${!alert.acknowledged && MAY_ACKNOWLEDGE.has(client.identity?.role ?? "")
      ? html`<button data-action="acknowledge" @click=${() => acknowledge(alert)}>${text("live.alert.acknowledge")}</button>`
      : nothing}
  </li>`;

function page() {
  const { identity, store } = client;
  root.toggleAttribute("data-old", OLD.has(client.status.state));
  return html`
    ${head()}
    ${alerts.length ? html`<ul class="alerts" aria-label=${text("live.alerts")}>${repeat(alerts, (alert) => alert.key, alertLine)}</ul>` : nothing}
    ${stream.template()}
    <footer class="quiet">
      <span data-value="user">${identity ? text("live.user", { user: isolated(identity.user_id), role: hasText(`role.${identity.role}`) ? text(`role.${identity.role}`) : identity.role, tenant: isolated(identity.tenant_id) }) : nothing}</span>
      <span data-value="position">${text("live.position", { epoch: store.epoch ?? "–", seq: store.seq })}</span>
      <span data-value="seen">${text("live.seen", { n: stream.lines.seen })}</span>
    </footer>`;
}

// ---- What is done ----

async function end() {
  try {
    await signOut(client);
  } catch (error) {
    stream.control("error", text("login.error.other", { message: /** @type {Error} */ (error).message }), "problem");
  }
}

/** @param {any} alert */
async function acknowledge(alert) {
  try {
    await client.acknowledgeAlert(alert.alert_id);
  } catch (error) {
    stream.control("alert.ack", /** @type {Error} */ (error).message, "problem");
  }
}

client.watch((store) => store.alerts(), (found) => {
  alerts = byUrgency(found);
  draw();
}, { equal: (one, other) => one.length === other.length && one.every((alert, at) => alert === other[at]) });
addEventListener("scroll", () => stream.scrolled(), { passive: true });
// The first time of day of a page takes long: it is a task of its own.
setTimeout(() => {
  time(0);
  setInterval(draw, 1000);
  draw();
});
