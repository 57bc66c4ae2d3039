// The live view: the stream of events as lines, with filters, and the alerts that are raised.

import { embedder } from "../embedded.js";
import { openClient, signOut } from "../session.js";
import { hasText, isolated, LANGUAGE, shownJson, text } from "../texts.js";
import { html, nothing, render } from "../vendor/lit-html/lit-html.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { alertReason, alertTitle, FAMILIES } from "./lines.js";
import { Lines, MAX_SHOWN } from "./view.js";
import { LineWindow } from "./window.js";

const MAY_ACKNOWLEDGE = new Set(["supervisor", "admin"]);
const OLD = new Set(["stale", "offline", "stopped"]);

const root = /** @type {HTMLElement} */ (document.getElementById("live"));
const lines = new Lines();
const inDocument = new LineWindow();
const client = openClient();
/** The keys of the lines of which all fields are shown. @type {Set<number>} */
const opened = new Set();
/** @type {string[]} */
let queues = [];
/** @type {any[]} */
let alerts = [];
let scheduled = false;

/** Made when it is needed: the first such object of a page takes long. @type {Intl.DateTimeFormat | null} */
let clock = null;

/** @param {number | null} instant */
function time(instant) {
  if (instant === null || !Number.isFinite(instant)) return text("figure.none");
  clock ??= new Intl.DateTimeFormat(LANGUAGE, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
  return clock.format(instant);
}

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

/** A shape, so that the severity does not depend on color. @param {any} alert */
const mark = ({ severity }) => html`<span class="mark"><span class="unseen">${text(severity === "critical" ? "severity.2" : "severity.1")}</span></span>`;

/** Critical ones first, acknowledged ones last. @param {any} alert */
const urgency = ({ severity, acknowledged }) => (acknowledged ? 2 : severity === "critical" ? 0 : 1);

/** @param {any} alert */
const alertLine = (alert) => html`
  <li data-severity=${alert.severity ?? "warning"} class=${alert.acknowledged ? "acknowledged" : ""}>
    ${mark(alert)}<strong><bdi>${alertTitle({ queue_name: alert.queue ?? undefined, source: alert.source, rule: alert.rule })}</bdi></strong>
    <span>${alertReason(alert)}</span>
    ${alert.acknowledged ? html`<span class="quiet">${text("live.alert.acknowledged", { name: isolated(alert.by ?? "") })}</span>` : nothing}
    ${!alert.acknowledged && MAY_ACKNOWLEDGE.has(client.identity?.role ?? "")
      ? html`<button data-action="acknowledge" @click=${() => acknowledge(alert)}>${text("live.alert.acknowledge")}</button>`
      : nothing}
  </li>`;

const filters = () => html`
  <div class="filters">
    <label>${text("live.filter.family")}
      <select data-filter="family" @change=${change("family")}>
        <option value="">${text("live.filter.all")}</option>
        ${Object.keys(FAMILIES).map((family) => html`<option value=${family}>${text(`live.family.${family}`)}</option>`)}
      </select>
    </label>
    <label>${text("live.filter.queue")}
      <select data-filter="queue" @change=${change("queue")}>
        <option value="">${text("live.filter.all")}</option>
        ${repeat(queues, (name) => name, (name) => html`<option value=${name}>${name}</option>`)}
      </select>
    </label>
    <label class="grows">${text("live.filter.search")}<input data-filter="search" type="search" @input=${change("search")}></label>
    <button class=${lines.paused ? "main" : ""} data-action="pause" aria-pressed=${lines.paused ? "true" : "false"} @click=${pause}>
      ${lines.paused ? text("live.resume", { n: lines.waiting }) : text("live.pause")}
    </button>
  </div>`;

/** @param {import("./view.js").Line} line */
const row = (line) => html`
  <li data-kind=${line.kind} data-family=${line.family}>
    ${line.message
      ? html`<details ?open=${opened.has(line.key)} @toggle=${toggle(line.key)}>
          <summary class="cells">${cells(line)}</summary>
          ${opened.has(line.key) ? html`<pre dir="ltr">${shownJson(line.message)}</pre>` : nothing}
        </details>`
      : html`<div class="cells">${cells(line)}</div>`}
  </li>`;

/** @param {import("./view.js").Line} line */
const cells = (line) => html`<time>${time(line.at)}</time><span class="type">${line.type}</span><span class="text">${line.text}</span>`;

function page() {
  const { identity, store } = client;
  root.toggleAttribute("data-old", OLD.has(client.status.state));
  const shown = lines.shown();
  const next = inDocument.next(shown);
  if (!next.isWhole) draw();
  return html`
    ${head()}
    ${alerts.length ? html`<ul class="alerts" aria-label=${text("live.alerts")}>${repeat(alerts, (alert) => alert.key, alertLine)}</ul>` : nothing}
    ${filters()}
    ${shown.some(({ kind }) => kind === "event") ? nothing : html`<p class="quiet">${text("live.empty")}</p>`}
    <ol class="lines" aria-label=${text("page.live")}>${repeat(next.lines, (line) => line.key, row)}</ol>
    <footer class="quiet">
      <span data-value="user">${identity ? text("live.user", { user: isolated(identity.user_id), role: hasText(`role.${identity.role}`) ? text(`role.${identity.role}`) : identity.role, tenant: isolated(identity.tenant_id) }) : nothing}</span>
      <span data-value="position">${text("live.position", { epoch: store.epoch ?? "–", seq: store.seq })}</span>
      <span data-value="seen">${text("live.seen", { n: lines.seen })}</span>
    </footer>`;
}

// ---- What is done ----

/** @param {"family" | "queue" | "search"} name */
const change = (name) => (/** @type {Event} */ event) => {
  lines[name] = /** @type {HTMLInputElement} */ (event.target).value;
  draw();
};

function pause() {
  lines.paused = !lines.paused;
  draw();
}

/** @param {number} key */
const toggle = (key) => (/** @type {Event} */ event) => {
  const { open } = /** @type {HTMLDetailsElement} */ (event.target);
  if (open === opened.has(key)) return;
  if (open) opened.add(key);
  else opened.delete(key);
  // Lines that have left the list cannot be closed.
  if (opened.size > MAX_SHOWN) opened.delete([...opened][0]);
  draw();
};

async function end() {
  try {
    await signOut(client);
  } catch (error) {
    control("error", text("login.error.other", { message: /** @type {Error} */ (error).message }), "problem");
  }
}

/** @param {any} alert */
async function acknowledge(alert) {
  try {
    await client.acknowledgeAlert(alert.alert_id);
  } catch (error) {
    control("alert.ack", /** @type {Error} */ (error).message, "problem");
  }
}

/** @param {string} type @param {string} words @param {"control" | "problem"} [kind] */
function control(type, words, kind) {
  lines.control(client.now(), type, words, kind);
  draw();
}

let last = "";

client.on("status", ({ state, reason }) => {
  const words = hasText(`live.announced.${state}`) ? text(`live.announced.${state}`) : (reason?.text ?? "");
  // Each failed try would be a line otherwise.
  if (`${state} ${words}` !== last && state !== "connecting") control(state, words, state === "stopped" ? "problem" : "control");
  last = `${state} ${words}`;
});
client.on("event", (message) => {
  lines.event(message);
  draw();
});
client.on("rebuilt", ({ reason, detail }) => control("rebuilt", text(`live.rebuilt.${reason}`, { detail: detail ?? "" })));
client.on("lost", ({ from_seq, to_seq, reason }) => control("gap", text("live.lost", { from_seq, to_seq, reason }), "problem"));
client.on("refused", ({ code, message }) => control("error", `${code}: ${message}`, "problem"));
client.watch((store) => JSON.stringify(store.queues().map(({ name }) => name).sort()), (names) => {
  queues = JSON.parse(names);
  draw();
});
client.watch((store) => store.alerts(), (found) => {
  alerts = [...found].sort((one, other) => urgency(one) - urgency(other) || other.since - one.since);
  draw();
}, { equal: (one, other) => one.length === other.length && one.every((alert, at) => alert === other[at]) });
addEventListener("scroll", () => {
  const { scrollHeight } = document.documentElement;
  if (inDocument.scrolled(scrollY, scrollHeight - scrollY - innerHeight, innerHeight)) draw();
}, { passive: true });
// The first time of day of a page takes long: it is a task of its own.
setTimeout(() => {
  time(0);
  setInterval(draw, 1000);
  draw();
});
