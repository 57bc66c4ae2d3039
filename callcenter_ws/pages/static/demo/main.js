// The demo's page: what to try, beside a pretended shop whose page carries the chat widget.
// With a fragment, as /demo#desk, it signs in and goes on to that page.

import "./texts.js";
import { about, ask, session, SessionRefused } from "../session.js";
import { text } from "../texts.js";
import { html, nothing, render } from "../vendor/lit-html/lit-html.js";
import { addressOf, hasTwoNames, VISITS } from "./steps.js";

const AGENT = "Amara Okafor";
const PRODUCTS = ["pendant", "table", "floor", "wall"];

const root = /** @type {HTMLElement} */ (document.getElementById("demo"));

/** A text with an element in it. @param {string} id @param {string} field @param {unknown} element @param {{[name: string]: string}} [values] */
function around(id, field, element, values = {}) {
  const [before, after] = text(id, { ...values, [field]: "\u0000" }).split("\u0000");
  return html`${before}${element}${after}`;
}

/** @param {string} name */
const link = (name) => html`<a href=${addressOf(name, location)} target=${`callcenter-ws-${name}`} rel="noopener">${text(`demo.step.${name}.open`)}</a>`;

/** @param {boolean} isExchange */
const steps = (isExchange) => html`
  <section class="steps" aria-labelledby="steps">
    <p class="brand"><img src=${new URL("../icon.svg", import.meta.url).href} alt="">${text("page.product")}</p>
    <h1 id="steps">${text("demo.steps.title")}</h1>
    <ol>
      <li>${around(isExchange ? "demo.step.desk.exchange" : "demo.step.desk", "open", link("desk"), { agent: AGENT })}</li>
      <li>${text("demo.step.chat")}</li>
      <li>${around(isExchange ? "demo.step.supervisor.exchange" : "demo.step.supervisor", "open", link("supervisor"))}</li>
      <li>${around("demo.step.wallboard", "open", link("wallboard"))}</li>
      <li>${around("demo.step.stop", "command", html`<code>${text("demo.step.stop.command")}</code>`)}</li>
    </ol>
    ${isExchange ? html`<p class="notice">${text("demo.exchange")}</p>` : nothing}
    ${hasTwoNames(location) ? nothing : html`<p class="notice">${text("demo.one_host")}</p>`}
    <p class="quiet">${text("demo.steps.hint")}</p>
  </section>`;

/** @param {string} name */
const product = (name) => html`
  <li>
    <img src=${new URL(`${name}.svg`, import.meta.url).href} alt="" width="160" height="160">
    <h3>${text(`demo.shop.${name}`)}</h3>
    <p>${text(`demo.shop.${name}.about`)}</p>
    <p class="price">€ ${text(`demo.shop.${name}.price`)}</p>
  </li>`;

const shop = html`
  <main class="shop" aria-label=${text("demo.shop.label")}>
    <header><h2>${text("demo.shop.name")}</h2><p>${text("demo.shop.claim")}</p></header>
    <ul>${PRODUCTS.map(product)}</ul>
    <p>${text("demo.shop.about")}</p>
    <footer>${text("demo.shop.note")}</footer>
  </main>`;

/** @param {unknown} error */
const isSignedOut = (error) => error instanceof SessionRefused && error.code === "signed_out";

/** Sign in as the user of a step, unless this browser is signed in so already, and go to its page. @param {string} name */
async function visit(name) {
  const { role, path } = VISITS[name];
  document.title = text("demo.title");
  render(html`<p class="signing-in" role="status">${text("demo.signing_in")}</p>`, root);
  try {
    const user = await session().catch((error) => {
      if (isSignedOut(error)) return null;
      throw error;
    });
    if (user?.role !== role) await ask("POST", "/session/demo", { role });
    location.replace(path);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    const isOff = error instanceof SessionRefused && error.code === "signing_in_off";
    render(html`<div class="signing-in"><p role="alert">${isOff ? text("demo.off") : text("demo.problem", { message })}</p><a href="/demo">${text("demo.back")}</a></div>`, root);
  }
}

async function begin() {
  const name = location.hash.slice(1);
  if (Object.keys(VISITS).includes(name)) return visit(name);
  document.title = `${text("demo.title")} – ${text("page.product")}`;
  /** @param {boolean} isExchange */
  const show = (isExchange) => render(html`<div class="page">${steps(isExchange)}${shop}</div>`, root);
  const known = await about().catch(() => null);
  show(known?.demo_sender === "exchange");
}

begin();
