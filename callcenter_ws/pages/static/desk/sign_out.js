// Before signing out: whether the phone system goes on to send calls.

import { openDialog } from "../staff/dialog.js";
import { text } from "../texts.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { stateName } from "./state.js";

/**
 * Ask whether to go offline first, if the user is not and can. Return whether to sign out.
 * @param {import("./main.js").Context} context
 * @param {import("./state.js").OwnState} own
 * @returns {Promise<boolean>}
 */
export async function beforeSignOut({ actions }, own) {
  const { agent } = own;
  if (!agent || agent.state === "offline" || !actions.can("agent.state.set")) return true;
  let answer = false;
  let problem = "";
  let busy = false;
  const offline = async () => {
    if (busy) return;
    busy = true;
    dialog.update();
    const outcome = await own.set("offline");
    busy = false;
    answer = outcome?.state === "done";
    problem = answer ? "" : text("desk.leave.failed");
    if (answer) dialog.close();
    else dialog.update();
  };
  const leave = () => {
    answer = true;
    dialog.close();
  };
  const dialog = openDialog(text("desk.leave.title"), () => html`
    <p>${text("desk.leave.hint", { state: stateName(agent.state) })}</p>
    ${problem ? html`<p class="problem" role="alert">${problem}</p>` : nothing}
    <div class="buttons">
      <button class="main" autofocus data-action="offline" aria-disabled=${busy ? "true" : nothing} @click=${offline}>${text("desk.leave.offline")}</button>
      <button data-action="leave" @click=${leave}>${text("desk.leave.stay")}</button>
    </div>`, { className: "narrow" });
  await dialog.closed;
  return answer;
}
