// What an event says: the values for the text of its type, which is in ../texts.js.

import { hasText, isolated, text, withoutDirections } from "../texts.js";
import { metric } from "../wallboard/format.js";

/** @typedef {import("../client.js").Events} Events */
/** @typedef {{[name: string]: string | number | null | undefined}} Values */
/** Fields that several events have. @typedef {{[name: string]: any}} Fields */

/** Return what a sender has filled in so that it changes the direction of no word beside it. @param {unknown} value */
const shown = (value) => isolated(String(value ?? ""));

const seconds = (/** @type {number | null | undefined} */ value) => (typeof value === "number" ? Math.round(value) : null);
const caller = (/** @type {Fields} */ p) => {
  const number = p.caller_id !== p.caller_name ? p.caller_id : "";
  return [p.caller_name, number].filter(Boolean).join(" ") || p.unique_id;
};
const agent = (/** @type {Fields} */ p) => p.agent_name || p.agent_id;
const member = (/** @type {Fields} */ p) => p.username || p.user_id;

/** Return a word of the protocol in the language of the table, if that has it. @param {string} family @param {unknown} value */
const word = (family, value) => (hasText(`${family}.${value}`) ? text(`${family}.${value}`) : String(value ?? "").replaceAll("_", " "));

/** @param {Fields} p */
const measured = (p) => ({
  metric: word("metric", p.metric),
  window: hasText(`window.${p.window}`) ? text(`window.${p.window}`) : "",
  value: metric(p.metric, p.value),
  limit: typeof p.threshold === "number" ? metric(p.metric, p.threshold) : "",
});

/** @param {Fields} p a queue or a source, and its rule */
export const alertTitle = (p) => text("live.alert.title", { name: shown(p.queue_name ?? p.source), rule: shown(p.rule) });
/** @param {Fields} p */
export const alertReason = (p) => {
  if (typeof p.value !== "number" || !p.metric) return p.source ? text("live.alert.source_down") : "";
  return text("live.alert.reason", measured(p));
};
const alert = (/** @type {Fields} */ p) => ({ name: p.queue_name ?? p.source, rule: p.rule });

/** The values of an event for its text, by event type. @type {{[Type in keyof Events]?: (payload: Events[Type]) => Values}} */
export const VALUES = {
  "agent.login": (p) => ({ agent: p.username, extension: p.extension }),
  "agent.state.changed": (p) => ({ agent: p.username, state: word("state", p.state), reason: p.reason && word("reason", p.reason) }),
  "agent.logout": (p) => ({ agent: p.username }),
  "call.incoming": (p) => ({ caller: caller(p), destination: p.destination }),
  "call.ringing": (p) => ({ caller: caller(p), agent: agent(p) }),
  "call.answered": (p) => ({ caller: caller(p), agent: p.direction === "outbound" ? p.destination : agent(p), wait: seconds(p.wait_seconds) }),
  "call.hold": (p) => ({ caller: caller(p), agent: agent(p) }),
  "call.unhold": (p) => ({ caller: caller(p), agent: agent(p) }),
  "call.transferred": (p) => ({ caller: caller(p), destination: p.destination }),
  "call.missed": (p) => ({ caller: caller(p), agent: agent(p) }),
  "call.abandoned": (p) => ({ caller: caller(p), queue: p.queue_name, wait: seconds(p.wait_seconds) }),
  "call.ended": (p) => ({ caller: caller(p), duration: seconds(p.duration) }),
  "call.disposition": (p) => ({ caller: caller(p) || p.call_id, agent: agent(p), code: p.label || p.code, note: p.note }),
  "queue.joined": (p) => ({ caller: caller(p), queue: p.queue_name, position: p.position }),
  "queue.left": (p) => ({ caller: caller(p), queue: p.queue_name, reason: p.reason && word("reason", p.reason) }),
  "queue.stats": (p) => ({ queue: p.queue_name, waiting: p.calls_waiting, available: p.available_agents, of: p.logged_in_agents }),
  "queue.member.added": (p) => ({ agent: member(p), queue: p.queue_name }),
  "queue.member.removed": (p) => ({ agent: member(p), queue: p.queue_name }),
  "queue.member.paused": (p) => ({ agent: member(p), queue: p.queue_name, reason: p.reason }),
  "queue.member.unpaused": (p) => ({ agent: member(p), queue: p.queue_name }),
  "chat.session.started": (p) => ({ visitor: p.visitor_name || text("live.visitor"), agent: agent(p) }),
  "chat.message": (p) => ({ sender: p.sender_name || p.sender_id, body: p.body, verb: text(p.private ? "live.noted" : "live.wrote") }),
  "chat.typing": (p) => ({ sender: p.sender_name || p.sender_type, verb: text(p.is_typing ? "live.typing" : "live.typing.ended") }),
  "chat.delivered": (p) => ({ chat: p.session_id }),
  "chat.transferred": (p) => ({ chat: p.session_id, agent: p.agent_name || p.to_agent_id }),
  "chat.session.ended": (p) => ({ chat: p.session_id, reason: p.reason && word("reason", p.reason) }),
  "notification": (p) => ({ title: p.title, message: p.message }),
  "alert": (p) => ({ title: p.title, message: p.message }),
  "source.up": (p) => ({ source: p.source, version: p.version }),
  "source.down": (p) => ({ source: p.source, reason: p.reason && word("reason", p.reason) }),
  "queue.alert.raised": (p) => ({ ...alert(p), reason: alertReason(p), repeat: p.repeat || null }),
  "queue.alert.acknowledged": (p) => ({ ...alert(p), by: p.by, note: p.note }),
  "queue.alert.cleared": (p) => ({ ...alert(p), reason: p.reason && word("reason", p.reason) }),
  "command.done": (p) => ({ command: p.name, source: p.source }),
  "command.failed": (p) => ({ command: p.name, reason: p.message || word("reason", p.code) }),
  "command.executed": (p) => ({ user: p.user_id, command: p.name, outcome: word("outcome", p.outcome), reason: p.code && word("reason", p.code) }),
  "statistics.settings.changed": (p) => ({ zone: p.time_zone }),
  "presence.changed": (p) => ({ user: p.user_id, state: text(p.online ? "live.online" : "live.offline") }),
};

/** @param {{type: string, payload: any, offline?: boolean}} message @returns {string} */
export function describe(message) {
  const known = /** @type {{[type: string]: (payload: any) => Values}} */ (VALUES);
  const isKnown = Object.prototype.hasOwnProperty.call(known, message.type);
  const words = isKnown ? sentence(message.type, known[message.type](message.payload)) : withoutDirections(JSON.stringify(message.payload));
  return message.offline ? text("live.while_away", { words }) : words;
}

/** @param {string} type @param {Values} given */
function sentence(type, given) {
  return text(`event.${type}`, Object.fromEntries(Object.entries(given).map(([name, value]) => [name, shown(value)])));
}

/** The families that the view can be limited to, with the beginnings of their types. @type {{[family: string]: string[]}} */
export const FAMILIES = {
  call: ["call."],
  queue: ["queue."],
  agent: ["agent.", "presence."],
  chat: ["chat."],
  notice: ["alert", "notification", "queue.alert."],
  source: ["source.", "statistics.", "command."],
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
