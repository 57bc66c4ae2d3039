// The header of the pages for staff: where to go, the state of the connection, the user, the theme, signing out.

import { embedder } from "../embedded.js";
import { signOut } from "../session.js";
import { hasText, isolated, text } from "../texts.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { announce } from "./announcer.js";
import { clockTime, until } from "./clock.js";
import { machine } from "./memory.js";

const THEMES = ["auto", "dark", "light"];
/** @type {{[page: string]: string[] | null}} the roles that use a page; null: all */
const PAGES = { desk: ["agent", "supervisor", "admin"], supervisor: ["supervisor", "admin"], wallboard: null, live: null };
const OLD = new Set(["stale", "offline", "stopped"]);
/** What is between them passes soon. */
const TOLD = new Set([...OLD, "live"]);
const ICON = new URL("../icon.svg", import.meta.url).href;

/** Apply the theme that this machine remembers. Called when a page is loaded. */
export function applyTheme() {
  const theme = machine.get("theme", "auto");
  document.documentElement.dataset.theme = THEMES.includes(theme) ? theme : "auto";
}

/** Whether what a page shows may be old. @param {import("../client.js").Client} client */
export const isOld = (client) => OLD.has(client.status.state);

export class Head {
  #client;
  #page;
  #changed;
  #beforeSignOut;
  #problem = "";
  /** The state of the connection that was announced last. */
  #announced = "";

  /**
   * @param {import("../client.js").Client} client
   * @param {{page: string, changed: () => void, beforeSignOut?: () => Promise<boolean>}} options `page`: the name in its path;
   *   `beforeSignOut` is asked before the session is ended, which does not happen if it returns false
   */
  constructor(client, { page, changed, beforeSignOut = async () => true }) {
    this.#client = client;
    this.#page = page;
    this.#changed = changed;
    this.#beforeSignOut = beforeSignOut;
    client.on("status", () => {
      this.#announce();
      changed();
    });
  }

  /** Return the header. @param {unknown} [more] what the page has in it, before the user */
  view(more = nothing) {
    const { identity } = this.#client;
    return html`
      <header class="head">
        <p class="brand"><img src=${ICON} alt="">${text("page.product")}</p>
        <nav aria-label=${text("staff.pages")}>${this.#pages(identity?.role ?? "")}</nav>
        ${more}
        ${this.#connection()}
        ${identity ? html`<p class="user"><bdi>${identity.name || identity.user_id}</bdi> <span class="quiet">${roleName(identity.role)}</span></p>` : nothing}
        <label class="theme"><span class="unseen">${text("staff.theme")}</span>
          <select data-setting="theme" @change=${this.#theme}>${THEMES.map((one) => html`<option value=${one} ?selected=${document.documentElement.dataset.theme === one}>${text(`staff.theme.${one}`)}</option>`)}</select>
        </label>
        ${embedder() ? nothing : html`<button data-action="sign-out" @click=${this.#signOut}>${text("login.sign_out")}</button>`}
        ${this.#problem ? html`<p class="problem" role="alert">${this.#problem}</p>` : nothing}
      </header>`;
  }

  /** @param {string} role */
  #pages(role) {
    const names = Object.keys(PAGES).filter((name) => name === this.#page || PAGES[name] === null || PAGES[name]?.includes(role));
    return names.map((name) => html`<a href=${`/${name}`} aria-current=${name === this.#page ? "page" : nothing}>${text(`page.${name}`)}</a>`);
  }

  /** What the texts of the state of the connection name. */
  #values() {
    const { as_of, offline_since, reason } = this.#client.status;
    return { since: clockTime(offline_since ?? as_of ?? NaN), reason: reason?.text ? isolated(reason.text) : "" };
  }

  /** Tell a screen reader that the connection is lost, or is there again. */
  #announce() {
    const { state } = this.#client.status;
    if (state === this.#announced || !TOLD.has(state)) return;
    this.#announced = state;
    announce(text(`link.announced.${state}`, this.#values()));
  }

  #connection() {
    const { state, retry_at } = this.#client.status;
    const old = OLD.has(state);
    const values = this.#values();
    return html`
      <div class="link" data-state=${state}>
        <p class="mark"><span aria-hidden="true">${text(`link.${state}`, values)}${state === "offline" && retry_at !== null ? html` <span class="retry">· ${text("link.retry")} ${until(retry_at)}</span>` : nothing}</span>
        <span class="unseen">${text(`link.announced.${state}`, values)}</span></p>
        ${state === "stopped"
          ? html`<button class="small" data-action="again" @click=${() => location.reload()}>${text("live.again")}</button>`
          : old
            ? html`<button class="small" data-action="try" @click=${() => this.#client.probe()}>${text("link.try")}</button>`
            : nothing}
      </div>`;
  }

  /** @param {Event} event */
  #theme = (event) => {
    machine.set("theme", /** @type {HTMLSelectElement} */ (event.target).value);
    applyTheme();
  };

  #signOut = async () => {
    try {
      if (await this.#beforeSignOut()) await signOut(this.#client);
    } catch (error) {
      this.#problem = text("login.error.other", { message: /** @type {Error} */ (error).message });
      this.#changed();
    }
  };
}

/** @param {string} role */
export const roleName = (role) => (hasText(`role.${role}`) ? text(`role.${role}`) : role);
