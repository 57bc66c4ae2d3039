// The page /supervisor: its sections, of which one is shown, and what they share.
import { openClient, read } from "../session.js";
import { nextTask } from "../later.js";
import { text } from "../texts.js";
import { html, nothing, render } from "../vendor/lit-html/lit-html.js";
import { EventStream, time } from "../live/stream.js";
import { Actions } from "../staff/actions.js";
import { startAnnouncer } from "../staff/announcer.js";
import { clockTime, startClock } from "../staff/clock.js";
import { keepFocus } from "../staff/focus.js";
import { onceAFrame } from "../staff/frame.js";
import { applyTheme, Head } from "../staff/head.js";
import { Keys } from "../staff/keys.js";
import { machine } from "../staff/memory.js";
import "../staff/texts.js";
import { described, followBoard } from "../wallboard/boards.js";
import { count, since } from "../wallboard/format.js";
import { followUpdates } from "../wallboard/update.js";
import { ageOf, clockOf } from "./age.js";
import { AgentsSection } from "./agents.js";
import { AlertsSection } from "./alerts.js";
import { ChatsSection } from "./chats.js";
import { Limits } from "./limits.js";
import { notices, tellNotices } from "./notices.js";
import { QueuesSection } from "./queues.js";
import { hrefOf, routeOf, SECTIONS } from "./route.js";
import { SearchSection } from "./search.js";
import { SourcesSection } from "./sources.js";
import { openHangupDialog } from "./state_dialog.js";
import "./texts.js";
import { TodaySection } from "./today.js";

/**
 * What the sections share. `draw` before the next frame, `soon` at most some times a second; `shownNow` stands still while
 * the line is cut.
 * @typedef {{client: import("../client.js").Client, actions: Actions, limits: Limits, draw: () => void, soon: () => void,
 *   shownNow: () => number, isOld: () => boolean, confirmHangup: (call: any) => void}} Context
 */
/** @typedef {{template: (item: string | null) => unknown, badge?: () => number, open?: (fragment: string) => void, focusFilter?: () => void,
 *   drawn?: (item: string | null) => void}} Section */

/** Changes of the state are drawn at most so often. */
const DRAW_MS = 250;
/** How often what is at the other sections is counted. */
const BADGE_MS = 1000;
/** A dead line is noticed after ten seconds. */
const HEARTBEAT = { idleMs: 5000, answerMs: 5000 };
/** Sections whose badge warns; those of the others tell of a breach. */
const WARNING = new Set(["agents", "chats"]);
const ROLES = new Set(["supervisor", "admin"]);

applyTheme();
startAnnouncer();
keepFocus();
const root = /** @type {HTMLElement} */ (document.getElementById("supervisor"));

class Page {
  #route = routeOf(location.hash);
  /** @type {{[name: string]: number}} */
  #badges = {};
  #countedAt = -Infinity;
  #drawnAt = -Infinity;
  /** @type {any} */
  #timer = null;
  #client = openClient({ heartbeat: HEARTBEAT });
  #draw = onceAFrame(() => this.#render());
  #keys = new Keys();
  #context;
  #head;
  #stream;
  /** @type {{[name: string]: Section}} */
  #sections;

  constructor() {
    const client = this.#client;
    /** @type {Context} */
    const context = (this.#context = {
      client,
      actions: new Actions(client, { changed: this.#draw }),
      limits: new Limits(machine),
      draw: this.#draw,
      soon: () => this.#soon(),
      shownNow: () => clockOf(client.status, client.now()),
      isOld: () => ageOf(client.status, client.now()) === "old",
      confirmHangup: (/** @type {any} */ call) => void openHangupDialog(context, call),
    });
    this.#head = new Head(client, { page: "supervisor", changed: this.#draw });
    this.#stream = new EventStream(client, () => this.#route.section === "live" && this.#draw());
    const queues = new QueuesSection(context);
    this.#sections = {
      queues,
      agents: new AgentsSection(context),
      chats: new ChatsSection(context),
      today: new TodaySection(context),
      alerts: new AlertsSection(context),
      sources: new SourcesSection(context),
      live: { template: () => this.#stream.template() },
      search: new SearchSection(context),
    };
    followBoard(client, () => described(null, read), ({ thresholds }) => (queues.thresholds = { ...queues.thresholds, ...thresholds }));
    followUpdates(client, location.pathname, import.meta.url);
    startClock(context.shownNow);
    tellNotices(client);
    this.#listen();
    this.#addKeys();
    this.#sections[this.#route.section].open?.(location.hash);
    this.#eachSecond();
  }

  #listen() {
    this.#client.on("change", () => this.#soon());
    this.#client.on("rebuilt", () => void this.#rebuilt());
    this.#client.on("status", this.#draw);
    addEventListener("hashchange", () => this.#navigated());
    addEventListener("resize", this.#draw);
    addEventListener("scroll", () => {
      if (this.#route.section === "live") this.#stream.scrolled();
      else if (this.#route.section === "agents") this.#draw();
    }, { passive: true });
  }

  /** The whole state is new: the views of it are made in tasks of their own, before they are drawn. */
  async #rebuilt() {
    const { store } = this.#client;
    for (const view of [() => store.agents(), () => store.calls(), () => store.queues(), () => store.chats()]) {
      await nextTask();
      view();
    }
    this.#countedAt = -Infinity;
    this.#draw();
  }

  #addKeys() {
    const group = "supervisor.keys";
    SECTIONS.forEach((name, at) => this.#keys.add({ id: name, keys: [String(at + 1)], group, label: text(`supervisor.section.${name}`), run: () => (location.hash = hrefOf(name)) }));
    const filter = () => this.#sections[this.#route.section];
    this.#keys.add({ id: "filter", keys: ["/"], group, label: text("supervisor.keys.filter"), run: () => filter().focusFilter?.(), enabled: () => filter().focusFilter !== undefined });
    this.#keys.add({ id: "back", keys: ["Escape"], group, label: text("supervisor.keys.back"), run: () => (location.hash = hrefOf(this.#route.section)), enabled: () => this.#route.item !== null });
  }

  // ---- When to draw ----

  #soon() {
    if (this.#timer !== null) return;
    this.#timer = setTimeout(this.#draw, Math.max(0, this.#drawnAt + DRAW_MS - performance.now()));
  }

  #eachSecond() {
    this.#draw();
    // On the second of the gateway's clock, so that all durations tick together.
    setTimeout(() => this.#eachSecond(), 1000 - (this.#client.now() % 1000));
  }

  #navigated() {
    const before = this.#route;
    this.#route = routeOf(location.hash);
    const { section, item } = this.#route;
    this.#sections[section].open?.(location.hash);
    this.#render();
    if (section !== before.section) {
      scrollTo(0, 0);
      // Narrow windows show some of the sections at a time.
      root.querySelector(".sections [aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" });
    }
    if (item !== null && item !== before.item) this.#focus("detail-title");
    else if (section !== before.section) this.#focus("section-title");
    else if (before.item !== null) this.#focusRow(before.item);
  }

  /** @param {string} id */
  #focus(id) {
    const element = document.getElementById(id);
    element?.focus();
  }

  /** Give the focus back to the row whose details were closed. @param {string} key */
  #focusRow(key) {
    const row = document.querySelector(`tr[data-key="${CSS.escape(key)}"] a`);
    if (row) /** @type {HTMLElement} */ (row).focus();
    else this.#focus("section-title");
  }

  // ---- What is shown ----

  #render() {
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#drawnAt = performance.now();
    const focused = /** @type {HTMLElement | null} */ (document.activeElement);
    render(this.#template(), root);
    this.#sections[this.#route.section].drawn?.(this.#route.item);
    // A row that was moved to its new place loses the focus.
    if (focused && focused !== document.body && document.activeElement === document.body && root.contains(focused)) focused.focus({ preventScroll: true });
  }

  #template() {
    const { identity, status } = this.#client;
    const isForbidden = identity !== null && !ROLES.has(identity.role);
    return html`
      ${this.#head.view()}
      ${isForbidden || status.state === "stopped" ? nothing : this.#nav()}
      <main ?data-old=${this.#context.isOld()}>
        ${isForbidden
          ? html`<p class="empty">${text("supervisor.forbidden")}<a class="button" href="/desk">${text("page.desk")}</a></p>`
          : html`${notices(this.#context)}${this.#section()}`}
      </main>
      ${this.#context.actions.view()}`;
  }

  #nav() {
    if (performance.now() - this.#countedAt > BADGE_MS) {
      this.#countedAt = performance.now();
      for (const name of SECTIONS) this.#badges[name] = this.#sections[name].badge?.() ?? 0;
    }
    return html`
      <nav class="sections" aria-label=${text("supervisor.sections")}><ul>
        ${SECTIONS.map((name) => html`<li><a href=${hrefOf(name)} aria-current=${name === this.#route.section ? "page" : nothing} aria-keyshortcuts=${this.#keys.hint(name)}>${text(`supervisor.section.${name}`)}${this.#badge(name)}</a></li>`)}
      </ul></nav>`;
  }

  /** @param {string} name */
  #badge(name) {
    const n = this.#badges[name];
    if (!n) return nothing;
    const severity = WARNING.has(name) ? 1 : 2;
    return html`<span class="badge" data-severity=${severity}><span class="mark" data-severity=${severity}></span>${count(n)}<span class="unseen"> ${text(`supervisor.badge.${name}`, { n })}</span></span>`;
  }

  #section() {
    const { section, item } = this.#route;
    return html`
      <section id=${section} aria-labelledby="section-title">
        <h1 id="section-title" tabindex="-1">${text(`supervisor.section.${section}`)}</h1>
        ${this.#sections[section].template(item)}
      </section>`;
  }
}

async function open() {
  // The first number and the first time of a page take long: they are tasks of their own.
  await nextTask();
  count(0);
  await nextTask();
  time(0);
  clockTime(0);
  await nextTask();
  since(0, 0, null);
  await nextTask();
  new Page();
}

open();
