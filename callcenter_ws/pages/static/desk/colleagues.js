// Whom a call can go to: colleagues who are free, queues and other destinations, or a number that is typed. A list that a filter
// narrows.

import { since } from "../staff/clock.js";
import { openDialog } from "../staff/dialog.js";
import { onceAFrame } from "../staff/frame.js";
import { machine } from "../staff/memory.js";
import { isolated, text } from "../texts.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { reasonName, stateName } from "./state.js";

/** More are found by the filter. */
const MAX_SHOWN = 60;
const NUMBERS = "queue-numbers";
const MAX_NUMBERS = 200;
/** What can be dialed, as the gateway checks it by default. */
const DIALED = /^\+?[0-9*#]{1,32}$/;

/** @typedef {{key: string, kind: "agent" | "queue" | "place" | "number", name: string, number: string, free: boolean, agent?: import("../client.js").Agent, queue?: import("../client.js").Queue}} Target */

/**
 * Return the numbers at which queues are reached, as calls have shown them: the number that a caller has dialed.
 * @param {import("../client.js").Client} client
 * @returns {{[queue: string]: string}}
 */
export function queueNumbers(client) {
  const known = machine.get(NUMBERS, /** @type {{[queue: string]: string}} */ ({}));
  const found = { ...known };
  for (const { id, queue, destination, direction } of client.store.calls()) {
    const wasTransferred = "transferred" in client.store.slots("call", id);
    if (queue !== null && destination !== null && direction !== "outbound" && !wasTransferred && DIALED.test(destination)) found[queue] = destination;
  }
  const kept = Object.fromEntries(Object.entries(found).slice(-MAX_NUMBERS));
  if (JSON.stringify(kept) !== JSON.stringify(known)) machine.set(NUMBERS, kept);
  return kept;
}

/**
 * Return the destinations of the settings, and the queues that have none but whose number is known.
 * @param {import("../client.js").Client} client
 * @returns {Target[]}
 */
function places(client) {
  const queues = client.store.queues();
  const numbers = queueNumbers(client);
  const listed = client.identity?.commands?.destinations ?? [];
  const named = listed.map(({ name, destination, queue_name }, at) => {
    const queue = queue_name === null ? undefined : queues.find((one) => one.name === queue_name);
    return /** @type {Target} */ ({ key: `place:${at}`, kind: queue ? "queue" : "place", name, number: destination, free: !queue || queue.available > 0, queue });
  });
  const learned = queues
    .filter(({ name }) => numbers[name] && !listed.some((one) => one.queue_name === name))
    .map((queue) => /** @type {Target} */ ({ key: `queue:${queue.name}`, kind: "queue", name: queue.name, number: numbers[queue.name], free: queue.available > 0, queue }));
  return [...named, ...learned];
}

/**
 * Return whom a call can go to, those who are free and longest first.
 * @param {import("../client.js").Client} client
 * @param {string} wanted what names and numbers must contain
 * @returns {Target[]}
 */
export function targets(client, wanted) {
  const me = client.identity?.user_id;
  const words = wanted.trim().toLowerCase();
  const has = (/** @type {string[]} */ ...texts) => !words || texts.some((one) => one.toLowerCase().includes(words));
  /** @type {Target[]} */
  const agents = client.store.agents()
    .filter(({ id, extension, state }) => id !== me && extension !== null && state !== "offline")
    .map((agent) => ({ key: `agent:${agent.id}`, kind: "agent", name: agent.name, number: /** @type {string} */ (agent.extension), free: agent.state === "available" && agent.paused_in.length < Math.max(1, agent.queues.length), agent }));
  const order = (/** @type {Target} */ one, /** @type {Target} */ other) =>
    Number(other.free) - Number(one.free) || (one.agent?.since ?? 0) - (other.agent?.since ?? 0) || one.name.localeCompare(other.name);
  const found = [
    ...agents.filter(({ name, number }) => has(name, number)).sort(order),
    ...places(client).filter(({ name, number, queue }) => has(name, number, queue?.name ?? "")),
  ];
  const typed = wanted.replace(/[\s()/.-]/g, "");
  if (DIALED.test(typed) && !found.some(({ number }) => number === typed)) found.unshift({ key: "number", kind: "number", name: "", number: typed, free: true });
  return found;
}

/**
 * Let the user choose whom a call goes to.
 * @param {import("./main.js").Context} context
 * @param {string} title
 * @param {(target: Target) => void} choose is called when the dialog is closed
 * @param {AbortSignal} [signal] closes it: the call has ended
 */
export function chooseTarget({ client }, title, choose, signal) {
  let wanted = "";
  /** The key of the one that Enter takes; empty: none, as where no one is free. */
  let active = "";
  /** Whether the arrow keys have chosen it. */
  let isChosen = false;
  /** Whether another one has not been looked for since the list was opened or filtered. */
  let isFirst = true;
  /** The order of the rows while the mouse is over them: a click does not meet another one than was seen. @type {string[] | null} */
  let held = null;
  /** @type {Target[]} */
  let shown = [];
  const ended = new AbortController();

  /** @param {Target} target */
  const take = (target) => {
    dialog.close();
    choose(target);
  };
  /** @param {KeyboardEvent} event */
  const key = (event) => {
    const at = shown.findIndex((one) => one.key === active);
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      const next = shown[Math.min(shown.length - 1, Math.max(0, at + (event.key === "ArrowDown" ? 1 : -1)))];
      active = next?.key ?? "";
      isChosen = true;
      dialog.update();
      dialog.element.querySelector("[aria-selected=true]")?.scrollIntoView({ block: "nearest" });
    } else if (event.key === "Enter" && shown[at]) take(shown[at]);
    else return;
    event.preventDefault();
  };
  const hold = () => {
    held = shown.map((one) => one.key);
  };
  const release = () => {
    held = null;
    dialog.update();
  };
  const content = () => {
    const found = targets(client, wanted);
    shown = inOrder(found, held).slice(0, MAX_SHOWN);
    if (isFirst) active = shown.find(({ free }) => free)?.key ?? "";
    isFirst = false;
    // Enter takes the one that was seen, or none: not one that has come to its place, nor one that is free no longer.
    if (!shown.some(({ key, free }) => key === active && (free || isChosen))) active = "";
    const at = shown.findIndex((one) => one.key === active);
    return html`
      <label>${text("desk.target.filter")}
        <input autofocus type="text" role="combobox" aria-expanded="true" aria-controls="targets" aria-autocomplete="list" aria-activedescendant=${at < 0 ? nothing : idOf(active)} autocomplete="off" spellcheck="false" .value=${wanted}
          @keydown=${key} @input=${(/** @type {Event} */ event) => { wanted = /** @type {HTMLInputElement} */ (event.target).value; isFirst = true; isChosen = false; dialog.update(); }}>
      </label>
      <ul id="targets" role="listbox" aria-label=${title} class="targets" @pointerenter=${hold} @pointerleave=${release}>${repeat(shown, (one) => one.key, (one) => row(one, one.key === active, take))}</ul>
      <p class="quiet" role="status">${!shown.length ? text("desk.target.none") : active ? nothing : text("desk.target.busy")}</p>
      ${found.length > shown.length ? html`<p class="quiet">${text("desk.target.more", { n: found.length - shown.length })}</p>` : nothing}
      <p class="quiet">${text("desk.target.hint")}</p>`;
  };
  const dialog = openDialog(title, content, { className: "target" });
  // While the list is open, colleagues become free and busy: draw it again.
  const draw = onceAFrame(() => dialog.element.isConnected && dialog.update());
  client.watch((store) => [store.agents(), store.queues()], draw, { equal: (one, other) => one.every((list, at) => list === other[at]), signal: ended.signal });
  signal?.addEventListener("abort", () => dialog.close(), { signal: ended.signal });
  dialog.closed.then(() => ended.abort());
}

/** Return targets in the order of these keys, and the others after them. @param {Target[]} found @param {string[] | null} keys */
function inOrder(found, keys) {
  if (!keys) return found;
  const place = new Map(keys.map((key, at) => [key, at]));
  return [...found].sort((one, other) => (place.get(one.key) ?? keys.length) - (place.get(other.key) ?? keys.length));
}

/** @param {string} key */
const idOf = (key) => `target-${encodeURIComponent(key)}`;

/** @param {Target} target @param {boolean} isActive @param {(target: Target) => void} take */
const row = (target, isActive, take) => html`
  <li role="option" id=${idOf(target.key)} aria-selected=${isActive ? "true" : "false"} data-kind=${target.kind} data-free=${target.free ? "true" : "false"} data-number=${target.number} @click=${() => take(target)}>
    <span class="mark" aria-hidden="true"></span>
    <strong>${target.kind === "number" ? text("desk.target.number") : html`<bdi>${target.name}</bdi>`}</strong>
    <span class="number"><bdi>${target.number}</bdi></span>
    <span class="state">${detail(target)}</span>
  </li>`;

/** @param {Target} target */
function detail({ agent, queue }) {
  if (agent) return html`${stateName(agent.state)}${agent.reason ? html` (<bdi>${reasonName(agent.reason)}</bdi>)` : nothing} ${since(agent.since)}`;
  if (queue) return text("desk.target.queue", { waiting: queue.waiting, free: queue.available });
  return nothing;
}

/** Return how a target is called in what became of the command. @param {Target} target */
export const nameOf = ({ kind, name, number }) => (kind === "number" ? isolated(number) : `${isolated(name)} (${isolated(number)})`);
