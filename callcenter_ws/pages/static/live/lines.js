// The texts of events, in one table beside ../texts.js: what a translation replaces.

import { withoutDirections } from "../texts.js";

/** @typedef {import("../client.js").Events} Events */
/** @typedef {string | number | null | undefined} Value */
/** Fields that several events have. @typedef {{[name: string]: any}} Fields */

const seconds = (/** @type {number | null | undefined} */ value) => (value === undefined || value === null ? "" : `${Math.round(value)} s`);
const words = (/** @type {Value[]} */ ...parts) => parts.filter((part) => part !== undefined && part !== null && part !== "").join(" ");
const after = (/** @type {string} */ word, /** @type {Value} */ value) => (value === undefined || value === null || value === "" ? "" : `${word} ${value}`);
const caller = (/** @type {Fields} */ p) => words(p.caller_name || "", p.caller_id && p.caller_id !== p.caller_name ? p.caller_id : "") || p.unique_id;
const agent = (/** @type {Fields} */ p) => p.agent_name || p.agent_id || "";
const answerer = (/** @type {Fields} */ p) => (p.direction === "outbound" ? p.destination : agent(p));
const member = (/** @type {Fields} */ p) => p.username || p.user_id;
const state = (/** @type {Value} */ value) => String(value || "").replaceAll("_", " ");

const rounded = (/** @type {number} */ value) => (Math.round(value * 10) / 10).toFixed(1);

/** @type {{[window: string]: string}} */
const WINDOWS = { last_30m: "in the last 30 minutes", interval: "in this interval", today: "today" };

const measured = (/** @type {string} */ metric, /** @type {number} */ value) => {
  const text = Number.isInteger(value) ? value : rounded(value);
  if (/(level|rate|occupancy)$/.test(metric)) return `${text} %`;
  return /(time|wait|seconds)$/.test(metric) ? `${text} s` : `${text}`;
};

export const alertTitle = (/** @type {Fields} */ p) => `${p.queue_name ?? p.source}: ${p.rule}`;
export const alertReason = (/** @type {Fields} */ p) => {
  if (typeof p.value !== "number" || !p.metric) return p.source ? "the source is down" : "";
  const limit = typeof p.threshold === "number" ? `, limit ${measured(p.metric, p.threshold)}` : "";
  return words(p.metric.replaceAll("_", " "), WINDOWS[p.window], measured(p.metric, p.value)) + limit;
};

/** What happened, by event type: one line in words. @type {{[Type in keyof Events]?: (payload: Events[Type]) => string}} */
export const LINES = {
  "agent.login": (p) => words(p.username, "logged in", after("at", p.extension)),
  "agent.state.changed": (p) => words(`${p.username}:`, state(p.state), p.reason ? `(${state(p.reason)})` : ""),
  "agent.logout": (p) => words(p.username, "logged out"),
  "call.incoming": (p) => words(caller(p), "calls", p.destination),
  "call.ringing": (p) => words(caller(p), "rings at", agent(p)),
  "call.answered": (p) => words(answerer(p), "answered", caller(p), after("after", seconds(p.wait_seconds))),
  "call.hold": (p) => words(caller(p), "is on hold", after("with", agent(p))),
  "call.unhold": (p) => words(caller(p), "is off hold", after("with", agent(p))),
  "call.transferred": (p) => words(caller(p), "is transferred to", p.destination),
  "call.missed": (p) => words(agent(p), "missed", caller(p)),
  "call.abandoned": (p) => words(caller(p), "hung up in", p.queue_name, after("after", seconds(p.wait_seconds))),
  "call.ended": (p) => words("call with", caller(p), "ended after", seconds(p.duration)),
  "queue.joined": (p) => words(caller(p), "waits in", p.queue_name, after("at position", p.position)),
  "queue.left": (p) => words(caller(p), "left", p.queue_name, p.reason ? `(${p.reason})` : ""),
  "queue.stats": (p) => `${p.queue_name}: ${p.calls_waiting} waiting, ${p.available_agents} of ${p.logged_in_agents} agents free`,
  "queue.member.added": (p) => words(member(p), "serves", p.queue_name),
  "queue.member.removed": (p) => words(member(p), "no longer serves", p.queue_name),
  "queue.member.paused": (p) => words(member(p), "pauses in", p.queue_name, p.reason ? `(${p.reason})` : ""),
  "queue.member.unpaused": (p) => words(member(p), "is back in", p.queue_name),
  "chat.session.started": (p) => words(p.visitor_name || "a visitor", "opened a chat", after("with", agent(p))),
  "chat.message": (p) => words(p.sender_name || p.sender_id, p.private ? "noted:" : "wrote:", p.body),
  "chat.typing": (p) => words(p.sender_name || p.sender_type, p.is_typing ? "is typing" : "stopped typing"),
  "chat.transferred": (p) => words("chat", p.session_id, "is transferred to", p.agent_name || p.to_agent_id),
  "chat.session.ended": (p) => words("chat", p.session_id, "ended", p.reason ? `(${p.reason})` : ""),
  "notification": (p) => `${p.title}: ${p.message}`,
  "alert": (p) => `${p.title}: ${p.message}`,
  "source.up": (p) => words(p.source, "is connected", after("to version", p.version)),
  "source.down": (p) => words(p.source, "is not connected", p.reason ? `(${state(p.reason)})` : ""),
  "queue.alert.raised": (p) => words(alertTitle(p), "raised:", alertReason(p), p.repeat ? `(repeat ${p.repeat})` : ""),
  "queue.alert.acknowledged": (p) => words(alertTitle(p), after("acknowledged by", p.by), after("with the note:", p.note)),
  "queue.alert.cleared": (p) => words(alertTitle(p), "cleared", p.reason ? `(${state(p.reason)})` : ""),
  "statistics.settings.changed": (p) => words("the settings of the statistics have changed:", p.time_zone),
  "presence.changed": (p) => words(p.user_id, "is", p.online ? "online" : "offline"),
};

/** @param {{type: string, payload: any, offline?: boolean}} message @returns {string} */
export function describe(message) {
  const lines = /** @type {{[type: string]: (payload: any) => string}} */ (LINES);
  const known = Object.prototype.hasOwnProperty.call(lines, message.type);
  const words = withoutDirections(known ? lines[message.type](message.payload) : JSON.stringify(message.payload));
  return message.offline ? `${words} (while you were away)` : words;
}

/** The families that the view can be limited to, with the beginnings of their types. @type {{[family: string]: string[]}} */
export const FAMILIES = {
  call: ["call."],
  queue: ["queue."],
  agent: ["agent.", "presence."],
  chat: ["chat."],
  notice: ["alert", "notification", "queue.alert."],
  source: ["source.", "statistics."],
};

/** @param {string} type @returns {string} the family of an event type; empty for an unknown one */
export function familyOf(type) {
  let found = "";
  let longest = 0;
  for (const [family, beginnings] of Object.entries(FAMILIES)) {
    for (const beginning of beginnings) {
      if (type.startsWith(beginning) && beginning.length > longest) [found, longest] = [family, beginning.length];
    }
  }
  return found;
}
