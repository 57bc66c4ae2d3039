// The dialogs about agents and calls: another state with its reason, and whether a call is to be ended.
import { isolated, text } from "../texts.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { openDialog } from "../staff/dialog.js";
import { callerOf, stateName, word } from "./shown.js";

/** @typedef {import("./main.js").Context} Context */

const STATES = ["available", "break", "away", "offline"];

/**
 * Ask for the state that an agent is to have, and have it set.
 * @param {Context} context
 * @param {any} agent
 */
export function openStateDialog(context, agent) {
  const reasons = context.actions.offered?.pause_reasons ?? [];
  let state = agent.state === "available" ? "break" : "available";
  let reason = reasons[0] ?? "";
  const name = isolated(agent.name);
  const choice = (/** @type {string} */ one) => html`
    <label class="check"><input type="radio" name="state" value=${one} .checked=${one === state} ?autofocus=${one === state} @change=${() => ((state = one), dialog.update())}>${stateName(one)}</label>`;
  const dialog = openDialog(text("supervisor.state.title", { agent: name }), () => html`
    <form class="state" @submit=${set}>
      <p class="quiet">${text("supervisor.state.now", { state: stateName(agent.state) })}</p>
      <fieldset><legend>${text("supervisor.state.new")}</legend>${STATES.map(choice)}</fieldset>
      ${state === "break" && reasons.length
        ? html`<label class="reason">${text("supervisor.state.reason")}<select name="reason" @change=${(/** @type {any} */ event) => (reason = event.target.value)}>${reasons.map((one) => html`<option value=${one} ?selected=${one === reason}>${word("reason", one)}</option>`)}</select></label>`
        : nothing}
      ${state === "offline" ? html`<p class="quiet">${text("supervisor.state.offline.hint")}</p>` : nothing}
      <div class="buttons"><button class="main" data-action="set">${text("supervisor.state.save")}</button><button type="button" data-action="cancel" @click=${() => dialog.close()}>${text("supervisor.cancel")}</button></div>
    </form>`);

  /** @param {Event} event */
  function set(event) {
    event.preventDefault();
    dialog.close();
    const fields = { user_id: agent.id, state, ...(state === "break" && reason ? { reason } : {}) };
    context.actions.run("agent.state.set", fields, text("supervisor.state.done", { agent: name, state: stateName(state) }));
  }
  return dialog;
}

/**
 * Ask whether a call is to be ended, and have it ended.
 * @param {Context} context
 * @param {any} call
 */
export function openHangupDialog(context, call) {
  const caller = callerOf(call);
  const agent = call.agent_name ? isolated(call.agent_name) : "";
  const dialog = openDialog(text("supervisor.hangup.title"), () => html`
    <p>${text("supervisor.hangup.sure", { caller, agent })}</p>
    <div class="buttons">
      <button class="danger" data-action="hangup" @click=${hangUp}>${text("supervisor.hangup")}</button>
      <button autofocus data-action="keep" @click=${() => dialog.close()}>${text("supervisor.hangup.keep")}</button>
    </div>`);
  function hangUp() {
    dialog.close();
    context.actions.run("call.hangup", { call_id: call.id }, text("supervisor.hangup.done", { caller }));
  }
  return dialog;
}
