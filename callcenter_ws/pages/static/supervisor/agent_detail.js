// The details of one agent: state, call, queues, and figures of the day.
import { isolated, text } from "../texts.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { clockTime, since } from "../staff/clock.js";
import { count, percent } from "../wallboard/format.js";
import { hrefOf } from "./route.js";
import { callButtons, callerOf, fact, named, oldMark, seconds, stateTemplate, stateTime, word } from "./shown.js";
import { openStateDialog } from "./state_dialog.js";

/** @typedef {import("./main.js").Context} Context */

/** @param {Context} context @param {string} id @param {import("./agent_rows.js").AgentRow | undefined} row */
export function agentDetail(context, id, row) {
  const name = row?.agent.name ?? id;
  return html`
    <aside class="detail" aria-labelledby="detail-title">
      <header><h2 id="detail-title" tabindex="-1"><bdi>${name}</bdi></h2><a class="button small" data-action="back" href=${hrefOf("agents")}>${text("supervisor.detail.close")}</a></header>
      ${row ? facts(context, row) : html`<p class="quiet">${text("supervisor.agent.gone")}</p>`}
      <p><a href=${`#search?${new URLSearchParams({ agent: id })}`}>${text("supervisor.agent.calls")}</a></p>
    </aside>`;
}

/** @param {Context} context @param {import("./agent_rows.js").AgentRow} row */
function facts(context, { agent, call, isOver, isOld }) {
  const label = named("supervisor.state.set", isolated(agent.name));
  const run = () => void openStateDialog(context, agent);
  const setState = context.actions.button("agent.state.set", { user_id: agent.id }, { label, run });
  return html`
    <p class="now">${stateTemplate(agent.state, agent.reason)} ${stateTime(context, agent, isOver)} ${oldMark(isOld)}</p>
    <div class="buttons">${setState}</div>
    <dl class="facts">
      ${fact(text("supervisor.agent.began"), clockTime(agent.since))}
      ${fact(text("supervisor.agent.id"), html`<bdi>${agent.id}</bdi>`)}
      ${agent.extension ? fact(text("supervisor.agent.extension"), html`<bdi>${agent.extension}</bdi>`) : nothing}
      ${agent.online === null ? nothing : fact(text("supervisor.agent.page"), text(agent.online ? "live.online" : "live.offline"))}
    </dl>
    ${call ? callPart(context, call) : nothing}
    <h3>${text("supervisor.agent.queues")}</h3>
    ${agent.queues.length
      ? html`<ul class="tags">${agent.queues.map((/** @type {string} */ queue) => html`<li><a class="tag" href=${hrefOf("queues", queue)}><bdi>${queue}</bdi></a>${agent.paused_in.includes(queue) ? html` <span class="quiet">${text("supervisor.paused")}</span>` : nothing}</li>`)}</ul>`
      : html`<p class="quiet">${text("supervisor.agent.no_queues")}</p>`}
    ${agent.figures?.today ? today(agent.figures.today) : nothing}`;
}

/** @param {Context} context @param {any} call */
const callPart = (context, call) => html`
  <h3>${text("supervisor.agent.call")}</h3>
  <dl class="facts">
    ${fact(text("supervisor.call.caller"), callerOf(call))}
    ${fact(text("supervisor.call.state"), html`${word("state", call.state)} ${since(call.since)}`)}
    ${call.queue ? fact(text("figure.queue"), html`<a href=${hrefOf("queues", call.queue)}><bdi>${call.queue}</bdi></a>`) : nothing}
    ${fact(text("supervisor.call.began"), clockTime(call.started_at))}
  </dl>
  <div class="buttons">${callButtons(context, call)}</div>`;

/** @param {any} figures */
function today(figures) {
  const occupancy = typeof figures.occupancy === "number" ? text("supervisor.percent", { value: percent(figures.occupancy) }) : text("figure.none");
  return html`
  <h3>${text("supervisor.agent.today")}</h3>
  <dl class="facts">
    ${fact(text("supervisor.agent.handled"), count(figures.handled))}
    ${fact(text("supervisor.agent.missed"), count(figures.missed))}
    ${fact(text("supervisor.day.average_handle_time"), seconds(figures.average_handle_time))}
    ${fact(text("supervisor.agent.talk"), seconds(figures.talk_seconds))}
    ${fact(text("supervisor.agent.wrap_up"), seconds(figures.wrap_up_seconds))}
    ${fact(text("supervisor.agent.logged_in"), seconds(figures.logged_in_seconds))}
    ${fact(text("supervisor.agent.occupancy"), occupancy)}
  </dl>`;
}
