// The column of the calls: what rings, what is talked in, what has ended and is to be wrapped up, and dialing.

import { onceAFrame } from "../staff/frame.js";
import { isField } from "../staff/keys.js";
import { isDialogOpen } from "../staff/dialog.js";
import { isolated, text } from "../texts.js";
import { html, nothing, render } from "../vendor/lit-html/lit-html.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { activeCard, ringingCard, whoOf, wrapUpCard } from "./call_card.js";
import { addCallKeys } from "./call_keys.js";
import { chooseTarget, nameOf } from "./colleagues.js";
import { Consultations } from "./consultations.js";
import { EarlierCalls } from "./earlier.js";
import { OwnCalls } from "./own_calls.js";
import { WrapUps } from "./wrap_ups.js";

/** How often it looks whether a result has become too late. */
const LATE_MS = 10_000;

/** @typedef {import("./own_calls.js").OwnCall} OwnCall */

/** The commands after which a call is over for the user. */
const ENDS = new Set(["call.hangup", "call.transfer", "call.consult.complete"]);

export class CallColumn {
  /** The calls that were shown when it was drawn last. @type {OwnCall[]} */
  #shown = [];
  /** @type {Set<string>} the calls whose recording was begun from this page */
  #recorded = new Set();
  /** Ends the choosing of a target, by the call that it is for. @type {{id: string, controller: AbortController} | null} */
  #choosing = null;
  #dialed = "";
  #root;
  #calls;
  #ringingChanged;
  #draw;

  /**
   * @param {HTMLElement} root
   * @param {import("./main.js").Context} context
   * @param {import("./state.js").OwnState} own
   * @param {(ringing: OwnCall[]) => void} ringingChanged is called at once when a call begins or ends to ring
   */
  constructor(root, context, own, ringingChanged) {
    const { client, actions } = context;
    this.#root = root;
    this.context = context;
    this.own = own;
    this.#ringingChanged = ringingChanged;
    this.earlier = new EarlierCalls(() => this.#draw());
    this.consultations = new Consultations(actions, client);
    this.wrapUps = new WrapUps(client);
    this.#calls = new OwnCalls(client, { changed: () => this.#rings() });
    this.#draw = onceAFrame(() => this.#render());
    actions.onEnd((entry) => this.#ended(entry));
    context.onActions(() => this.#draw());
    client.watch((store) => [store.calls(), store.agent(client.identity?.user_id ?? "")], () => this.#draw(), { equal: (one, other) => one[0] === other[0] && one[1] === other[1] });
    client.on("status", () => this.#draw());
    client.on("rebuilt", () => this.#draw());
    addCallKeys(this);
    setInterval(() => this.wrapUps.list().length && this.#draw(), LATE_MS);
    this.#draw();
  }

  // ---- What the cards and the shortcuts use ----

  /** The calls of the user. */
  list() {
    return this.#calls.list();
  }

  /** The call that the shortcuts are for: the one that is talked in, else the first that is on hold. @returns {OwnCall | undefined} */
  current() {
    const calls = this.list().filter(({ state }) => state !== "ringing");
    return calls.find(({ state, isInternal }) => state === "talking" && !isInternal) ?? calls[0];
  }

  /** Whether this page has begun to record a call. @param {string} id */
  recording(id) {
    return this.#recorded.has(id);
  }

  /** @param {OwnCall} call */
  consult(call) {
    this.#choose(call, text("desk.consult.title", { who: whoOf(call) }), (target) => {
      this.consultations.begins(call.id, nameOf(target));
      this.context.actions.run("call.consult", { call_id: call.id, destination: target.number }, text("desk.consult.asks", { who: nameOf(target) }));
    });
  }

  /** @param {OwnCall} call */
  transfer(call) {
    this.#choose(call, text("desk.transfer.title", { who: whoOf(call) }), (target) => {
      this.context.actions.run("call.transfer", { call_id: call.id, destination: target.number }, text("desk.transfer.asks", { who: nameOf(target) }));
    });
  }

  /** The other side of a consultation has hung up, and no source says so. @param {string} id */
  forget(id) {
    this.consultations.forget(id);
    this.#draw();
  }

  /** @param {string} id */
  noted = (id) => (/** @type {Event} */ event) => this.wrapUps.draft(id, { note: /** @type {HTMLTextAreaElement} */ (event.target).value });

  /** @param {string} id */
  coded = (id) => (/** @type {Event} */ event) => this.wrapUps.draft(id, { code: /** @type {HTMLInputElement} */ (event.target).value });

  /** @param {string} id */
  said = (id) => (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    this.say(id, /** @type {HTMLButtonElement | null} */ (event.submitter)?.value === "available");
  };

  /** Send the result of a call. What was typed is kept until it is known to be stored. @param {string} id @param {boolean} [thenAvailable] */
  async say(id, thenAvailable = false) {
    const { actions } = this.context;
    const kept = this.wrapUps.of(id);
    if (!kept || actions.isUnderWay("call.disposition", id) || this.wrapUps.isLate(kept)) return;
    if (!kept.code) {
      this.context.announce(text("desk.wrap_up.choose"));
      /** @type {HTMLElement | null} */ (this.#root.querySelector(`[data-call="${CSS.escape(id)}"] fieldset input, [data-code="${CSS.escape(id)}"]`))?.focus();
      return;
    }
    const note = kept.note.trim();
    const fields = { call_id: id, code: kept.code, ...(note ? { note } : {}) };
    const outcome = await actions.run("call.disposition", fields, text("desk.wrap_up.says", { who: whoOf(kept) }));
    if (outcome?.state === "done" && thenAvailable) this.own.set("available");
  }

  /** @param {string} id */
  skip(id) {
    this.wrapUps.remove(id);
    this.#draw();
  }

  /** Move the focus to the first call. */
  focusCall() {
    /** @type {HTMLElement | null} */ (this.#root.querySelector("article.call"))?.focus();
  }

  /** Move the focus to the field for a number. */
  focusDial() {
    /** @type {HTMLElement | null} */ (this.#root.querySelector("[name=number]"))?.focus();
  }

  // ---- What happens ----

  /** @param {OwnCall} call @param {string} title @param {(target: import("./colleagues.js").Target) => void} chosen */
  #choose(call, title, chosen) {
    const controller = new AbortController();
    this.#choosing = { id: call.id, controller };
    chooseTarget(this.context, title, chosen, controller.signal);
  }

  /** @param {import("../staff/actions.js").Entry} entry */
  #ended({ name, fields, state }) {
    if (state !== "done") return;
    const id = String(fields.call_id);
    if (name === "call.disposition") this.wrapUps.remove(id, true);
    if (name === "call.record" && fields.action === "start") this.#recorded.add(id);
    if (name === "call.record" && fields.action === "stop") this.#recorded.delete(id);
    if (name === "call.originate") this.#dialed = "";
    this.#draw();
  }

  /** At once, not with the next frame: a hidden tab has none. */
  #rings() {
    this.#ringingChanged(this.list().filter(({ state }) => state === "ringing"));
    this.#draw();
  }

  // ---- What is shown ----

  #render() {
    const calls = this.list();
    const { client, actions } = this.context;
    this.wrapUps.follow(calls);
    this.wrapUps.expire();
    const present = new Set(calls.map(({ id }) => id));
    if (client.status.state === "live") {
      this.consultations.keep(present);
      for (const id of this.#recorded) if (!present.has(id)) this.#recorded.delete(id);
      if (this.#choosing && !present.has(this.#choosing.id)) this.#choosing.controller.abort();
    }
    const ended = actions.offered?.names.includes("call.disposition") ? this.wrapUps.list() : [];
    const ringing = calls.filter(({ state }) => state === "ringing");
    const others = calls.filter(({ state }) => state !== "ringing");
    this.#root.dataset.ringing = String(ringing.length);
    const focused = focusIn(this.#root);
    render(
      html`
        <h2 tabindex="-1">${text("desk.calls")}</h2>
        ${repeat(ringing, ({ id }) => id, (call) => ringingCard(this, call))}
        ${repeat(others, ({ id }) => id, (call) => activeCard(this, call))}
        ${repeat(ended, ({ id }) => id, (call) => wrapUpCard(this, call))}
        ${calls.length || ended.length ? nothing : html`<p class="quiet" data-value="idle">${this.#idle()}</p>`}
        ${this.#dial()}`,
      this.#root,
    );
    focused?.();
    this.#tellOver(present);
    this.#attend(ringing);
    this.#shown = calls;
  }

  #idle() {
    const { client } = this.context;
    const own = new Set(this.own.agent?.queues ?? []);
    const waiting = client.store.queues().filter(({ name }) => own.has(name)).reduce((sum, queue) => sum + queue.waiting, 0);
    return own.size ? text("desk.call.none.waiting", { n: waiting }) : text("desk.call.none");
  }

  #dial() {
    const { actions, keys } = this.context;
    if (!actions.can("call.originate")) return nothing;
    const busy = actions.isUnderWay("call.originate");
    return html`
      <form class="dial" @submit=${this.#originate}>
        <label>${text("desk.dial")}<input name="number" type="tel" autocomplete="off" maxlength="40" .value=${this.#dialed} @input=${(/** @type {Event} */ event) => (this.#dialed = /** @type {HTMLInputElement} */ (event.target).value)}></label>
        <button type="submit" data-command="call.originate" aria-disabled=${busy ? "true" : nothing} aria-keyshortcuts=${keys.hint("dial")}>${text("button.call.originate")}${keys.mark("dial")}</button>
        <button type="button" data-action="choose" aria-haspopup="dialog" aria-disabled=${busy ? "true" : nothing} @click=${this.#chooseDialed}>${text("desk.dial.choose")}</button>
      </form>`;
  }

  /** @param {SubmitEvent} event */
  #originate = (event) => {
    event.preventDefault();
    const { actions } = this.context;
    const destination = this.#dialed.replace(/[\s()/.-]/g, "");
    if (!destination || actions.isUnderWay("call.originate")) return;
    actions.run("call.originate", { destination }, text("desk.dial.calls", { who: isolated(destination) }));
  };

  #chooseDialed = () => {
    const { actions } = this.context;
    if (actions.isUnderWay("call.originate")) return;
    chooseTarget(this.context, text("desk.dial.choose.title"), (target) => {
      actions.run("call.originate", { destination: target.number }, text("desk.dial.calls", { who: nameOf(target) }));
    });
  };

  /** Tell a screen reader which calls are over, unless the user has ended them. @param {Set<string>} present */
  #tellOver(present) {
    for (const call of this.#shown) {
      const isAsked = this.context.actions.ofSubject(call.id).some(({ name, state }) => ENDS.has(name) && state !== "failed" && state !== "refused");
      if (!present.has(call.id) && !isAsked) this.context.announce(text(call.state === "ringing" ? "desk.call.gone" : "desk.call.over", { who: whoOf(call) }));
    }
  }

  /** Have a call that begins to ring noticed: the focus moves to it unless the user is typing. @param {OwnCall[]} ringing */
  #attend(ringing) {
    const rang = new Set(this.#shown.filter(({ state }) => state === "ringing").map(({ id }) => id));
    const fresh = ringing.find(({ id }) => !rang.has(id));
    if (!fresh) return;
    this.context.announce(text("desk.call.rings", { who: whoOf(fresh), queue: fresh.queue ? isolated(fresh.queue) : "" }));
    const { activeElement } = document;
    if (document.hidden || isDialogOpen() || isField(activeElement)) return;
    /** @type {HTMLElement | null} */ (this.#root.querySelector(`[data-call="${CSS.escape(fresh.id)}"]`))?.focus();
  }
}

/**
 * Return a function that gives the focus back, if its place is gone when it is called: a call that is answered or ends becomes
 * another card. The note that is being typed goes on there.
 * @param {HTMLElement} root
 * @returns {(() => void) | null}
 */
function focusIn(root) {
  const focused = /** @type {HTMLElement | null} */ (document.activeElement);
  const card = /** @type {HTMLElement | null} */ (focused?.closest("article.call") ?? null);
  if (!focused || !card || !root.contains(card)) return null;
  const { call = "" } = card.dataset;
  const { selectionStart = null, selectionEnd = null } = /** @type {Partial<HTMLTextAreaElement>} */ (focused);
  return () => {
    if (focused.isConnected) return;
    const same = root.querySelector(`[data-call="${CSS.escape(call)}"]`);
    const field = focused.dataset.note === undefined ? null : /** @type {HTMLTextAreaElement | null} */ (same?.querySelector("[data-note]"));
    const next = field ?? same ?? root.querySelector("article.call") ?? root.querySelector("h2");
    /** @type {HTMLElement | null} */ (next)?.focus();
    field?.setSelectionRange(selectionStart, selectionEnd);
  };
}
