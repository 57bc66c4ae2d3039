// What is asked about a chat: to whom it is transferred, and whether it is really closed.

import { openDialog } from "../dialog.js";
import { hasText, text } from "../../texts.js";
import { repeat } from "../../vendor/lit-html/directives/repeat.js";
import { html, nothing } from "../../vendor/lit-html/lit-html.js";

/** Colleagues that are shown. */
const MAX_SHOWN = 12;
/** The order of the states in which colleagues are listed; other ones come last. */
const ORDER = ["available", "wrap_up", "busy", "talking", "hold", "ringing", "break", "away"];

/** @typedef {import("../../client.js").Agent} Agent */

/**
 * Return the agents to whom a chat can be transferred, those who are free first.
 * @param {readonly Agent[]} agents
 * @param {string | null | undefined} present who has it
 * @param {string} search a part of a name or an id
 */
export function colleagues(agents, present, search) {
  const wanted = search.trim().toLowerCase();
  const place = (/** @type {Agent} */ { state }) => (ORDER.includes(state) ? ORDER.indexOf(state) : ORDER.length);
  return agents
    .filter(({ id, state }) => id !== present && state !== "offline")
    .filter(({ id, name }) => !wanted || `${name ?? ""} ${id}`.toLowerCase().includes(wanted))
    .sort((one, other) => place(one) - place(other) || String(one.name).localeCompare(String(other.name)));
}

/** @param {string} state */
const stateText = (state) => (hasText(`state.${state}`) ? text(`state.${state}`) : state);

/**
 * Have an agent chosen who gets a chat.
 * @param {import("../../client.js").Client} client
 * @param {string} name the visitor's
 * @param {string | null | undefined} present who has the chat
 * @returns {Promise<{id: string, name: string} | null>} null: none was chosen
 */
export async function chooseColleague(client, name, present) {
  let search = "";
  /** @type {{id: string, name: string} | null} */
  let chosen = null;
  const dialog = openDialog(text("chats.transfer.title", { name }), ({ update, close }) => {
    const found = colleagues(client.store.agents(), present, search);
    const none = search.trim() ? text("chats.transfer.none_found") : text("chats.transfer.none");
    /** @param {Agent} agent */
    const choose = ({ id, name: agent }) => {
      chosen = { id, name: agent || id };
      close();
    };
    return html`
      <label class="find">${text("chats.transfer.search")}<input type="search" autofocus @input=${(/** @type {Event} */ event) => {
        search = /** @type {HTMLInputElement} */ (event.target).value;
        update();
      }}></label>
      <p class="quiet" role="status">${found.length ? nothing : none}</p>
      <ul class="choices" role="list">${repeat(found.slice(0, MAX_SHOWN), ({ id }) => id, (agent) => html`
        <li><button data-agent=${agent.id} @click=${() => choose(agent)}><bdi>${agent.name || agent.id}</bdi> <span class="agent-state" data-state=${agent.state}>${stateText(agent.state)}</span></button></li>`)}
      </ul>
      ${found.length > MAX_SHOWN ? html`<p class="quiet">${text("chats.transfer.more", { n: found.length - MAX_SHOWN })}</p>` : nothing}`;
  }, { className: "choose" });
  const stop = client.watch((store) => store.agents(), () => dialog.element.isConnected && dialog.update());
  await dialog.closed;
  stop();
  return chosen;
}

/**
 * Ask whether to close a chat.
 * @param {string} name the visitor's
 * @param {readonly string[]} words what is to be known of it before
 * @returns {Promise<boolean>}
 */
export async function askToClose(name, words) {
  let isSure = false;
  const dialog = openDialog(text("chats.close.title", { name }), ({ close }) => {
    const confirm = () => {
      isSure = true;
      close();
    };
    return html`
      ${words.map((one) => html`<p>${one}</p>`)}
      <p class="answers"><button class="main" data-action="confirm" @click=${confirm}>${text("chats.close.confirm")}</button>
        <button data-action="cancel" autofocus @click=${close}>${text("chats.cancel")}</button></p>`;
  }, { className: "confirm" });
  await dialog.closed;
  return isSure;
}
