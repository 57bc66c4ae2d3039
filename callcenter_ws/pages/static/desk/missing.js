// What the desk could do and nothing carries out at present: said in the list of shortcuts, in place of dead buttons.

import { text } from "../texts.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";

const USED = [
  "agent.state.set",
  "call.answer",
  "call.hangup",
  "call.hold",
  "call.consult",
  "call.transfer",
  "call.record",
  "call.originate",
  "call.disposition",
  "chat.accept",
  "chat.transfer",
  "chat.close",
];

/** @param {import("../staff/actions.js").Actions} actions */
export function missing(actions) {
  const names = USED.filter((name) => !actions.can(name));
  if (!names.length) return nothing;
  return html`
    <section class="missing"><h3>${text("desk.missing")}</h3>
      <p>${text(actions.offered === null ? "desk.missing.off" : "desk.missing.hint")}</p>
      <ul>${names.map((name) => html`<li>${text(`action.name.${name}`)}</li>`)}</ul>
    </section>`;
}
