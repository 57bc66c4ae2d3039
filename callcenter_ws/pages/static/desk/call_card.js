// One call of the user, as a card: who, on which queue, since when, and what can be done with it.

import { clockTime, since } from "../staff/clock.js";
import { hasText, isolated, spoken, text } from "../texts.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";

const MAX_NOTE = 2000;

/** @typedef {import("./own_calls.js").OwnCall} OwnCall */
/** @typedef {import("./wrap_ups.js").WrapUp} WrapUp */
/** What a card needs of the column. @typedef {import("./call_column.js").CallColumn} Column */

/** @param {{name: string | null, party: string | null}} call */
export const whoOf = ({ name, party }) => isolated(name || party || text("desk.call.unknown"));

/** @param {{name: string | null, party: string | null, queue: string | null}} call */
const who = ({ name, party, queue }) => html`
  <p class="who"><strong><bdi>${name || party || text("desk.call.unknown")}</bdi></strong>${name && party ? html`<span class="number"><bdi dir="ltr">${party}</bdi></span>` : nothing}</p>
  ${queue ? html`<p class="queue"><span class="quiet">${text("desk.call.queue")}</span> <bdi>${queue}</bdi></p>` : nothing}`;

/** The colleague who consults the user about a call. @param {OwnCall} call */
const asker = ({ asker: name }) => (name === null ? nothing : html`<p class="consultation" data-consultation="asker">${text("desk.consult.asker", { who: isolated(name) })}</p>`);

/** How often the caller has called before today. @param {Column} column @param {OwnCall} call */
function earlier(column, { id, isOutbound, isInternal }) {
  if (isOutbound || isInternal) return nothing;
  const known = column.earlier.of(id);
  if (!known || known.caller_id === null) return nothing;
  const calls = known.calls.map((one) => html`
    <li><time>${clockTime(Date.parse(one.started_at))}</time> <span>${one.queue_name ? html`<bdi>${one.queue_name}</bdi> · ` : nothing}${outcomeName(one.outcome)}${one.agent_name && one.outcome !== "abandoned" ? html` · <bdi>${one.agent_name}</bdi>` : nothing}${one.disposition ? html` · <bdi>${one.disposition.label || one.disposition.code}</bdi>` : nothing}</span></li>`);
  const words = known.today ? text("desk.earlier", { n: known.today }) : text("desk.earlier.none");
  return html`
    <div class="earlier" data-today=${known.today}>
      <p>${words}</p>
      ${calls.length ? html`<ul>${calls}</ul>` : nothing}
    </div>`;
}

/** @param {string | null} outcome */
const outcomeName = (outcome) => (outcome === null ? text("desk.outcome.open") : hasText(`desk.outcome.${outcome}`) ? text(`desk.outcome.${outcome}`) : isolated(outcome));

/** A call that rings: the screen pop. @param {Column} column @param {OwnCall} call */
export function ringingCard(column, call) {
  const { actions, keys } = column.context;
  const fields = { call_id: call.id };
  return html`
    <article class="call" data-call=${call.id} data-state="ringing" tabindex="-1" aria-label=${spoken(text("desk.call.ringing.label", { who: whoOf(call), queue: call.queue ? isolated(call.queue) : "" }))}>
      <header><h3><span class="mark" aria-hidden="true"></span>${text("desk.call.ringing")}</h3>
        <p class="times"><span class="quiet">${text("desk.call.waited")}</span> ${since(call.waited)}</p></header>
      ${who(call)} ${asker(call)} ${earlier(column, call)}
      <div class="buttons">
        ${actions.button("call.answer", fields, { className: "main big", mark: keys.mark("answer"), keys: keys.hint("answer") })}
        ${actions.button("call.hangup", fields, { label: text("desk.call.reject"), done: text("desk.call.rejecting"), mark: keys.mark("reject"), keys: keys.hint("reject"), className: "danger" })}
      </div>
      ${actions.can("call.answer") ? nothing : html`<p class="quiet">${text("desk.call.at_phone")}</p>`}
      ${outcomes(column, call.id)}
    </article>`;
}

/** A call that is talked in, is on hold, or is being dialed. @param {Column} column @param {OwnCall} call */
export function activeCard(column, call) {
  const consultation = column.consultations.of(call.id);
  const asked = column.consultations.asked(call.id);
  const held = call.state === "hold";
  const label = held ? (call.heldBy === "caller" ? "desk.call.held_by_caller" : "desk.call.hold") : `desk.call.${call.isInternal ? "internal" : call.state}`;
  return html`
    <article class="call" data-call=${call.id} data-state=${call.state} tabindex="-1" aria-label=${spoken(text("desk.call.label", { state: text(label), who: whoOf(call) }))}>
      <header><h3><span class="mark" aria-hidden="true"></span>${text(label)}${held ? html` ${since(call.since)}` : nothing}</h3>
        <p class="times big">${call.answered !== null ? html`<span class="unseen">${text("desk.call.talked")}</span>${since(call.answered)}` : since(call.since)}</p></header>
      ${who(call)} ${asker(call)} ${earlier(column, call)}
      ${asked !== null ? html`<p class="consultation" data-consultation="asked">${text("desk.consult.asked", { who: asked })}</p>` : nothing}
      ${consultation ? html`<p class="consultation" data-consultation="talking">${text("desk.consult.talking", { who: consultation.label || isolated(consultation.destination) })} ${since(consultation.since)}</p>` : nothing}
      ${call.state === "dialing" || call.state === "consulted" ? buttonsWhileDialing(column, call) : consultation || asked !== null ? consultButtons(column, call, asked !== null && !consultation) : buttons(column, call)}
      ${call.isInternal || call.state === "dialing" || call.state === "consulted" ? nothing : noteField(column, call.id)}
      ${outcomes(column, call.id)}
    </article>`;
}

/** @param {Column} column @param {OwnCall} call */
function buttonsWhileDialing({ context: { actions, keys } }, { id }) {
  const hangUp = actions.button("call.hangup", { call_id: id }, { mark: keys.mark("hangup"), keys: keys.hint("hangup"), className: "danger" });
  return html`<div class="buttons">${hangUp}</div>`;
}

/** @param {Column} column @param {OwnCall} call */
function buttons(column, call) {
  const { actions, keys } = column.context;
  const fields = { call_id: call.id };
  /** Whether the shortcuts are for this call: there may be several. */
  const isCurrent = column.current()?.id === call.id;
  const keyed = (/** @type {string} */ id) => (isCurrent ? { mark: keys.mark(id), keys: keys.hint(id) } : {});
  const recording = column.recording(call.id);
  const shown = [
    call.state === "hold" ? actions.button("call.unhold", fields, { ...keyed("hold"), className: "main" }) : actions.button("call.hold", fields, keyed("hold")),
    actions.button("call.consult", fields, { ...keyed("consult"), run: () => column.consult(call) }),
    actions.button("call.transfer", fields, { ...keyed("transfer"), run: () => column.transfer(call) }),
    actions.button("call.record", { ...fields, action: recording ? "stop" : "start" }, {
      ...keyed("record"),
      label: text(recording ? "desk.record.stop" : "desk.record.start"),
      done: text(recording ? "desk.record.stops" : "desk.record.starts"),
      className: recording ? "recording" : "",
    }),
    actions.button("call.hangup", fields, { ...keyed("hangup"), className: "danger" }),
  ];
  return html`<div class="buttons">${shown}</div>`;
}

/** @param {Column} column @param {OwnCall} call @param {boolean} isAsked the other side has not answered yet */
function consultButtons(column, call, isAsked) {
  const { actions, keys } = column.context;
  const fields = { call_id: call.id };
  return html`
    <div class="buttons">
      ${isAsked ? nothing : actions.button("call.consult.complete", fields, { className: "main", mark: keys.mark("complete"), keys: keys.hint("complete") })}
      ${actions.button("call.consult.cancel", fields, { mark: keys.mark("cancel"), keys: keys.hint("cancel") })}
      ${isAsked ? nothing : html`<button data-action="forget" @click=${() => column.forget(call.id)}>${text("desk.consult.over")}</button>`}
    </div>`;
}

/** A note that is kept until the call has ended. @param {Column} column @param {string} id */
function noteField(column, id) {
  const kept = column.wrapUps.of(id);
  if (!kept || !column.context.actions.can("call.disposition")) return nothing;
  return html`<label class="note">${text("desk.note")}<textarea rows="2" maxlength=${MAX_NOTE} data-note=${id} .value=${kept.note} @input=${column.noted(id)}></textarea></label>`;
}

/** What is to be said of a call that has ended. @param {Column} column @param {WrapUp} call */
export function wrapUpCard(column, call) {
  const { actions, keys } = column.context;
  const choices = actions.offered?.dispositions ?? [];
  const isFirst = column.wrapUps.list()[0]?.id === call.id;
  const busy = actions.isUnderWay("call.disposition", call.id);
  const isLate = column.wrapUps.isLate(call);
  const isWrappingUp = column.own.agent?.state === "wrap_up" && actions.can("agent.state.set");
  return html`
    <article class="call" data-call=${call.id} data-state="wrap-up" tabindex="-1" aria-label=${spoken(text("desk.wrap_up.label", { who: whoOf(call) }))}>
      <header><h3><span class="mark" aria-hidden="true"></span>${text("desk.wrap_up")}</h3>
        <p class="times"><span class="quiet">${text("desk.wrap_up.since")}</span> ${since(call.ended ?? 0)}</p></header>
      ${who(call)}
      <form @submit=${column.said(call.id)}>
        ${choices.length ? dispositions(column, call, choices) : html`<label>${text("desk.wrap_up.code")}<input data-code=${call.id} required maxlength="64" .value=${call.code} @input=${column.coded(call.id)}></label>`}
        <label class="note">${text("desk.note")}<textarea rows="3" maxlength=${MAX_NOTE} data-note=${call.id} .value=${call.note} @input=${column.noted(call.id)}></textarea></label>
        ${isLate ? html`<p class="late">${text("desk.wrap_up.late")}</p>` : nothing}
        <div class="buttons">
          <button class="main" type="submit" value="say" aria-disabled=${busy || isLate ? "true" : nothing} aria-keyshortcuts=${isFirst ? keys.hint("say") : nothing}>${text("desk.wrap_up.say")}${isFirst ? keys.mark("say") : nothing}</button>
          ${isWrappingUp ? html`<button type="submit" value="available" aria-disabled=${busy || isLate ? "true" : nothing}>${text("desk.wrap_up.available")}</button>` : nothing}
          <button type="button" data-action="skip" @click=${() => column.skip(call.id)}>${text("desk.wrap_up.skip")}</button>
        </div>
      </form>
      ${outcomes(column, call.id)}
    </article>`;
}

/** @param {Column} column @param {WrapUp} call @param {{code: string, label: string}[]} choices */
const dispositions = (column, call, choices) => html`
  <fieldset><legend>${text("desk.wrap_up.code")}</legend>
    ${choices.map(({ code, label }) => html`<label class="check choice"><input type="radio" name=${`code-${call.id}`} value=${code} .checked=${call.code === code} @change=${column.coded(call.id)}><bdi>${label || code}</bdi></label>`)}
  </fieldset>`;

/** What became of the commands about a call, beside the call. @param {Column} column @param {string} id */
function outcomes(column, id) {
  const problems = column.context.actions.ofSubject(id).filter(({ state }) => state === "failed" || state === "refused" || state === "unknown");
  return problems.map(({ label, state, words }) => html`<p class="outcome" data-state=${state}><strong>${label}</strong> ${text(`action.${state}`)}. ${words}</p>`);
}
