// The section of the alerts: those that are raised, and acknowledging them with a note.
import { isolated, text } from "../texts.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { alertMark, byUrgency, MAY_ACKNOWLEDGE } from "../live/alerts.js";
import { alertReason, alertTitle } from "../live/lines.js";
import { clockTime, since } from "../staff/clock.js";
import { hrefOf } from "./route.js";

/** @typedef {import("./main.js").Context} Context */
/** What became of an acknowledgement. @typedef {{state: "asked" | "failed", words: string}} Asked */

const MAX_NOTE = 500;
const MAX_CLEARED = 20;

/** @param {any} alert */
export const titleOf = (alert) => alertTitle({ queue_name: alert.queue ?? undefined, source: alert.source, rule: alert.rule });

export class AlertsSection {
  #context;
  /** The notes that were begun, by alert: nothing that was typed is lost. @type {Map<string, string>} */
  #notes = new Map();
  /** @type {Map<string, Asked>} */
  #asked = new Map();
  /** What was cleared since the page was opened, newest first. @type {{key: string, title: string, at: number}[]} */
  #cleared = [];

  /** @param {Context} context */
  constructor(context) {
    this.#context = context;
    context.client.on("event", ({ type, payload, timestamp }) => {
      if (type !== "queue.alert.cleared") return;
      this.#cleared.unshift({ key: `${payload.alert_id} ${timestamp}`, title: alertTitle(payload), at: Date.parse(timestamp) });
      this.#cleared.length = Math.min(this.#cleared.length, MAX_CLEARED);
      this.#context.soon();
    });
  }

  /** Return how many alerts no one has acknowledged. */
  badge() {
    return this.#context.client.store.alerts().filter(({ acknowledged }) => !acknowledged).length;
  }

  template() {
    const alerts = byUrgency(this.#context.client.store.alerts());
    this.#forget(new Set(alerts.map(({ alert_id }) => alert_id)));
    return html`
      ${alerts.length
        ? html`<ul class="cards alerts">${repeat(alerts, ({ key }) => key, (alert) => this.#card(alert))}</ul>`
        : html`<p class="empty">${text("supervisor.alerts.none")}<span class="quiet">${text("supervisor.alerts.none.hint")}</span></p>`}
      ${this.#cleared.length
        ? html`<h2 class="part">${text("supervisor.alerts.cleared")}</h2>
            <ul class="cleared">${repeat(this.#cleared, ({ key }) => key, ({ title, at }) => html`<li><span class="quiet">${clockTime(at)}</span> <bdi>${title}</bdi></li>`)}</ul>`
        : nothing}`;
  }

  /** Forget what concerns alerts that are over. @param {Set<string>} present */
  #forget(present) {
    for (const known of [this.#notes, this.#asked]) for (const id of known.keys()) if (!present.has(id)) known.delete(id);
  }

  /** @param {any} alert */
  #card(alert) {
    return html`
      <li data-severity=${alert.severity ?? "warning"} data-key=${alert.alert_id} class=${alert.acknowledged ? "acknowledged" : ""}>
        <p class="title">${alertMark(alert)}<strong><bdi>${titleOf(alert)}</bdi></strong> <span class="age">${since(alert.since)}</span></p>
        <p class="why">${alertReason(alert)} <span class="quiet">${text("supervisor.alerts.since", { time: clockTime(alert.since) })}</span></p>
        ${alert.queue ? html`<p><a href=${hrefOf("queues", alert.queue)}>${text("supervisor.alerts.queue")}</a></p>` : nothing}
        ${alert.acknowledged ? this.#acknowledged(alert) : this.#form(alert)}
      </li>`;
  }

  /** @param {any} alert */
  #acknowledged({ by, note }) {
    return html`<p class="quiet"><span aria-hidden="true">✓ </span>${text("live.alert.acknowledged", { name: isolated(by ?? "") })}${note ? html`: <q><bdi>${note}</bdi></q>` : nothing}</p>`;
  }

  /** @param {any} alert */
  #form(alert) {
    if (!MAY_ACKNOWLEDGE.has(this.#context.client.identity?.role ?? "")) return nothing;
    const id = alert.alert_id;
    const asked = this.#asked.get(id);
    const isBusy = asked?.state === "asked";
    return html`
      <form class="ack" @submit=${(/** @type {Event} */ event) => (event.preventDefault(), isBusy || this.#acknowledge(id))}>
        <label class="grows">${text("supervisor.alerts.note")}<input name="note" maxlength=${MAX_NOTE} autocomplete="off" .value=${this.#notes.get(id) ?? ""} @input=${(/** @type {any} */ event) => void this.#notes.set(id, event.target.value)}></label>
        <button class="main" data-action="acknowledge" aria-disabled=${isBusy ? "true" : nothing}>${text("live.alert.acknowledge")}<span class="unseen">: ${titleOf(alert)}</span></button>
      </form>
      ${asked ? html`<p class=${asked.state === "failed" ? "problem" : "quiet"} role="status">${asked.words}</p>` : nothing}`;
  }

  /** @param {string} id */
  async #acknowledge(id) {
    const isLive = this.#context.client.status.state === "live";
    this.#asked.set(id, { state: "asked", words: text(isLive ? "action.asked" : "supervisor.alerts.waits") });
    this.#context.draw();
    try {
      await this.#context.client.acknowledgeAlert(id, this.#notes.get(id)?.trim() || undefined);
      this.#asked.delete(id);
    } catch (error) {
      this.#asked.set(id, { state: "failed", words: text("supervisor.alerts.failed", { message: /** @type {Error} */ (error).message }) });
    }
    this.#context.draw();
  }
}
