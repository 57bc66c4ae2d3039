// Small parts that several sections show: states, callers, marks, sortable heads.
import { hasText, isolated, text } from "../texts.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { since } from "../staff/clock.js";
import { duration } from "../wallboard/format.js";
import { written } from "./limits.js";

/** @typedef {import("./main.js").Context} Context */

/** Return a word of the protocol in the language of the table, if that has it. @param {string} family @param {unknown} value */
export const word = (family, value) => (hasText(`${family}.${value}`) ? text(`${family}.${value}`) : String(value ?? "").replaceAll("_", " "));

/** Return seconds as a duration. @param {number | null | undefined} value */
export const seconds = (value) => (typeof value === "number" ? duration(value * 1000) : text("figure.none"));

/** Return the state of a call, or of an ended one its outcome. @param {any} call as GET /ws/calls tells it */
export const resultOf = ({ state, outcome }) => (state === "ended" ? word("supervisor.outcome", outcome ?? "ended") : word("supervisor.call_state", state));

/** @param {string} name */
export const stateName = (name) => word("state", name);

/** Return who calls, as text; of a call that goes out, whom it is to: its caller is the agent. @param {any} call */
export function callerOf(call) {
  if (call.direction === "outbound" && call.destination) return text("supervisor.call.to", { number: isolated(String(call.destination)) });
  const number = call.caller_id !== call.caller_name ? call.caller_id : null;
  const shown = [call.caller_name, number].filter(Boolean).map((part) => isolated(String(part)));
  return shown.join(" ") || text("supervisor.caller.unknown");
}

/** A shape, so that a severity does not depend on color. @param {number} severity */
export const mark = (severity) =>
  severity ? html`<span class="mark" data-severity=${severity}><span class="unseen">${text(`severity.${severity}`)}</span></span>` : nothing;

/** What may be out of date because a source is down. @param {boolean} isOld */
export const oldMark = (isOld) => (isOld ? html`<span class="tag old">${text("supervisor.may_be_old")}</span>` : nothing);

/** @param {string} state @param {string | null} [reason] */
export const stateTemplate = (state, reason = null) =>
  html`<span class="dot" data-state=${state}></span><span class="word">${stateName(state)}${reason ? html` <span class="quiet">${isolated(word("reason", reason))}</span>` : nothing}</span>`;

/**
 * Return the head of a column by which the table can be sorted.
 * @param {import("./sorting.js").Sorting<any>} sorting
 * @param {string} column
 * @param {string} label
 * @param {() => void} changed
 * @param {{className?: string, said?: string}} [options] `said` is what a screen reader says in place of a short label
 */
export const sortHead = (sorting, column, label, changed, { className = "", said = "" } = {}) => html`
  <th scope="col" class=${className} aria-sort=${sorting.aria(column)}>
    <button class="sort" data-sort=${column} @click=${() => (sorting.choose(column), changed())}>
      ${said ? html`<span aria-hidden="true">${label}</span><span class="unseen">${said}</span>` : label}<span class="arrow" aria-hidden="true"></span>
    </button>
  </th>`;

/** @param {string} label @param {unknown} value @param {string} [name] */
export const fact = (label, value, name = "") => html`<div data-fact=${name}><dt>${label}</dt><dd>${value}</dd></div>`;

/** How long an agent is in its state; a shape and words say that it is over its limit. @param {Context} context @param {any} agent @param {boolean} isOver */
export function stateTime({ limits }, agent, isOver) {
  const limit = limits.of(agent.state);
  return html`${since(agent.since, limit === null ? undefined : limit * 1000)}${isOver ? html`<span class="tag over"><span class="mark" data-severity="1"></span>${text("supervisor.over")} <span class="unseen">${text("supervisor.over.label", { limit: written(limit) })}</span></span>` : nothing}`;
}

/**
 * Return the buttons of a call: listening to it, and ending it.
 * @param {Context} context
 * @param {any} call
 * @param {{isShort?: boolean}} [options]
 */
export function callButtons(context, call, { isShort = false } = {}) {
  if (!call) return nothing;
  const fields = { call_id: call.id };
  const who = callerOf(call);
  const isTalking = call.state === "talking" || call.state === "hold";
  const className = isShort ? "small" : "";
  return html`${isTalking ? context.actions.button("call.monitor", { ...fields, mode: "listen" }, { label: named("supervisor.listen", who), done: text("supervisor.listen.done", { caller: who }), className }) : nothing}
  ${context.actions.button("call.hangup", fields, { label: named("supervisor.hangup", who), done: text("supervisor.hangup.done", { caller: who }), className: `${className} danger`, run: () => context.confirmHangup(call) })}`;
}

/** A word on a button, after which a screen reader says for whom it is. @param {string} id @param {string} who */
export const named = (id, who) => /** @type {any} */ (html`<span>${text(id)}<span class="unseen">: ${who}</span></span>`);
