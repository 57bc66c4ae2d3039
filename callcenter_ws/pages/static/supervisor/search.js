// The section of the search: a call or an agent of today, and the path of one call.
import { read } from "../session.js";
import { isolated, text } from "../texts.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { clockTime } from "../staff/clock.js";
import { agentsFound, NOTHING, pathOf, queryOf, STATES } from "./call_search.js";
import { CallPanel } from "./call_panel.js";
import { hrefOf } from "./route.js";
import { callerOf, resultOf, seconds, sortHead, stateTemplate } from "./shown.js";
import { Sorting } from "./sorting.js";

/** @typedef {import("./main.js").Context} Context */

const WAIT_MS = 300;
const AGAIN_MS = 15_000;
const MAX_AGENTS = 10;

/** @type {{[name: string]: import("./sorting.js").Column<any>}} */
const COLUMNS = {
  started_at: { value: ({ started_at }) => started_at, isDescending: true },
  caller: { value: (call) => String((call.direction === "outbound" ? call.destination : call.caller_name || call.caller_id) || "").toLowerCase() || null },
  queue: { value: ({ queue_name }) => queue_name },
  agent: { value: ({ agent_name }) => agent_name },
  outcome: { value: (call) => resultOf(call) },
  wait: { value: ({ wait_seconds }) => wait_seconds, isDescending: true },
  talk: { value: ({ talk_seconds }) => talk_seconds, isDescending: true },
};

export class SearchSection {
  #context;
  #panel;
  #query = { ...NOTHING };
  /** @type {any[] | null} */
  #found = null;
  #hasMore = false;
  #incomplete = false;
  /** @type {{id: string, message: string} | null} */
  #problem = null;
  #asked = 0;
  #askedAt = -Infinity;
  /** @type {any} */
  #timer = null;
  #sorting = new Sorting(COLUMNS, "started_at", ({ call_id: id }) => id);

  /** @param {Context} context */
  constructor(context) {
    this.#context = context;
    this.#panel = new CallPanel(context);
  }

  /** Search for what the address names, as in `#search?agent=7`. @param {string} fragment */
  open(fragment) {
    if (fragment.includes("?")) this.#set(queryOf(fragment), 0);
  }

  /** @param {string | null} id of the call whose details are shown */
  template(id) {
    if (performance.now() - this.#askedAt > AGAIN_MS && this.#context.client.status.state === "live") this.#ask();
    const call = this.#found?.find((one) => one.call_id === id) ?? null;
    return html`
      <div class="split" ?data-detail=${id !== null}>
        <div class="list">
          ${this.#form()}
          ${this.#agents()}
          ${this.#problem ? html`<p class=${this.#problem.id === "missing" ? "empty" : "problem"} role="status">${text(`supervisor.search.${this.#problem.id}`, { message: this.#problem.message })}</p>` : nothing}
          ${this.#found ? this.#calls(this.#found, id) : this.#problem ? nothing : html`<p class="empty">${text("supervisor.loading")}</p>`}
        </div>
        ${id === null ? nothing : this.#panel.template(id, call)}
      </div>`;
  }

  #form() {
    const { search, agent, queue, state } = this.#query;
    const queues = this.#context.client.store.queues().map(({ name }) => name);
    const name = agent && (this.#context.client.store.agent(agent)?.name ?? agent);
    return html`
      <form class="filters" role="search" @submit=${(/** @type {Event} */ event) => (event.preventDefault(), this.#ask())}>
        <label class="grows">${text("supervisor.search.text")}<input type="search" name="search" data-filter="search" autocomplete="off" placeholder=${text("supervisor.search.hint")} .value=${search} @input=${(/** @type {any} */ { target }) => this.#set({ search: target.value })}></label>
        <label>${text("supervisor.filter.queue")}
          <select data-filter="queue" @change=${(/** @type {any} */ { target }) => this.#set({ queue: target.value }, 0)}>
            <option value="" .selected=${!queue}>${text("supervisor.filter.all")}</option>
            ${repeat(queues, (one) => one, (one) => html`<option value=${one} .selected=${one === queue}>${one}</option>`)}
          </select>
        </label>
        <label>${text("supervisor.search.state")}
          <select data-filter="state" @change=${(/** @type {any} */ { target }) => this.#set({ state: target.value }, 0)}>
            <option value="" .selected=${!state}>${text("supervisor.filter.all")}</option>
            ${STATES.map((one) => html`<option value=${one} .selected=${one === state}>${text(`supervisor.call_state.${one}`)}</option>`)}
          </select>
        </label>
        <button class="main">${text("supervisor.search.go")}</button>
      </form>
      ${name ? html`<p class="chips"><button class="chip small" data-action="any-agent" @click=${() => this.#set({ agent: "" }, 0)}>${text("supervisor.search.of_agent", { agent: isolated(name) })} <span aria-hidden="true">✕</span><span class="unseen">${text("supervisor.search.any_agent")}</span></button></p>` : nothing}`;
  }

  #agents() {
    const found = agentsFound(this.#context.client.store.agents(), this.#query.search);
    if (!found.length) return nothing;
    return html`
      <h2 class="part">${text("supervisor.search.agents")}</h2>
      <ul class="found-agents">${repeat(found.slice(0, MAX_AGENTS), ({ id }) => id, (agent) => html`<li><a href=${hrefOf("agents", agent.id)}><bdi>${agent.name}</bdi></a> ${stateTemplate(agent.state, agent.reason)}</li>`)}</ul>
      ${found.length > MAX_AGENTS ? html`<p class="quiet">${text("supervisor.more", { n: found.length - MAX_AGENTS })}</p>` : nothing}`;
  }

  /** @param {any[]} calls @param {string | null} id */
  #calls(calls, id) {
    const head = (/** @type {string} */ column, /** @type {string} */ className = "") => sortHead(this.#sorting, column, text(`supervisor.search.${column}`), this.#context.draw, { className });
    const rows = repeat(this.#sorting.sorted(calls), ({ call_id: one }) => one, (call) => this.#row(call, id));
    return html`
      <p class="summary quiet"><span role="status">${text(this.#hasMore ? "supervisor.search.first" : "supervisor.search.found", { n: calls.length })}</span>${this.#incomplete ? html` <span>${text("supervisor.search.incomplete")}</span>` : nothing}</p>
      ${calls.length
        ? html`<table class="data found">
            <caption class="unseen">${text("supervisor.search.calls")}</caption>
            <thead><tr>${head("started_at")}${head("caller", "of-name")}${head("queue", "wide")}${head("agent", "wide")}${head("outcome")}${head("wait", "number wide")}${head("talk", "number wide")}<th scope="col" class="wider">${text("supervisor.search.disposition")}</th></tr></thead>
            <tbody>${rows}</tbody>
          </table>`
        : html`<p class="empty">${text("supervisor.search.none")}</p>`}`;
  }

  /** @param {any} call @param {string | null} id */
  #row(call, id) {
    const { call_id: own, disposition, queue_name: queue, agents } = call;
    return html`
      <tr data-key=${own} ?data-chosen=${own === id}>
        <td>${clockTime(Date.parse(call.started_at))}</td>
        <th scope="row" class="of-name"><div><a href=${hrefOf("search", own)} aria-current=${own === id ? "true" : nothing}>${callerOf(call)}</a></div></th>
        <td class="wide">${queue ? html`<bdi>${queue}</bdi>` : nothing}</td>
        <td class="wide">${(agents ?? []).map((/** @type {any} */ { id: agent, name }, /** @type {number} */ at) => html`${at ? ", " : ""}<bdi>${name ?? agent}</bdi>`)}</td>
        <td data-outcome=${call.outcome ?? call.state}>${resultOf(call)}</td>
        <td class="number wide">${seconds(call.wait_seconds)}</td>
        <td class="number wide">${seconds(call.talk_seconds)}</td>
        <td class="wider">${disposition ? html`<bdi>${disposition.label ?? disposition.code}</bdi>` : nothing}</td>
      </tr>`;
  }

  // ---- What is asked of the gateway ----

  /** @param {Partial<import("./call_search.js").Query>} given @param {number} [wait] ms, while a person types */
  #set(given, wait = WAIT_MS) {
    this.#query = { ...this.#query, ...given };
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#ask(), wait);
    this.#context.draw();
  }

  async #ask() {
    clearTimeout(this.#timer);
    this.#askedAt = performance.now();
    const asked = (this.#asked += 1);
    try {
      const { calls, more, incomplete_since: incomplete } = await read(pathOf(this.#query));
      // A later question may have been answered before.
      if (asked !== this.#asked) return;
      this.#found = calls;
      this.#hasMore = more;
      this.#incomplete = incomplete !== null && incomplete !== undefined;
      this.#problem = null;
    } catch (error) {
      if (asked !== this.#asked) return;
      const { status = 0, message } = /** @type {{status?: number, message: string}} */ (error);
      this.#problem = { id: status === 404 ? "missing" : status === 403 ? "forbidden" : "failed", message };
      if (status === 404) this.#found = null;
    }
    this.#context.draw();
  }

  /** Put the focus into the field for the text. */
  focusFilter() {
    /** @type {HTMLElement | null} */ (document.querySelector("#search [data-filter=search]"))?.focus();
  }
}
