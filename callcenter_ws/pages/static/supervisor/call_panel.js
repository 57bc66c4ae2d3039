// The details of one call of today: its path, its times, its result, and the earlier calls of the same caller.
import { read } from "../session.js";
import { isolated, text } from "../texts.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { clockTime, since } from "../staff/clock.js";
import { earlierPath, pathOf, NOTHING, stepsOf } from "./call_search.js";
import { hrefOf } from "./route.js";
import { callButtons, callerOf, fact, resultOf, seconds, word } from "./shown.js";

/** @typedef {import("./main.js").Context} Context */

export class CallPanel {
  #context;
  #id = "";
  /** What is known of the call when the list does not have it: the page was opened at it. @type {any} */
  #call = null;
  /** @type {any} */
  #earlier = null;
  #isMissing = false;

  /** @param {Context} context */
  constructor(context) {
    this.#context = context;
  }

  /** @param {string} id @param {any} listed the call, if the list has it */
  template(id, listed) {
    if (id !== this.#id) this.#open(id);
    const call = (this.#call = listed ?? this.#call);
    return html`
      <aside class="detail" aria-labelledby="detail-title">
        <header><h2 id="detail-title" tabindex="-1">${call ? callerOf(call) : text("supervisor.call.title")}</h2><a class="button small" data-action="back" href=${hrefOf("search")}>${text("supervisor.detail.close")}</a></header>
        ${call ? this.#facts(call) : html`<p class="quiet">${text(this.#isMissing ? "supervisor.call.gone" : "supervisor.loading")}</p>`}
      </aside>`;
  }

  /** @param {any} call */
  #facts(call) {
    const present = this.#context.client.store.call(call.call_id);
    const { disposition } = call;
    return html`
      <dl class="facts">
        ${fact(text("supervisor.search.outcome"), html`${resultOf(call)}${present ? html` ${since(present.since)}` : nothing}`)}
        ${fact(text("supervisor.search.wait"), seconds(call.wait_seconds))}
        ${fact(text("supervisor.search.talk"), seconds(call.talk_seconds))}
        ${fact(text("supervisor.call.number"), html`<bdi>${(call.direction === "outbound" ? call.destination : call.caller_id) || text("figure.none")}</bdi>`)}
        ${fact(text("supervisor.call.direction"), word("supervisor.direction", call.direction ?? "inbound"))}
        ${fact(text("supervisor.call.id"), html`<bdi>${call.call_id}</bdi>`)}
      </dl>
      ${present ? html`<div class="buttons">${callButtons(this.#context, present)}</div>` : nothing}
      <h3>${text("supervisor.call.path")}</h3>
      <ol class="path">${stepsOf(call).map(step)}</ol>
      <h3>${text("supervisor.search.disposition")}</h3>
      <p>${disposition ? html`<bdi>${disposition.label ?? disposition.code}</bdi>${disposition.note ? html`: <q><bdi>${disposition.note}</bdi></q>` : nothing}` : html`<span class="quiet">${text("supervisor.call.no_disposition")}</span>`}</p>
      ${this.#earlier ? earlierCalls(this.#earlier) : nothing}`;
  }

  /** @param {string} id */
  async #open(id) {
    this.#id = id;
    this.#call = this.#earlier = null;
    this.#isMissing = false;
    try {
      if (!this.#call) {
        const { calls } = await read(pathOf({ ...NOTHING, search: id }));
        if (id !== this.#id) return;
        this.#call ??= calls.find((/** @type {any} */ one) => one.call_id === id) ?? null;
        this.#isMissing = this.#call === null;
      }
      const earlier = await read(earlierPath(id));
      if (id === this.#id) this.#earlier = earlier;
    } catch {
      // What is known without it is shown.
      if (id === this.#id) this.#isMissing = this.#call === null;
    }
    this.#context.draw();
  }
}

/** @param {import("./call_search.js").Step} one */
function step({ at, text: name, values }) {
  const shown = Object.fromEntries(Object.entries(values).map(([key, value]) => [key, name === "ended" ? word("supervisor.outcome", value) : typeof value === "string" && value ? isolated(value) : value]));
  return html`<li data-step=${name}><span class="quiet">${at === null ? nothing : clockTime(at)}</span> <span>${text(`supervisor.step.${name}`, shown)}</span></li>`;
}

/** @param {any} earlier */
const earlierCalls = ({ today, calls }) => html`
  <h3>${text("supervisor.call.earlier")} <span class="quiet">${String(today)}</span></h3>
  ${calls.length
    ? html`<ul class="path">${calls.map((/** @type {any} */ one) => html`<li><span class="quiet">${clockTime(Date.parse(one.started_at))}</span> <span>${text("supervisor.call.earlier.line", { outcome: word("supervisor.outcome", one.outcome ?? "ended"), queue: one.queue_name ? isolated(one.queue_name) : "", agent: one.agent_name ? isolated(one.agent_name) : "" })}</span></li>`)}</ul>`
    : html`<p class="quiet">${text("supervisor.call.earlier.none")}</p>`}`;
