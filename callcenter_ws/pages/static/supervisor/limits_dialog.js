// The dialog in which a supervisor sets how long agents may be in a state.
import { text } from "../texts.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { openDialog } from "../staff/dialog.js";
import { secondsWritten, STATES, written } from "./limits.js";
import { stateName } from "./shown.js";

/** @param {import("./limits.js").Limits} limits @param {() => void} changed */
export function openLimits(limits, changed) {
  /** What is in the fields, by state. @type {{[state: string]: string}} */
  let given = {};
  let isWrong = false;
  const fill = () => (given = Object.fromEntries(STATES.map((state) => [state, written(limits.of(state))])));
  fill();
  const field = (/** @type {string} */ state) => html`
    <label><span>${stateName(state)}</span><input name=${state} inputmode="numeric" size="6" autocomplete="off" .value=${given[state]} aria-invalid=${Number.isNaN(secondsWritten(given[state])) ? "true" : nothing}
      @input=${(/** @type {any} */ event) => void (given[state] = event.target.value)}></label>`;
  const dialog = openDialog(text("supervisor.limits.title"), () => html`
    <form class="limits" @submit=${save}>
      <p class="quiet">${text("supervisor.limits.hint")}</p>
      <div class="fields">${STATES.filter((state) => state !== "offline").map(field)}</div>
      ${isWrong ? html`<p class="problem" role="alert">${text("supervisor.limits.wrong")}</p>` : nothing}
      <div class="buttons"><button class="main" data-action="save">${text("supervisor.limits.save")}</button><button type="button" data-action="defaults" @click=${reset}>${text("supervisor.limits.defaults")}</button></div>
    </form>`);

  /** @param {Event} event */
  function save(event) {
    event.preventDefault();
    const read = Object.fromEntries(STATES.map((state) => [state, secondsWritten(given[state])]));
    isWrong = Object.values(read).some(Number.isNaN);
    if (isWrong) {
      dialog.update();
      /** @type {HTMLElement | null} */ (dialog.element.querySelector("[aria-invalid]"))?.focus();
      return;
    }
    limits.set(read);
    dialog.close();
    changed();
  }

  function reset() {
    limits.reset();
    fill();
    isWrong = false;
    dialog.update();
    changed();
  }
  return dialog;
}
