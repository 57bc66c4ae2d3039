// Signing in: with a name and a password, with a code that is shown at a screen, or at the demo with a click.

import { about, ask, session, SessionRefused, signOut, wait } from "../session.js";
import { hasText, isolated, text } from "../texts.js";
import { html, nothing, render } from "../vendor/lit-html/lit-html.js";

const PAGES = ["/desk", "/supervisor", "/wallboard", "/live"];
/** Where the browser may be sent after signing in. */
const NEXT = new Set(PAGES);
/** The pages of a role; the first one is where it begins. @type {{[role: string]: string[]}} */
const PAGES_OF = {
  agent: ["/desk", "/wallboard", "/live"],
  supervisor: ["/supervisor", "/desk", "/wallboard", "/live"],
  admin: ["/supervisor", "/desk", "/wallboard", "/live"],
  wallboard: ["/wallboard", "/live"],
};
const ROLES = ["supervisor", "agent", "wallboard"];
const BUSY_SECONDS = 5;

const root = /** @type {HTMLElement} */ (document.getElementById("login"));

/** @type {{view: string, demo: string[], user: any, problem: string, busy: boolean, code: string}} */
const state = { view: "loading", demo: [], user: null, problem: "", busy: false, code: "" };
/** Ends the asking for the approval of a code. @type {AbortController | null} */
let pairing = null;

/** @param {Partial<typeof state>} changes */
function show(changes) {
  const before = state.view;
  Object.assign(state, changes);
  document.title = text(state.view === "signed_in" ? "login.signed_in.title" : "login.title");
  root.dataset.view = state.view;
  render(html`${brand} ${VIEWS[state.view]()} ${state.problem ? html`<p class="problem" role="alert">${state.problem}</p>` : nothing}`, root);
  if (before === state.view) return;
  // What had the focus is no longer there.
  const focused = root.querySelector("input") ?? (before === "loading" ? null : root.querySelector("h1"));
  focused?.focus();
}

// ---- What is shown ----

const role = (/** @type {string} */ name) => (hasText(`role.${name}`) ? text(`role.${name}`) : name);

const brand = html`<div class="brand"><img src=${new URL("../icon.svg", import.meta.url).href} alt="">${text("page.product")}</div>`;

const title = (/** @type {string} */ id) => html`<h1 tabindex="-1">${text(id)}</h1>`;

const demoChoices = () => html`
  ${title("login.demo.title")}
  <p class="quiet">${text("login.demo.hint")} <a href="/demo">${text("login.demo.try")}</a></p>
  <div class="choices">
    ${ROLES.filter((name) => state.demo.includes(name)).map((name) => html`<button class="main" data-role=${name} ?disabled=${state.busy} @click=${() => signInAtDemo(name)}>${role(name)}</button>`)}
  </div>
  <hr>
  <button data-action="name" @click=${() => show({ view: "form", problem: "" })}>${text("login.with_name")}</button>`;

const form = () => html`
  ${title("login.title")}
  <form @submit=${signIn}>
    <label>${text("login.name")}<input name="name" autocomplete="username" autocapitalize="none" spellcheck="false" required></label>
    <label>${text("login.password")}<input name="password" type="password" autocomplete="current-password" required></label>
    <button class="main" ?disabled=${state.busy}>${text(state.busy ? "login.busy" : "login.submit")}</button>
  </form>
  <hr>
  <button data-action="code" @click=${showCode}>${text("login.with_code")}</button>
  ${state.demo.length ? html`<button data-action="demo" @click=${() => show({ view: "demo", problem: "" })}>${text("login.with_click")}</button>` : nothing}`;

const code = () => html`
  ${title("login.code.title")}
  <div role="status">${state.code ? html`<p class="code">${state.code}</p>` : text("login.loading")}</div>
  ${state.code ? approving() : nothing}
  <button data-action="name" @click=${leaveCode}>${text("login.with_name")}</button>`;

/** The command of the operator; without a configuration it is for the demo. */
const pairCommand = () => [
  ...["callcenter-ws", "pair", state.code, "--tenant", text("login.code.tenant")],
  ...(state.demo.length ? [] : ["--config", text("login.code.config")]),
];

const approving = () => html`
  <p>${text("login.code.hint")}</p>
  <p class="command"><code>${pairCommand().map((word) => html`<span>${word}</span> `)}</code></p>
  <p class="quiet">${text("login.code.then")}</p>`;

const signedIn = () => html`
  ${title("login.signed_in.title")}
  <p>${text("login.signed_in.as", { name: isolated(state.user.name || state.user.user_id), role: role(state.user.role), tenant: isolated(state.user.tenant_id) })}</p>
  <nav class="choices">
    ${pagesOf(state.user).map((path, at) => html`<a class=${at ? "button" : "button main"} href=${path}>${text(`page.${path.slice(1)}`)}</a>`)}
  </nav>
  <hr>
  ${state.demo.length ? html`<button data-action="demo" @click=${() => show({ view: "demo", problem: "" })}>${text("login.demo.other")}</button>` : nothing}
  <button data-action="sign-out" ?disabled=${state.busy} @click=${end}>${text("login.sign_out")}</button>`;

/** @type {{[view: string]: () => unknown}} */
const VIEWS = {
  loading: () => html`<p role="status">${text("login.loading")}</p>`,
  demo: demoChoices,
  form,
  code,
  signed_in: signedIn,
  needs_https: () => html`${title("login.title")}<p role="alert">${text("login.needs_https")}</p>`,
  off: () => html`${title("login.title")}<p role="alert">${text("login.off")}</p>`,
};

/** @param {unknown} error @returns {string} */
function problemOf(error) {
  if (!(error instanceof SessionRefused)) return text("login.error.unreachable");
  const id = `login.error.${error.code}`;
  if (!hasText(id)) return text("login.error.other", { message: error.message });
  return text(id, { n: Math.max(1, Math.ceil(error.retryAfter)) });
}

/** Show what does not pass by itself; return whether it was that. @param {unknown} error */
function isFinal(error) {
  const views = /** @type {{[code: string]: string}} */ ({ needs_https: "needs_https", signing_in_off: "off" });
  const view = error instanceof SessionRefused ? views[error.code] : undefined;
  if (view) show({ view, problem: "" });
  return view !== undefined;
}

// ---- What is done ----

/** Return where to go after signing in; null if the address names no page of this gateway. */
function next() {
  const wanted = new URLSearchParams(location.search).get("next");
  if (wanted === null) return null;
  let url;
  try {
    url = new URL(wanted, location.origin);
  } catch {
    return null;
  }
  return url.origin === location.origin && NEXT.has(url.pathname) ? url.pathname + url.search + url.hash : null;
}

/** @param {{role: string}} user */
const pagesOf = ({ role }) => PAGES_OF[role] ?? ["/live"];

/** @param {{role: string}} user */
function goOn(user) {
  location.replace(next() ?? pagesOf(user)[0]);
}

const password = () => /** @type {HTMLInputElement | null} */ (root.querySelector("[name=password]"));

/** @param {SubmitEvent} event */
async function signIn(event) {
  event.preventDefault();
  const fields = new FormData(/** @type {HTMLFormElement} */ (event.target));
  const body = { name: fields.get("name"), password: fields.get("password") };
  show({ busy: true, problem: "" });
  for (;;) {
    try {
      return goOn(await ask("POST", "/session/login", body));
    } catch (error) {
      const waits = error instanceof SessionRefused && error.code === "try_later";
      if (!waits) {
        show({ busy: false });
        if (!isFinal(error)) show({ problem: problemOf(error) });
        if (error instanceof SessionRefused && error.code === "wrong_password") password()?.select();
        return;
      }
      // Many people are signing in: the gateway checks their passwords in turn.
      show({ problem: problemOf(error) });
      await wait(error.retryAfter || BUSY_SECONDS);
    }
  }
}

/** @param {string} name */
async function signInAtDemo(name) {
  show({ busy: true, problem: "" });
  try {
    goOn(await ask("POST", "/session/demo", { role: name }));
  } catch (error) {
    show({ busy: false });
    if (!isFinal(error)) show({ problem: problemOf(error) });
  }
}

async function end() {
  show({ busy: true, problem: "" });
  try {
    await signOut();
  } catch (error) {
    show({ busy: false, problem: problemOf(error) });
  }
}

function leaveCode() {
  pairing?.abort();
  show({ view: "form", problem: "", code: "" });
}

async function showCode() {
  pairing?.abort();
  pairing = new AbortController();
  const { signal } = pairing;
  show({ view: "code", problem: "", code: "" });
  while (!signal.aborted) {
    try {
      const opened = await ask("POST", "/session/pairing", {}, signal);
      show({ code: opened.code, problem: "" });
      await approval(opened, signal);
    } catch (error) {
      if (signal.aborted || isFinal(error)) return;
      // A code that has expired is replaced without a word.
      if (error instanceof SessionRefused && error.code === "unknown_code") continue;
      show({ code: "", problem: problemOf(error) });
      await wait((error instanceof SessionRefused && error.retryAfter) || BUSY_SECONDS, signal).catch(() => undefined);
    }
  }
}

/** Ask until a code is approved, and go on then. @param {{poll: string, poll_ms: number}} opened @param {AbortSignal} signal */
async function approval({ poll, poll_ms: interval }, signal) {
  for (;;) {
    await wait(interval / 1000, signal);
    let user;
    try {
      user = await ask("POST", "/session/pairing/claim", { poll }, signal);
    } catch (error) {
      if (signal.aborted || (error instanceof SessionRefused && error.status < 429)) throw error;
      // The link is lost, or the gateway is being started again.
      show({ problem: problemOf(error) });
      continue;
    }
    if (user.state !== "waiting") return goOn(user);
    if (state.problem) show({ problem: "" });
  }
}

async function begin() {
  show({ view: "loading" });
  for (;;) {
    try {
      state.demo = (await about()).demo;
      const user = await session();
      // A user who opens this page without being sent to it may want to sign out.
      return next() ? goOn(user) : show({ view: "signed_in", user, problem: "" });
    } catch (error) {
      if (error instanceof SessionRefused && error.code === "signed_out") break;
      if (isFinal(error)) return;
      show({ problem: problemOf(error) });
      await wait(BUSY_SECONDS);
    }
  }
  if (state.demo.length) show({ view: "demo", problem: "" });
  // A screen on a wall has no keyboard.
  else if (next()?.startsWith("/wallboard")) showCode();
  else show({ view: "form", problem: "" });
}

begin();
