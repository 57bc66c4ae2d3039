// The section of the agents: a table with filters, of which the rows near the window are in the document.
import { isolated, text } from "../texts.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { since } from "../staff/clock.js";
import { isDialogOpen } from "../staff/dialog.js";
import { count } from "../wallboard/format.js";
import { styled } from "../wallboard/styled.js";
import { agentDetail } from "./agent_detail.js";
import { agentRows, ALL, COLUMNS, counts, filtered } from "./agent_rows.js";
import { Attention, HeldOrder } from "./held.js";
import { openLimits } from "./limits_dialog.js";
import { hrefOf } from "./route.js";
import { RowWindow } from "./row_window.js";
import { callButtons, callerOf, named, oldMark, sortHead, stateName, stateTemplate, stateTime } from "./shown.js";
import { Sorting } from "./sorting.js";
import { openStateDialog } from "./state_dialog.js";

/** @typedef {import("./agent_rows.js").AgentRow} AgentRow */
/** @typedef {import("./main.js").Context} Context */

/** Before a row was measured. */
const ROW_HEIGHT = 44;

export class AgentsSection {
  #context;
  #filter = { ...ALL };
  /** @type {Sorting<AgentRow>} */
  #sorting = new Sorting(COLUMNS, "since", ({ key }) => key);
  #order = /** @type {HeldOrder<AgentRow>} */ (new HeldOrder());
  #attention = new Attention();
  #window = new RowWindow();
  #rowHeight = ROW_HEIGHT;
  /** The keys of the rows in their order. @type {string[]} */
  #keys = [];
  #isHeld = false;
  /** Whether the person has changed what is shown: a screen reader then says how many agents were found. */
  #hasAsked = false;
  #announced = "";

  /** @param {Context} context */
  constructor(context) {
    this.#context = context;
  }

  /** Return how many agents are over their limits. */
  badge() {
    const { client, limits } = this.#context;
    const now = this.#context.shownNow();
    return client.store.agents().filter((agent) => limits.isOver(agent, now)).length;
  }

  /** @param {string | null} id of the agent whose details are shown */
  template(id) {
    const { client, limits } = this.#context;
    const all = agentRows(client.store, limits, this.#context.shownNow());
    if (!all.length) return html`<p class="empty">${text("supervisor.agents.none")}<span class="quiet">${text("supervisor.agents.none.hint")}</span></p>`;
    const found = this.#sorting.sorted(filtered(all, this.#filter));
    if (!document.querySelector("#agents .agents")) this.#attention.leave();
    this.#isHeld = this.#attention.isHeld(performance.now()) || isDialogOpen();
    const byKey = new Map(all.map((row) => [row.key, row]));
    const shown = this.#order.next(found, this.#isHeld, (key) => byKey.get(key));
    this.#keys = shown.map(({ key }) => key);
    const summary = text("supervisor.agents.found", { n: found.length, of: count(all.length) });
    if (this.#hasAsked) this.#announced = summary;
    this.#hasAsked = false;
    return html`
      <div class="split" ?data-detail=${id !== null}>
        <div class="list">
          ${this.#toolbar(all)}
          <p class="summary quiet"><span>${summary}</span><span class="unseen" role="status">${this.#announced}</span>${this.#isHeld ? html` <span class="held">${text("supervisor.held")}</span>` : nothing}</p>
          ${shown.length ? this.#table(shown, id) : html`<p class="empty">${text("supervisor.agents.no_match")}<button data-action="all" @click=${() => this.#set(ALL)}>${text("supervisor.filter.none")}</button></p>`}
        </div>
        ${id === null ? nothing : agentDetail(this.#context, id, byKey.get(id))}
      </div>`;
  }

  // ---- Filters ----

  /** @param {AgentRow[]} all */
  #toolbar(all) {
    const { state, queue, text: wanted, isOverOnly } = this.#filter;
    const queues = this.#context.client.store.queues().map(({ name }) => name);
    const over = all.filter(({ isOver }) => isOver).length;
    const states = counts(all).filter(({ state: one, count: n }) => n || one === state);
    const chips = states.map(({ state: one, count: n }) => this.#chip(one, stateName(one), n, one === state));
    return html`
      <div class="chips" role="group" aria-label=${text("supervisor.filter.state")}>
        ${this.#chip("", text("supervisor.filter.all"), all.length, !state)}${chips}
      </div>
      <div class="filters">
        <label>${text("supervisor.filter.queue")}
          <select data-filter="queue" @change=${(/** @type {any} */ event) => this.#set({ queue: event.target.value })}>
            <option value="" .selected=${!queue}>${text("supervisor.filter.all")}</option>
            ${repeat(queues, (name) => name, (name) => html`<option value=${name} .selected=${name === queue}>${name}</option>`)}
          </select>
        </label>
        <label class="grows">${text("supervisor.filter.text")}<input type="search" data-filter="text" .value=${wanted} @input=${(/** @type {any} */ event) => this.#set({ text: event.target.value })}></label>
        <button data-filter="over" aria-pressed=${isOverOnly ? "true" : "false"} @click=${() => this.#set({ isOverOnly: !isOverOnly })}><span class="mark" data-severity="1"></span>${text("supervisor.filter.over", { n: over })}</button>
        <button data-action="limits" @click=${() => openLimits(this.#context.limits, this.#context.draw)}>${text("supervisor.limits")}</button>
      </div>`;
  }

  /** @param {string} state @param {string} label @param {number} n @param {boolean} isChosen */
  #chip(state, label, n, isChosen) {
    return html`<button class="chip small" data-state=${state || "all"} aria-pressed=${isChosen ? "true" : "false"} @click=${() => this.#set({ state })}>${state ? html`<span class="dot" data-state=${state}></span>` : nothing}${label} <strong>${count(n)}</strong></button>`;
  }

  /** @param {Partial<import("./agent_rows.js").Filter>} given */
  #set(given) {
    this.#filter = { ...this.#filter, ...given };
    // What is asked for is shown, also while the pointer is on the rows.
    this.#attention.leave();
    this.#hasAsked = true;
    this.#context.draw();
  }

  /** Put the focus into the field for the text. */
  focusFilter() {
    /** @type {HTMLElement | null} */ (document.querySelector("#agents [data-filter=text]"))?.focus();
  }

  // ---- The table ----

  /** @param {AgentRow[]} rows @param {string | null} id */
  #table(rows, id) {
    const head = (/** @type {string} */ column, /** @type {string} */ className = "") => sortHead(this.#sorting, column, text(`supervisor.agent.${column}`), () => this.#set({}), { className });
    const { parts, isWhole } = this.#window.next(this.#keys, this.#view());
    if (!isWhole) this.#context.draw();
    const hasFigures = rows.some(({ agent }) => agent.figures);
    return html`
      <table class="data agents" aria-rowcount=${rows.length + 1}
        @pointerover=${this.#pointer} @pointerleave=${this.#pointer} @keydown=${this.#key} @focusout=${this.#focusout} @touchstart=${{ handleEvent: () => this.#attention.touch(performance.now()), passive: true }}>
        <caption class="unseen">${text("supervisor.section.agents")}</caption>
        <thead><tr aria-rowindex="1">
          ${head("name", "of-name")}${head("state")}${head("since", "number")}${head("call", "wide")}
          <th scope="col" class="wider">${text("supervisor.agent.queues")}</th>
          ${hasFigures ? head("handled", "number wider") : html`<th class="none"></th>`}
          <th scope="col" class="of-actions"><span class="unseen">${text("supervisor.agent.actions")}</span></th>
        </tr></thead>
        <tbody>
          ${repeat(parts, (part) => ("at" in part ? this.#keys[part.at] : `\0${part.before}`), (part) => ("at" in part ? this.#row(rows[part.at], part.at, id, hasFigures) : this.#gap(part.gap)))}
        </tbody>
      </table>`;
  }

  /** @param {number} rows */
  #gap(rows) {
    return html`<tr class="gap" aria-hidden="true"><td ${styled({ height: `${rows * this.#rowHeight}px` })}></td></tr>`;
  }

  /** @param {AgentRow} row @param {number} at @param {string | null} id @param {boolean} hasFigures */
  #row({ agent, call, isOver, isOld, isGone }, at, id, hasFigures) {
    const isTalking = call !== null && call.state !== "ringing";
    return html`
      <tr data-key=${agent.id} aria-rowindex=${at + 2} ?data-chosen=${agent.id === id} ?data-gone=${isGone} ?data-old=${isOld}>
        <th scope="row" class="of-name"><div><a href=${hrefOf("agents", agent.id)} aria-current=${agent.id === id ? "true" : nothing}><bdi>${agent.name}</bdi></a>${agent.extension ? html`<span class="quiet"><bdi>${agent.extension}</bdi></span>` : nothing}${oldMark(isOld)}</div></th>
        <td class="state"><div>${stateTemplate(agent.state, agent.reason)}</div></td>
        <td class="number time"><div>${stateTime(this.#context, agent, isOver)}</div></td>
        <td class="wide call"><div>${call ? html`<span class="who">${callerOf(call)}</span>${call.queue ? html`<span class="quiet"><bdi>${call.queue}</bdi></span>` : nothing}${isTalking ? html`<span class="quiet">${since(call.since)}</span>` : nothing}` : nothing}</div></td>
        <td class="wider queues"><div>${queueNames(agent)}</div></td>
        ${hasFigures ? html`<td class="number wider">${count(agent.figures?.today?.handled)}</td>` : html`<td class="none"></td>`}
        <td class="of-actions"><div>${callButtons(this.#context, call, { isShort: true })}${this.#stateButton(agent)}</div></td>
      </tr>`;
  }

  /** @param {any} agent */
  #stateButton(agent) {
    const label = named("supervisor.state.set", isolated(agent.name));
    return this.#context.actions.button("agent.state.set", { user_id: agent.id }, { label, className: "small", run: () => void openStateDialog(this.#context, agent) });
  }

  // ---- What is near the window, and who acts ----

  #view() {
    const body = document.querySelector("#agents .agents tbody");
    const row = /** @type {HTMLElement | null} */ (body?.querySelector("tr[data-key]") ?? null);
    if (row && row.offsetHeight) this.#rowHeight = row.offsetHeight;
    const top = body ? -body.getBoundingClientRect().top : 0;
    const focused = document.activeElement?.closest("#agents tr[data-key]")?.getAttribute("data-key") ?? null;
    return { top, height: innerHeight, rowHeight: this.#rowHeight, focused };
  }

  /** @param {PointerEvent} event */
  #pointer = (event) => {
    if (event.pointerType === "touch") return;
    const isOver = event.type !== "pointerleave" && /** @type {Element} */ (event.target).closest("tbody") !== null;
    const wasHeld = this.#attention.isHeld(performance.now());
    this.#attention.pointer(isOver);
    if (wasHeld !== this.#attention.isHeld(performance.now())) this.#context.draw();
  };

  /** @param {FocusEvent} event */
  #focusout = ({ relatedTarget }) => {
    if (!(relatedTarget instanceof Element) || !relatedTarget.closest("#agents tbody")) this.#attention.blur();
  };

  /** The arrow keys go from row to row, in the same column of controls. @param {KeyboardEvent} event */
  #key = (event) => {
    const target = /** @type {HTMLElement} */ (event.target);
    const row = target.closest("tr[data-key]");
    if (!row) return;
    this.#attention.touch(performance.now());
    /** @type {{[key: string]: number}} */
    const steps = { ArrowDown: 1, ArrowUp: -1, Home: -Infinity, End: Infinity };
    const step = steps[event.key];
    if (step === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const at = this.#keys.indexOf(row.getAttribute("data-key") ?? "") + step;
    const controls = [...row.querySelectorAll("a, button")];
    this.#focusRow(Math.max(0, Math.min(this.#keys.length - 1, at)), target instanceof HTMLAnchorElement ? 0 : controls.length - controls.indexOf(target));
  };

  /** @param {number} at @param {number} fromEnd which control; 0: the name */
  #focusRow(at, fromEnd) {
    const body = document.querySelector("#agents .agents tbody");
    if (!body) return;
    const top = body.getBoundingClientRect().top + at * this.#rowHeight;
    const head = 2 * this.#rowHeight;
    if (top < head || top > innerHeight - 2 * this.#rowHeight) scrollBy({ top: top - innerHeight / 2 });
    const key = this.#keys[at];
    const focus = (/** @type {number} */ tries) => {
      const row = document.querySelector(`#agents tr[data-key="${CSS.escape(key)}"]`);
      const controls = row ? [...row.querySelectorAll("a, button")] : [];
      const control = fromEnd ? (controls[controls.length - fromEnd] ?? controls[0]) : controls[0];
      if (control) /** @type {HTMLElement} */ (control).focus({ preventScroll: true });
      else if (tries) {
        this.#context.draw();
        requestAnimationFrame(() => focus(tries - 1));
      }
    };
    focus(10);
  }
}

/** The queues of an agent, shortened where they have no room; the details have all of them. @param {any} agent */
const queueNames = ({ queues, paused_in: paused }) => html`<span class="word">${queues.map((/** @type {string} */ queue, /** @type {number} */ at) => html`${at ? ", " : ""}${paused.includes(queue) ? html`<span aria-hidden="true">‖ </span><span class="unseen">${text("supervisor.paused")} </span>` : nothing}<bdi>${queue}</bdi>`)}</span>`;
