// The details of one queue: its figures, the calls that wait, those that are talked to, and its members.
import { isolated, text } from "../texts.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { since } from "../staff/clock.js";
import { count, percent } from "../wallboard/format.js";
import { membersOf, talkingCalls, waitingCalls } from "./queue_detail.js";
import { hrefOf } from "./route.js";
import { callButtons, callerOf, fact, oldMark, stateTemplate, stateTime } from "./shown.js";

/** @typedef {import("./main.js").Context} Context */

/** Rows of a part; more are counted. */
const MAX_ROWS = 100;

/** Return how many rows the details of a queue have. @param {any} store @param {string} name */
export function rowsOf(store, name) {
  const parts = [waitingCalls(store, name), talkingCalls(store, name), membersOf(store, name)];
  return parts.reduce((sum, { length }) => sum + Math.min(length, MAX_ROWS), 0);
}

/** @param {Context} context @param {string} name @param {number} room rows that may be in the document */
export function queuePanel(context, name, room) {
  const { store } = context.client;
  const queue = store.queue(name);
  let left = room;
  const take = (/** @type {any[]} */ rows) => {
    const taken = rows.slice(0, Math.min(left, MAX_ROWS));
    left -= taken.length;
    return taken;
  };
  return html`
    <aside class="detail" aria-labelledby="detail-title">
      <header><h2 id="detail-title" tabindex="-1"><bdi>${name}</bdi></h2><a class="button small" data-action="back" href=${hrefOf("queues")}>${text("supervisor.detail.close")}</a></header>
      ${queue ? html`${facts(queue)}${waiting(context, name, take)}${talking(context, name, take)}${members(context, name, take)}` : html`<p class="quiet">${text("supervisor.queue.gone")}</p>`}
      <p><a href=${`#today?${new URLSearchParams({ queue: name })}`}>${text("supervisor.queue.today")}</a></p>
    </aside>`;
}

/** @param {any} queue */
function facts({ waiting: calls, longest_wait_since: longest, available, staffed, logged_in: loggedIn, paused, talking: busy, service_level: level }) {
  const target = typeof level.target === "number" && typeof level.seconds === "number";
  return html`<dl class="facts">
    ${fact(text("supervisor.figure.waiting"), count(calls))}
    ${fact(text("supervisor.figure.longest_wait"), longest ? since(longest) : text("figure.none"))}
    ${fact(text("supervisor.queue.free"), html`${count(available)} <span class="quiet">${text("figure.of", { value: count(staffed) })}</span>`)}
    ${fact(text("supervisor.queue.logged_in"), count(loggedIn))}
    ${fact(text("supervisor.queue.paused"), count(paused))}
    ${fact(text("supervisor.queue.talking"), count(busy))}
    ${target ? fact(text("supervisor.queue.target"), text("supervisor.queue.target.value", { percent: percent(level.target), seconds: count(level.seconds) })) : nothing}
  </dl>`;
}

/** @param {string} id @param {number} n @param {unknown} rows @param {string} none */
const part = (id, n, rows, none) => html`
  <h3>${text(id)} <span class="quiet">${count(n)}</span></h3>
  ${n ? rows : html`<p class="quiet">${text(none)}</p>`}
  ${n > MAX_ROWS ? html`<p class="quiet">${text("supervisor.more", { n: n - MAX_ROWS })}</p>` : nothing}`;

/** @param {Context} context @param {string} name @param {(rows: any[]) => any[]} take */
function waiting(context, name, take) {
  const calls = waitingCalls(context.client.store, name);
  return part("supervisor.queue.waiting", calls.length, html`
    <table class="data inner" data-part="waiting"><caption class="unseen">${text("supervisor.queue.waiting")}</caption>
      <thead><tr><th scope="col" class="number">${text("supervisor.call.position")}</th><th scope="col">${text("supervisor.call.caller")}</th><th scope="col" class="number">${text("supervisor.call.waits")}</th><th scope="col"><span class="unseen">${text("supervisor.agent.actions")}</span></th></tr></thead>
      <tbody>${repeat(take(calls), ({ call }) => call.id, ({ call, position, since: joined, isOld }) => html`
        <tr data-key=${call.id} ?data-old=${isOld}>
          <td class="number">${count(position)}</td>
          <td><span class="who">${callerOf(call)}</span>${call.state === "ringing" ? html` <span class="quiet">${text("supervisor.call.rings", { agent: isolated(call.agent_name ?? call.agent_id ?? "") })}</span>` : nothing} ${oldMark(isOld)}</td>
          <td class="number">${since(joined)}</td>
          <td class="of-actions">${callButtons(context, call, { isShort: true })}</td>
        </tr>`)}</tbody>
    </table>`, "supervisor.queue.waiting.none");
}

/** @param {Context} context @param {string} name @param {(rows: any[]) => any[]} take */
function talking(context, name, take) {
  const calls = talkingCalls(context.client.store, name);
  return part("supervisor.queue.calls", calls.length, html`
    <table class="data inner"><caption class="unseen">${text("supervisor.queue.calls")}</caption>
      <thead><tr><th scope="col">${text("supervisor.call.caller")}</th><th scope="col">${text("supervisor.call.agent")}</th><th scope="col" class="number">${text("supervisor.call.talks")}</th><th scope="col"><span class="unseen">${text("supervisor.agent.actions")}</span></th></tr></thead>
      <tbody>${repeat(take(calls), ({ call }) => call.id, ({ call, isOld }) => html`
        <tr data-key=${call.id} ?data-old=${isOld}>
          <td><span class="who">${callerOf(call)}</span> ${oldMark(isOld)}</td>
          <td>${call.agent_id === null ? text("figure.none") : html`<a href=${hrefOf("agents", call.agent_id)}><bdi>${call.agent_name ?? call.agent_id}</bdi></a>`}</td>
          <td class="number">${since(call.since)}${call.state === "hold" ? html` <span class="quiet">${text("state.hold")}</span>` : nothing}</td>
          <td class="of-actions">${callButtons(context, call, { isShort: true })}</td>
        </tr>`)}</tbody>
    </table>`, "supervisor.queue.calls.none");
}

/** @param {Context} context @param {string} name @param {(rows: any[]) => any[]} take */
function members(context, name, take) {
  const found = membersOf(context.client.store, name);
  const now = context.shownNow();
  return part("supervisor.queue.members", found.length, html`
    <table class="data inner"><caption class="unseen">${text("supervisor.queue.members")}</caption>
      <thead><tr><th scope="col">${text("supervisor.agent.name")}</th><th scope="col">${text("supervisor.agent.state")}</th><th scope="col" class="number">${text("supervisor.agent.since")}</th></tr></thead>
      <tbody>${repeat(take(found), ({ id }) => id, ({ id, name: shown, agent, isPaused, isOld }) => html`
        <tr data-key=${id} ?data-old=${isOld}>
          <th scope="row"><a href=${hrefOf("agents", id)}><bdi>${shown}</bdi></a></th>
          <td class="state">${agent ? stateTemplate(agent.state, agent.reason) : html`<span class="quiet">${text("state.offline")}</span>`}${isPaused ? html` <span class="tag">${text("supervisor.paused")}</span>` : nothing} ${oldMark(isOld)}</td>
          <td class="number">${agent ? stateTime(context, agent, context.limits.isOver(agent, now)) : nothing}</td>
        </tr>`)}</tbody>
    </table>`, "supervisor.queue.members.none");
}
