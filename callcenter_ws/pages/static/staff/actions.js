// What a user has had done: each command is shown from when it was asked for until it is known what became of it.

import { commandsOf } from "../commands.js";
import { hasText, isolated, spoken, text } from "../texts.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { announce } from "./announcer.js";

/** How long it is shown that something was done. */
const DONE_MS = 4000;
const MAX_ENTRIES = 20;
/** What the gateway carries out itself. */
const OWN = new Set(["call.disposition", "chat.accept", "chat.transfer", "chat.close"]);
/** Of these a page does not know whether they were carried out. */
const UNKNOWN = new Set(["outcome_unknown", "not_known"]);
/** The fields that name what a command is about. */
const SUBJECTS = ["call_id", "session_id", "user_id", "queue_name"];

/** @typedef {import("../commands.js").Outcome} Outcome */
/**
 * `state`: "asked" until the gateway has answered, "under_way" until the outcome, "unknown": done or not, the page cannot know.
 * `words` says why it failed, in plain words.
 * @typedef {{key: string, name: string, fields: Record<string, unknown>, label: string, subject: string, at: number,
 *   state: "asked" | "under_way" | "done" | "failed" | "refused" | "unknown", code: string | null, words: string}} Entry
 */

/** Return what a command is about: the id of a call, a chat, a user or a queue. @param {Record<string, unknown>} fields */
export function subjectOf(fields) {
  const name = SUBJECTS.find((one) => fields[one] !== undefined);
  return name === undefined ? "" : String(fields[name]);
}

/**
 * Return why a command failed or was refused, in plain words.
 * @param {string | null} code
 * @param {string | null} message of the source or the gateway
 */
export function reasonOf(code, message) {
  const id = `outcome.${code}`;
  const given = message ? isolated(message) : "";
  return hasText(id) ? text(id, { message: given }) : given || String(code ?? "");
}

export class Actions {
  /** @type {Entry[]} */
  #entries = [];
  #counter = 0;
  #client;
  #commands;
  #changed;
  /** @type {((entry: Entry, outcome: Outcome | null) => void)[]} */
  #ended = [];

  /**
   * @param {import("../client.js").Client} client
   * @param {{changed: () => void}} options `changed` is called when an entry, or what may be done, has changed
   */
  constructor(client, { changed }) {
    this.#client = client;
    this.#commands = commandsOf(client);
    this.#changed = changed;
    for (const { name, fields, outcome } of this.#commands.pending()) {
      const label = text("action.before", { what: labelOf(name) });
      const entry = this.#add(name, fields, label, subjectOf(fields));
      this.#replace({ ...entry, state: "under_way" });
      this.#follow(entry, outcome);
    }
    client.watch((store) => JSON.stringify(store.sources().map((source) => [source.up, /** @type {any} */ (source).commands])), changed);
  }

  /** What is shown, oldest first. @returns {readonly Entry[]} */
  get entries() {
    return this.#entries;
  }

  /** What the gateway offers to this user; null before it is known, and if that is nothing. */
  get offered() {
    return this.#commands.offered;
  }

  /** Whether there is anything at present that would carry a command out. @param {string} name */
  can(name) {
    if (!this.offered?.names.includes(name)) return false;
    return OWN.has(name) || this.#client.store.sources().some((source) => source.up && takes(source, name));
  }

  /**
   * Have something done. Problems become entries: the promise never rejects, and is null if it was refused.
   * @param {string} name
   * @param {Record<string, unknown>} fields
   * @param {string} [label] what is done, for the user
   * @param {{subject?: string}} [options]
   * @returns {Promise<Outcome | null>}
   */
  run(name, fields, label = labelOf(name), { subject = subjectOf(fields) } = {}) {
    const entry = this.#add(name, fields, label, subject);
    this.#changed();
    const onAccepted = () => {
      this.#replace({ ...entry, state: "under_way" });
      this.#changed();
    };
    return this.#follow(entry, this.#commands.send(name, fields, { onAccepted }));
  }

  /** Call back with each command that has ended, those of before the page was loaded among them. @param {(entry: Entry, outcome: Outcome | null) => void} callback */
  onEnd(callback) {
    this.#ended.push(callback);
  }

  /** Return what is shown of a call, chat, user or queue, oldest first. @param {string} subject */
  ofSubject(subject) {
    return this.#entries.filter((entry) => entry.subject === subject);
  }

  /** Whether a command is under way. @param {string} name @param {string} [subject] */
  isUnderWay(name, subject = "") {
    return this.#entries.some((one) => one.name === name && one.subject === subject && (one.state === "asked" || one.state === "under_way"));
  }

  /** Show an entry no longer. @param {string} key */
  dismiss(key) {
    this.#entries = this.#entries.filter((entry) => entry.key !== key);
    this.#changed();
  }

  /** Show no problem any more, only what is under way. */
  dismissAll() {
    this.#entries = this.#entries.filter(({ state }) => state === "asked" || state === "under_way");
    this.#changed();
  }

  /**
   * Return a button for a command; nothing if there is nothing that would carry it out. While the command is under way the
   * button stays, and does nothing.
   * @param {string} name
   * @param {Record<string, unknown>} fields
   * @param {{label?: string, done?: string, className?: string, mark?: unknown, keys?: string, isPresent?: boolean, run?: () => void}} [options]
   *   `label` of the button; `done`: what the entry says; `isPresent`: it is so already; `run` replaces what a click
   *   does
   */
  button(name, fields, { label = text(`button.${name}`), done = labelOf(name), className = "", mark = nothing, keys = "", isPresent = false, run } = {}) {
    if (!this.can(name)) return nothing;
    const isBusy = this.isUnderWay(name, subjectOf(fields));
    const click = () => {
      if (this.isUnderWay(name, subjectOf(fields))) return;
      if (run) run();
      else this.run(name, fields, done);
    };
    return html`<button class=${className} data-command=${name} aria-disabled=${isBusy ? "true" : nothing} aria-keyshortcuts=${keys || nothing} aria-current=${isPresent ? "true" : nothing} @click=${click}>${label}${mark}</button>`;
  }

  /** Return the list of the entries. */
  view() {
    const lines = repeat(this.#entries, ({ key }) => key, (entry) => this.#line(entry));
    return html`
      <section class="actions" aria-label=${text("staff.actions")}>
        <ul>${lines}</ul>
      </section>`;
  }

  /** @param {Entry} entry */
  #line({ key, label, state, words }) {
    const isOver = state !== "asked" && state !== "under_way";
    return html`
      <li data-state=${state}>
        <span class="mark" aria-hidden="true"></span>
        <span><strong>${label}</strong> <span class="state">${text(`action.${state}`)}</span>${words ? html`<span class="why">${words}</span>` : nothing}</span>
        ${isOver ? html`<button class="small" data-action="dismiss" aria-label=${spoken(text("staff.dismiss.label", { what: label }))} @click=${() => this.dismiss(key)}>${text("staff.dismiss")}</button>` : nothing}
      </li>`;
  }

  /** @param {string} name @param {Record<string, unknown>} fields @param {string} label @param {string} subject @returns {Entry} */
  #add(name, fields, label, subject) {
    this.#counter += 1;
    /** @type {Entry} */
    const entry = { key: String(this.#counter), name, fields, label, subject, at: this.#client.now(), state: "asked", code: null, words: "" };
    // The oldest that is over makes room; what is under way stays.
    const kept = this.#entries.length < MAX_ENTRIES ? undefined : this.#entries.find(({ state }) => state !== "asked" && state !== "under_way");
    this.#entries = [...this.#entries.filter((one) => one !== kept), entry];
    return entry;
  }

  /** @param {Entry} entry @param {Promise<Outcome>} outcome @returns {Promise<Outcome | null>} */
  async #follow(entry, outcome) {
    let ended;
    try {
      ended = await outcome;
    } catch (error) {
      const { code = "failed", message } = /** @type {import("../commands.js").CommandRefused} */ (error);
      this.#end(entry, UNKNOWN.has(code) ? "unknown" : "refused", null, reasonOf(code, message), code);
      return null;
    }
    const state = ended.state === "done" ? "done" : UNKNOWN.has(ended.code ?? "") ? "unknown" : "failed";
    this.#end(entry, state, ended, state === "done" ? "" : reasonOf(ended.code, ended.message));
    return ended;
  }

  /** @param {Entry} entry @param {Entry["state"]} state @param {Outcome | null} outcome @param {string} words @param {string | null} [code] */
  #end(entry, state, outcome, words, code = outcome?.code ?? null) {
    const ended = { ...entry, state, code, words };
    announce([entry.label, text(`action.${state}`), words].filter(Boolean).join(": "));
    if (state === "done") setTimeout(() => this.dismiss(entry.key), DONE_MS);
    this.#replace(ended);
    for (const callback of this.#ended) callback(ended, outcome);
    this.#changed();
  }

  /** @param {Entry} changed */
  #replace(changed) {
    this.#entries = this.#entries.map((one) => (one.key === changed.key ? changed : one));
  }
}

/** @param {string} name */
const labelOf = (name) => (hasText(`action.name.${name}`) ? text(`action.name.${name}`) : name);

/** A source of before it said what it carries out may carry out all. @param {any} source @param {string} name */
const takes = ({ commands }, name) => commands == null || commands.includes(name);
