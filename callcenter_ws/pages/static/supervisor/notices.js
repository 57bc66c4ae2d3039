// What holds for all sections: old data, a limited view, sources that are down, alerts that wait.
import { isolated, LANGUAGE, text } from "../texts.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { announce } from "../staff/announcer.js";
import { alertMark, byUrgency } from "../live/alerts.js";
import { alertReason } from "../live/lines.js";
import { since as sinceWhen } from "../wallboard/format.js";
import { titleOf } from "./alerts.js";
import { hrefOf, routeOf } from "./route.js";

/** @typedef {import("./main.js").Context} Context */

const MAX_ALERTS = 3;
const MAX_NAMES = 12;

/** @type {Intl.ListFormat | null} */
let list = null;

/** @param {readonly string[]} names */
function listed(names) {
  list ??= new Intl.ListFormat(LANGUAGE);
  const shown = names.slice(0, MAX_NAMES).map(isolated);
  return list.format(names.length > MAX_NAMES ? [...shown, text("supervisor.more", { n: names.length - MAX_NAMES })] : shown);
}

/** @param {Context} context */
export function notices(context) {
  const { client } = context;
  const now = client.now();
  const down = client.store.sources().filter(({ up }) => !up);
  const claim = client.identity?.queues ?? null;
  const claimed = claim?.length ? text("supervisor.claim", { queues: listed(claim) }) : text("supervisor.claim.none");
  return html`
    ${context.isOld() && client.status.as_of !== null ? html`<p class="note old" data-note="old">${text("supervisor.old", { time: sinceWhen(client.status.as_of, now, null, { seconds: true }) })}</p>` : nothing}
    ${repeat(down, ({ name }) => name, ({ name, since }) => html`<p class="note" data-note="source"><span class="mark" data-severity="1"></span><span>${text("supervisor.source_down", { source: isolated(name), time: sinceWhen(since, now, null) })}</span></p>`)}
    ${claim === null ? nothing : html`<p class="note quiet" data-note="claim">${claimed}</p>`}
    ${commandsNote(context)}
    ${routeOf(location.hash).section === "alerts" ? nothing : strip(client.store.alerts())}`;
}

/** Buttons that are not there are explained once. @param {Context} context */
function commandsNote({ client, actions }) {
  const { section } = routeOf(location.hash);
  if (client.status.as_of === null || !["agents", "queues", "chats"].includes(section)) return nothing;
  if (!actions.offered?.names.length) return html`<p class="note quiet" data-note="commands">${text(section === "chats" ? "supervisor.commands_off.chats" : "supervisor.commands_off")}</p>`;
  // The gateway itself carries out what concerns chats.
  if (section === "chats") return nothing;
  const possible = ["agent.state.set", "call.hangup", "call.monitor"].some((name) => actions.can(name));
  return possible ? nothing : html`<p class="note quiet" data-note="commands">${text("supervisor.commands_none")}</p>`;
}

/** The alerts that no one has acknowledged, at every section but their own. @param {readonly any[]} alerts */
function strip(alerts) {
  const open = byUrgency(alerts.filter(({ acknowledged }) => !acknowledged));
  if (!open.length) return nothing;
  return html`
    <div class="strip" role="group" aria-label=${text("live.alerts")}>
      <ul class="alerts">${repeat(open.slice(0, MAX_ALERTS), ({ key }) => key, (alert) => html`<li data-severity=${alert.severity ?? "warning"}>${alertMark(alert)}<strong><bdi>${titleOf(alert)}</bdi></strong> <span class="why">${alertReason(alert)}</span></li>`)}</ul>
      <a class="button small" href=${hrefOf("alerts")}>${text("supervisor.alerts.all", { n: open.length })}</a>
    </div>`;
}

/** Tell a screen reader of alerts that begin, and of sources that are lost, not of those of before. @param {import("../client.js").Client} client */
export function tellNotices(client) {
  /** @type {Set<string> | null} */
  let known = null;
  const tell = () => {
    if (client.status.as_of === null) return;
    const now = client.now();
    const alerts = client.store.alerts().filter(({ acknowledged }) => !acknowledged);
    const down = client.store.sources().filter(({ up }) => !up);
    const told = new Map([
      ...down.map(({ name, since }) => /** @type {[string, string]} */ ([`source:${name}`, text("supervisor.source_down", { source: isolated(name), time: sinceWhen(since, now, null) })])),
      ...alerts.map((alert) => /** @type {[string, string]} */ ([`alert:${alert.key}`, text("supervisor.alert.begins", { title: isolated(titleOf(alert)) })])),
    ]);
    const fresh = [...told].filter(([key]) => known?.has(key) === false).map(([, words]) => words);
    known = new Set(told.keys());
    if (fresh.length) announce(fresh.slice(-MAX_ALERTS).join(". "));
  };
  client.watch((store) => [store.alerts(), store.sources()], tell, { equal: (one, other) => one.every((list, at) => list === other[at]) });
  client.on("rebuilt", tell);
}
