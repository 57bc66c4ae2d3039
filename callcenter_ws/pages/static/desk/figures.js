// The figures of the user's day, and the user's queues.

import "./chats/texts.js";
import { clockTime, since } from "../staff/clock.js";
import { onceAFrame } from "../staff/frame.js";
import { hasText, isolated, text } from "../texts.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { html, nothing, render } from "../vendor/lit-html/lit-html.js";
import { count, duration } from "../wallboard/format.js";
import { styled } from "../wallboard/styled.js";
import { dayOf, ownQueues, sameQueues } from "./own_figures.js";

/** @typedef {import("./own_figures.js").Day} Day */
/** @typedef {import("./own_figures.js").OwnQueue} OwnQueue */
/** @typedef {import("../staff/actions.js").Actions} Actions */

const OLD = new Set(["stale", "offline", "stopped"]);

/** @param {string} name @param {unknown} value */
const figure = (name, value) => html`<div data-figure=${name}><dt>${text(`day.${name}`)}</dt><dd>${value}</dd></div>`;

/** @param {number | null} value */
const percent = (value) => (value === null ? text("figure.none") : text("day.percent", { value: count(value) }));

/** @param {{state: string, ms: number, share: number}} part */
const stateLine = ({ state, ms, share }) => html`
  <div data-state=${state}><dt>${hasText(`state.${state}`) ? text(`state.${state}`) : state}</dt><dd><span class="bar" aria-hidden="true" ${styled({ "--share": `${share}%` })}></span><span>${duration(ms)}</span></dd></div>`;

/** @param {Day | null} day @param {string} asOf when it is old: since when */
const dayView = (day, asOf) => html`
  <section class="day" aria-labelledby="day-title">
    <header class="side-head"><h2 id="day-title">${text("day.title")}</h2>${day && asOf ? html`<p class="old-note">${text("day.old", { time: asOf })}</p>` : nothing}</header>
    ${day === null
      ? html`<p class="quiet">${text("day.none")}</p>`
      : html`
        <dl class="numbers">
          ${figure("handled", count(day.handled))}${figure("missed", count(day.missed))}${figure("talk", duration(day.talk))}
          ${figure("average", duration(day.average))}${figure("occupancy", percent(day.occupancy))}${figure("logged_in", duration(day.loggedIn))}
        </dl>
        ${day.states.length ? html`<h3 id="day-states">${text("day.states")}</h3><dl class="states">${day.states.map(stateLine)}</dl>` : nothing}
        ${day.incompleteSince === null ? nothing : html`<p class="quiet">${text("day.incomplete", { time: clockTime(day.incompleteSince) })}</p>`}`}
  </section>`;

/** @param {OwnQueue} queue */
const level = ({ level: value, target, isBelow }) => html`
  <td class=${isBelow ? "level below" : "level"}>${percent(value)}${isBelow ? html`<span class="unseen">, ${text("ownqueues.below", { target: count(target) })}</span>` : nothing}</td>`;

/** @param {Actions} actions @param {OwnQueue} queue */
function pauseButton(actions, { name, isPaused, isMember }) {
  const verb = isPaused ? "unpause" : "pause";
  const command = `queue.member.${verb}`;
  if (!isMember || !actions.can(command)) return nothing;
  const isBusy = actions.isUnderWay("queue.member.pause", name) || actions.isUnderWay("queue.member.unpause", name);
  const queue = isolated(name);
  const press = () => void (isBusy || actions.run(command, { queue_name: name }, text(`ownqueues.${verb}.command`, { queue })));
  return html`<button class="small" data-command=${command} aria-label=${text(`ownqueues.${verb}.label`, { queue })} aria-disabled=${isBusy ? "true" : "false"} @click=${press}>${text(`ownqueues.${verb}`)}</button>`;
}

/** @param {Actions} actions @param {OwnQueue} queue */
const queueRow = (actions, queue) => html`
  <tr data-queue=${queue.name} ?data-paused=${queue.isPaused}>
    <th scope="row"><bdi>${queue.name}</bdi>${queue.isPaused ? html` <span class="badge">${text("ownqueues.paused")}</span>` : nothing}</th>
    <td class=${queue.waiting ? "waits" : ""}>${count(queue.waiting)}</td>
    <td>${queue.longestSince === null ? text("figure.none") : since(queue.longestSince)}</td>
    ${level(queue)}
    <td>${pauseButton(actions, queue)}</td>
  </tr>`;

/** @param {Actions} actions @param {readonly OwnQueue[]} queues */
const queuesView = (actions, queues) => html`
  <section class="own-queues" aria-labelledby="ownqueues-title">
    <h2 id="ownqueues-title">${text("ownqueues.title")}</h2>
    ${queues.length
      ? html`<table aria-labelledby="ownqueues-title"><thead><tr>
            <th scope="col">${text("ownqueues.queue")}</th><th scope="col">${text("ownqueues.waiting")}</th><th scope="col">${text("ownqueues.longest")}</th>
            <th scope="col"><span aria-hidden="true">${text("ownqueues.level")}</span><span class="unseen">${text("ownqueues.level.label")}</span></th><td></td>
          </tr></thead><tbody>${repeat(queues, ({ name }) => name, (queue) => queueRow(actions, queue))}</tbody></table>`
      : html`<p class="quiet">${text("ownqueues.none")}</p>`}
  </section>`;

/** Show the figures. @param {HTMLElement} root @param {import("./main.js").Context} context */
export function mountFigures(root, { client, actions, onActions }) {
  /** @type {Day | null} */
  let day = null;
  /** @type {readonly OwnQueue[]} */
  let queues = [];
  const draw = onceAFrame(() => {
    const { state, as_of } = client.status;
    const isOld = OLD.has(state);
    render(html`${dayView(day, isOld ? clockTime(as_of ?? Number.NaN) : "")}${queuesView(actions, queues)}`, root);
  });
  const user = () => client.identity?.user_id ?? "";
  client.watch((store) => store.figures("agent.stats", user())[0] ?? null, (figures) => {
    day = dayOf(figures);
    draw();
  });
  client.watch((store) => ownQueues(store.queues(), store.agent(user()), user()), (found) => {
    queues = found;
    draw();
  }, { equal: sameQueues });
  client.on("status", draw);
  onActions(draw);
  draw();
}
