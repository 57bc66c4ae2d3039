// The bar with the user's own state: since when and why, changing it, and where the calls come to.

import { hasText, isolated, text } from "../texts.js";
import { html, nothing, render } from "../vendor/lit-html/lit-html.js";
import { since } from "../staff/clock.js";
import { openDialog } from "../staff/dialog.js";
import { onceAFrame } from "../staff/frame.js";
import { machine } from "../staff/memory.js";

const SET = "agent.state.set";
const EXTENSION = "extension";
const GROUP = "desk.keys.state";
const MAX_EXTENSION = 32;
/** The states that do not come with a call. */
const SETTABLE = new Set(["available", "break", "away", "offline"]);
/** The states of a command that was not refused. */
const TAKEN = new Set(["asked", "under_way", "done"]);
/** The states from which a user goes back to work. */
const ABSENT = new Set(["break", "away", "offline", "wrap_up"]);

/** @param {string} state */
export const stateName = (state) => (hasText(`desk.state.${state}`) ? text(`desk.state.${state}`) : isolated(state));
/** @param {string} reason */
export const reasonName = (reason) => (hasText(`desk.reason.${reason}`) ? text(`desk.reason.${reason}`) : isolated(reason));

/** @typedef {import("./main.js").Context} Context */

export class OwnState {
  #root;
  #context;
  /** Whether the panel of the shift is shown, though the user is signed in: to change the extension. */
  #isChanging = false;
  /** Whether the panel was closed by the user, who only wants to look. */
  #isLooking = false;
  /** @type {string | null} what is typed; null: nothing yet */
  #typed = null;
  /** The state that a screen reader was told of. @type {string | null} */
  #told = null;
  #draw;

  /** @param {HTMLElement} root @param {Context} context */
  constructor(root, context) {
    this.#root = root;
    this.#context = context;
    this.#draw = onceAFrame(() => render(this.#view(), root));
    const { client, keys } = context;
    client.watch((store) => store.agent(client.identity?.user_id ?? ""), () => {
      this.#tell();
      this.#draw();
    });
    client.on("status", () => this.#draw());
    client.on("rebuilt", () => this.#draw());
    context.onActions(() => this.#draw());
    /** @param {string} id @param {string[]} shortcut @param {() => void} run */
    const key = (id, shortcut, run) => keys.add({ id, keys: shortcut, group: GROUP, label: text(`desk.keys.${id}`), run, enabled: () => context.actions.can(SET) });
    key("available", ["Alt+1"], () => this.set("available"));
    key("break", ["Alt+2"], () => this.askReason());
    key("away", ["Alt+3"], () => this.set("away"));
    key("offline", ["Alt+4"], () => this.set("offline"));
    this.#draw();
  }

  /** The own state in the state of the tenant; undefined if the user has not signed in at a phone system. */
  get agent() {
    const { client } = this.#context;
    return client.store.agent(client.identity?.user_id ?? "");
  }

  /** @param {string} state @param {string} [reason] @returns {Promise<import("../commands.js").Outcome | null>} */
  async set(state, reason) {
    const { actions } = this.#context;
    if (actions.isUnderWay(SET)) return null;
    const what = reason ? text("desk.state.with", { state: stateName(state), reason: reasonName(reason) }) : stateName(state);
    return actions.run(SET, reason ? { state, reason } : { state }, text("desk.state.change", { what }));
  }

  /** Ask for the reason of a break; without a list of reasons there is no question. */
  askReason() {
    const reasons = this.#context.actions.offered?.pause_reasons ?? [];
    if (!reasons.length) return void this.set("break");
    const choose = (/** @type {string} */ reason, /** @type {import("../staff/dialog.js").Dialog} */ dialog) => {
      dialog.close();
      this.set("break", reason);
    };
    const dialog = openDialog(text("desk.break.title"), (self) => html`
      <ul class="choices">${reasons.map((reason, at) => html`
        <li><button ?autofocus=${at === 0} data-reason=${reason} @click=${() => choose(reason, self)}>${at < 9 ? html`<kbd aria-hidden="true">${at + 1}</kbd>` : nothing}<bdi>${reasonName(reason)}</bdi></button></li>`)}</ul>
      <p class="quiet">${text("desk.break.hint")}</p>`, { className: "narrow" });
    dialog.element.addEventListener("keydown", (event) => {
      const reason = reasons[Number(event.key) - 1];
      if (reason === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      choose(reason, dialog);
    });
  }

  /** Tell a screen reader of a state that the user has not asked for, like a break after a missed call. Calls tell theirs. */
  #tell() {
    const { agent } = this;
    const before = this.#told;
    this.#told = agent ? JSON.stringify([agent.state, agent.reason]) : null;
    if (!agent || before === null || before === this.#told || !SETTABLE.has(agent.state)) return;
    const { entries } = this.#context.actions;
    if (entries.some(({ name, fields, state }) => name === SET && fields.state === agent.state && TAKEN.has(state))) return;
    const state = stateName(agent.state);
    this.#context.announce(text("desk.state.now", { what: agent.reason ? text("desk.state.with", { state, reason: reasonName(agent.reason) }) : state }));
  }

  // ---- What is shown ----

  #view() {
    const { client, actions } = this.#context;
    const { agent } = this;
    if (!client.identity) return html`<p class="quiet" role="status">${text("login.loading")}</p>`;
    const can = actions.can(SET);
    const begins = can && !this.#isLooking && (agent === undefined || agent.state === "offline");
    return html`
      <div class="own" data-state=${agent?.state ?? "offline"}>
        <h2 class="unseen">${text("desk.state.title")}</h2>
        <p class="now"><span class="mark" aria-hidden="true"></span><strong data-value="state">${stateName(agent?.state ?? "offline")}</strong>
          ${agent?.reason ? html`<span class="reason" data-value="reason"><bdi>${reasonName(agent.reason)}</bdi></span>` : nothing}
          ${agent ? html`<span class="for"><span class="unseen">${text("desk.state.for")}</span>${since(agent.since)}</span>` : nothing}
        </p>
        ${agent?.extension ? html`<p class="extension">${text("desk.extension.at")} <strong><bdi data-value="extension">${agent.extension}</bdi></strong>${can && !this.#isChanging ? html` <button class="small" data-action="extension" @click=${this.#change}>${text("desk.extension.change")}</button>` : nothing}</p>` : nothing}
        ${can && !begins ? this.#buttons(agent?.state ?? "offline") : nothing}
      </div>
      ${begins || this.#isChanging ? this.#shift(begins) : nothing}`;
  }

  /** @param {string} state */
  #buttons(state) {
    const { actions, keys } = this.#context;
    /** @param {string} wanted @param {string} id @param {() => void} [run] */
    const button = (wanted, id, run) =>
      actions.button(SET, { state: wanted }, {
        label: text(`desk.set.${wanted}`),
        className: wanted === state ? "present" : wanted === "available" && ABSENT.has(state) ? "main" : "",
        isPresent: wanted === state,
        mark: keys.mark(id),
        keys: keys.hint(id),
        run: run ?? (() => this.set(wanted)),
      });
    return html`
      <div class="states" role="group" aria-label=${text("desk.state.set")}>
        ${button("available", "available")}${button("break", "break", () => this.askReason())}${button("away", "away")}${button("offline", "offline")}
      </div>`;
  }

  /** The beginning of a shift: where the calls come to. @param {boolean} begins */
  #shift(begins) {
    const { client, actions } = this.#context;
    const given = /** @type {{extension?: string | null}} */ (client.identity).extension ?? null;
    const value = this.#typed ?? this.agent?.extension ?? given ?? machine.get(EXTENSION, "");
    const busy = actions.isUnderWay(SET);
    return html`
      <form class="shift" @submit=${this.#begin}>
        <h2>${text(begins ? "desk.shift.title" : "desk.shift.change")}</h2>
        <label>${text("desk.shift.extension")}<input name="extension" inputmode="tel" autocomplete="off" maxlength=${MAX_EXTENSION} .value=${value} @input=${this.#type}></label>
        <div class="buttons">
          <button class="main" type="submit" value="available" aria-disabled=${busy ? "true" : nothing}>${text(begins ? "desk.shift.available" : "desk.shift.set")}</button>
          ${begins ? html`<button type="submit" value="away" aria-disabled=${busy ? "true" : nothing}>${text("desk.shift.away")}</button>` : nothing}
          <button type="button" data-action="look" @click=${this.#look}>${text(begins ? "desk.shift.look" : "desk.shift.keep")}</button>
        </div>
        <p class="quiet">${text("desk.shift.hint")}</p>
      </form>`;
  }

  #change = () => {
    this.#isChanging = true;
    this.#draw();
    requestAnimationFrame(() => /** @type {HTMLElement | null} */ (this.#root.querySelector("[name=extension]"))?.focus());
  };

  #look = () => {
    if (this.#isChanging) this.#isChanging = false;
    else this.#isLooking = true;
    this.#draw();
  };

  /** @param {Event} event */
  #type = (event) => {
    this.#typed = /** @type {HTMLInputElement} */ (event.target).value;
  };

  /** @param {SubmitEvent} event */
  #begin = async (event) => {
    event.preventDefault();
    const { actions } = this.#context;
    if (actions.isUnderWay(SET)) return;
    const extension = /** @type {HTMLInputElement} */ (/** @type {HTMLFormElement} */ (event.target).elements.namedItem("extension")).value.trim();
    const wanted = /** @type {HTMLButtonElement | null} */ (event.submitter)?.value || "available";
    const { agent } = this;
    const state = this.#isChanging && agent ? settable(agent.state) : wanted;
    const reason = this.#isChanging && state === "break" && agent?.reason ? { reason: agent.reason } : {};
    const fields = { state, ...reason, ...(extension ? { extension } : {}) };
    const outcome = await actions.run(SET, fields, text("desk.shift.begins", { what: stateName(state), extension: extension && isolated(extension) }));
    if (outcome?.state !== "done") return;
    if (extension) machine.set(EXTENSION, extension);
    this.#typed = null;
    this.#isChanging = false;
    this.#draw();
  };
}

/** The states that can be asked for; of the others, which calls bring, the one that is meant. @param {string} state */
const settable = (state) => (SETTABLE.has(state) ? state : "available");
