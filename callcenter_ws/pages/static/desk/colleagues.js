// Whom a call can go to: colleagues who are free, queues and numbers by their names, or a number that is typed. A filter narrows it.

import { since } from "../staff/clock.js";
import { openDialog } from "../staff/dialog.js";
import { onceAFrame } from "../staff/frame.js";
import { machine } from "../staff/memory.js";
import { isolated, text } from "../texts.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { reasonName, stateName } from "./state.js";

/** Of a group; more are found by the filter. */
const MAX_SHOWN = 60;
const NUMBERS = "queue-numbers";
const MAX_NUMBERS = 200;
/** What can be dialed, as the gateway checks it by default. */
const DIALED = /^\+?[0-9*#]{1,32}$/;

/** @typedef {{name: "number" | "agent" | "named", rows: Target[]}} Group */
/** @typedef {{name: string, destination: string, queue_name: string | null}} Destination */
/** @typedef {{key: string, kind: "agent" | "queue" | "destination" | "number", name: string, number: string, free: boolean, agent?: import("../client.js").Agent, queue?: import("../client.js").Queue}} Target */

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
 * Return whom a call can go to: a number that is typed, colleagues, those who are free and longest first, then queues and numbers.
 * @param {import("../client.js").Client} client
 * @param {Destination[]} destinations those that the settings name
 * @param {string} wanted what names and numbers must contain
 * @returns {Target[]}
 */
export function targets(client, destinations, wanted) {
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
    ...withNames(client, destinations).filter(({ name, number, queue }) => has(name, number, queue?.name ?? "")),
  ];
  const typed = wanted.replace(/[\s()/.-]/g, "");
  if (DIALED.test(typed) && !found.some(({ number }) => number === typed)) found.unshift({ key: "number", kind: "number", name: "", number: typed, free: true });
  return found;
}

/**
 * Return the queues and numbers that have names: those of the settings in their order, then queues whose numbers calls have shown.
 * @param {import("../client.js").Client} client
 * @param {Destination[]} destinations
 * @returns {Target[]}
 */
function withNames(client, destinations) {
  const queues = client.store.queues();
  const numbers = queueNumbers(client);
  /** @param {import("../client.js").Queue} queue */
  const isNew = ({ name }) => !destinations.some(({ destination, queue_name }) => queue_name === name || destination === numbers[name]);
  return [
    // A queue that the user does not see is only a number.
    ...destinations.map(({ name, destination, queue_name }, at) => ofQueue(`destination:${at}`, name, destination, queues.find((queue) => queue.name === queue_name))),
    ...queues.filter((queue) => numbers[queue.name] && isNew(queue)).map((queue) => ofQueue(`queue:${queue.name}`, queue.name, numbers[queue.name], queue)),
  ];
}

/** @param {string} key @param {string} name @param {string} number @param {import("../client.js").Queue} [queue] @returns {Target} */
const ofQueue = (key, name, number, queue) => ({ key, kind: queue ? "queue" : "destination", name, number, free: !queue || queue.available > 0, queue });

/**
 * Let the user choose whom a call goes to.
 * @param {import("./main.js").Context} context
 * @param {string} title
 * @param {(target: Target) => void} choose is called when the dialog is closed
 * @param {AbortSignal} [signal] closes it: the call has ended
 */
export function chooseTarget({ client, actions }, title, choose, signal) {
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
    const next = nextOf(shown, at, event.key);
    if (next) {
      active = next.key;
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
    const found = targets(client, actions.offered?.destinations ?? [], wanted);
    const groups = groupsOf(inOrder(found, held));
    shown = groups.flatMap((group) => group.rows);
    // A queue or a number with a name is taken by Enter only if it was looked for.
    if (isFirst) active = shown.find((one) => one.free && (wanted.trim() || groupOf(one) !== "named"))?.key ?? "";
    isFirst = false;
    // Enter takes the one that was seen, or none: not one that has come to its place, nor one that is free no longer.
    if (!shown.some(({ key, free }) => key === active && (free || isChosen))) active = "";
    const at = shown.findIndex((one) => one.key === active);
    const rows = (/** @type {Group} */ group) => rowsOf(group, active, take);
    return html`
      <label>${text("desk.target.filter")}
        <input autofocus type="text" role="combobox" aria-expanded="true" aria-controls="targets" aria-autocomplete="list" aria-activedescendant=${at < 0 ? nothing : idOf(active)} autocomplete="off" spellcheck="false" .value=${wanted}
          @keydown=${key} @input=${(/** @type {Event} */ event) => { wanted = /** @type {HTMLInputElement} */ (event.target).value; isFirst = true; isChosen = false; dialog.update(); }}>
      </label>
      <div id="targets" role="listbox" aria-label=${title} class="targets" @pointerenter=${hold} @pointerleave=${release}>${repeat(groups, nameOfGroup, rows)}</div>
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

/** @param {Target} target @returns {Group["name"]} */
const groupOf = ({ kind }) => (kind === "number" || kind === "agent" ? kind : "named");

/** @param {Group} group */
const nameOfGroup = ({ name }) => name;

/** Return the groups that have rows, each with those that are shown. @param {Target[]} targets */
const groupsOf = (targets) =>
  /** @type {const} */ (["number", "agent", "named"])
    .map((name) => ({ name, rows: targets.filter((one) => groupOf(one) === name).slice(0, MAX_SHOWN) }))
    .filter(({ rows }) => rows.length);

/**
 * Return the one to which a key goes: the next or the previous one, or with PageDown and PageUp the first one of the next or
 * previous group.
 * @param {Target[]} shown
 * @param {number} at
 * @param {string} key
 * @returns {Target | undefined}
 */
function nextOf(shown, at, key) {
  const group = shown[at] && groupOf(shown[at]);
  const last = shown.length - 1;
  if (key === "ArrowDown") return shown[Math.min(last, at + 1)];
  if (key === "ArrowUp") return shown[Math.max(0, at - 1)];
  if (key === "PageDown") return shown.slice(at + 1).find((one) => groupOf(one) !== group) ?? shown[last];
  if (key !== "PageUp") return undefined;
  const before = shown.slice(0, Math.max(0, at)).map(groupOf).filter((one) => one !== group).pop();
  return shown.find((one) => groupOf(one) === before) ?? shown[0];
}

/** @param {Group} group @param {string} active @param {(target: Target) => void} take */
function rowsOf({ name, rows }, active, take) {
  const list = repeat(rows, (one) => one.key, (one) => row(one, one.key === active, take));
  if (name === "number") return html`<ul role="presentation">${list}</ul>`;
  const title = name === "agent" ? text("desk.target.group.agent") : text("desk.target.group.named");
  return html`<h3 id=${`targets-${name}`} role="presentation">${title}</h3><ul role="group" aria-labelledby=${`targets-${name}`}>${list}</ul>`;
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
