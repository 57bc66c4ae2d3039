// The texts of the pages, in one table: what a translation replaces. Those of /desk, /supervisor and what they share are in
// texts.js of their folders, which add them to it. `{name}` stands for a value; of a text with forms,
// `n` chooses one by the rules of the language. What is in brackets is left out if one of its values is empty.

/** The language of the texts, of numbers and of dates. */
export const LANGUAGE = "en";

/** @type {{[id: string]: string | {[form: string]: string}}} */
export const TEXTS = {
  "wallboard.title": "Wallboard",
  "wallboard.page": "{number}/{of}",
  "wallboard.page.label": "page {number} of {of}",
  "wallboard.connecting": "connecting…",
  "wallboard.connecting.failed": "the gateway does not answer, trying again…",
  "wallboard.empty": "No queue yet",
  "wallboard.empty.hint": "Queues appear with their first event.",
  "wallboard.unknown": "There is no wallboard “{name}”",
  "wallboard.unknown.hint": "The name in the address is none of the tenant's.",
  "wallboard.forbidden": "This screen may not show “{name}”",
  "wallboard.forbidden.hint": "Its session has none of the queues of that wallboard.",
  "wallboard.chart": "calls of today, by quarters of an hour",
  "wallboard.old": "no live data since {time}",
  "wallboard.stopped": "stopped: {reason}",
  "wallboard.source_down": "{source}: disconnected since {time}",
  "wallboard.alert": "{name}: {metric} {value}, limit {limit}",
  "wallboard.alert.rule": "{name}: {metric}",
  "wallboard.alert.acknowledged": "{name}: {metric} {value}, acknowledged",
  "wallboard.message": "{title}: {message}",

  "figure.queue": "queue",
  "figure.waiting": "waiting",
  "figure.longest_wait": "longest wait",
  "figure.service_level_30m": "% 30 min",
  "figure.service_level_today": "today",
  "figure.agents": "free",
  "figure.abandon_rate_30m": "lost %",
  "figure.abandon_rate_today": "lost today",
  "figure.average_wait_today": "avg. wait",
  "figure.offered_today": "offered",
  "figure.answered_today": "answered",
  "figure.abandoned_today": "lost",
  // What a screen reader says in place of the short heads.
  "figure.service_level_30m.label": "service level of 30 minutes, percent",
  "figure.service_level_today.label": "service level today, percent",
  "figure.agents.label": "agents available",
  "figure.abandon_rate_30m.label": "abandoned in 30 minutes, percent",
  "figure.abandon_rate_today.label": "abandoned today, percent",

  "figure.of": "of {value}",
  "figure.none": "–",
  "figure.thousands": "{value}k",
  "figure.hours_minutes": "{hours}h{minutes}",
  "figure.hours": "{hours} h",

  "word.waiting": "MANY",
  "word.longest_wait": "LONG",
  "word.service_level_30m": "LOW",
  "word.agents": "NO AGENTS",
  "word.abandon_rate_30m": "HIGH",
  "word.alert": "ALERT",
  "severity.1": "warning",
  "severity.2": "breach",

  "metric.calls_waiting": "waiting",
  "metric.longest_wait_time": "longest wait",
  "metric.service_level": "service level",
  "metric.abandon_rate": "abandon rate",
  "metric.answer_rate": "answer rate",
  "metric.agent_answer_rate": "answer rate",
  "metric.average_wait_time": "average wait",
  "metric.average_handle_time": "handle time",
  "metric.average_abandon_time": "wait of abandoned",
  "metric.max_wait": "longest wait",
  "metric.available_agents": "agents free",
  "metric.staffed_agents": "agents staffed",
  "metric.logged_in_agents": "agents logged in",
  "metric.paused_agents": "agents paused",
  "metric.source": "source down",

  "role.agent": "Agent",
  "role.supervisor": "Supervisor",
  "role.admin": "Administrator",
  "role.wallboard": "Wallboard",
  "page.product": "callcenter-ws",
  "page.wallboard": "Wallboard",
  "page.live": "Live view",
  "page.desk": "Desk",
  "page.supervisor": "Supervisor",
  "page.unreachable": "the gateway does not answer",

  "login.title": "Sign in",
  "login.loading": "One moment…",
  "login.name": "Name",
  "login.password": "Password",
  "login.submit": "Sign in",
  "login.busy": "Signing in…",
  "login.with_name": "Sign in with a name and a password",
  "login.with_code": "Show a code instead, for a screen without a keyboard",
  "login.with_click": "Sign in at the demo with a click",
  "login.demo.title": "Look at the demo",
  "login.demo.hint": "A call center is simulated on this machine. As whom do you want to see it?",
  "login.demo.try": "What to try",
  "login.demo.other": "See the demo in another role",
  "login.code.title": "Code of this screen",
  "login.code.hint": "On a machine of the gateway, an operator approves this screen with:",
  "login.code.tenant": "TENANT",
  "login.code.config": "FILE",
  "login.code.then": "The screen then goes on by itself. A code is good for ten minutes and is then replaced.",
  "login.signed_in.title": "Signed in",
  "login.signed_in.as": "{name}, {role}, tenant {tenant}",
  "login.sign_out": "Sign out",
  "login.needs_https": "Signing in needs https: open the https address of this gateway. Without https it works only in a browser on the gateway's own machine.",
  "login.off": "Signing in is not set up at this gateway: an operator has to set session.key_file.",
  "login.error.wrong_password": "The name or the password is wrong.",
  "login.error.rate_limited": { one: "Too many tries. Try again in {n} second.", other: "Too many tries. Try again in {n} seconds." },
  "login.error.try_later": { one: "Many people are signing in. Trying again in {n} second.", other: "Many people are signing in. Trying again in {n} seconds." },
  "login.error.unreachable": "The gateway does not answer.",
  "login.error.other": "That did not work: {message}",

  "embedded.signed_out": "Signed out. Sign in at the site that shows this page.",
  "embedded.not_listed": "The site around this page is not listed in web.embedders.",
  "embedded.no_answer": "the site around this page does not answer its request for a token",

  "live.status.connecting": "connecting…",
  "live.status.catching_up": "catching up…",
  "live.status.live": "live, as of {as_of}",
  "live.status.stale": "no answer since {since}",
  "live.status.offline": "offline since {since}: {reason}",
  "live.status.offline.retry": "offline since {since}: {reason}, next try at {at}",
  "live.status.stopped": "stopped: {reason}",
  "live.again": "Connect again",
  "live.announced.live": "connected, and up to date",
  "live.announced.stale": "the gateway does not answer",
  "live.announced.catching_up": "connected, catching up",
  "live.rebuilt.start": "the present state was loaded",
  "live.rebuilt.reset": "the state was loaded again ({detail}): events between are not shown singly",
  "live.rebuilt.gap": "the state was loaded again after a gap ({detail})",
  "live.rebuilt.refresh": "the state was loaded again",
  "live.rebuilt.taken_over": "the state was taken over from another tab",
  "live.lost": "events {from_seq} to {to_seq} were not sent: {reason}",
  "live.alerts": "raised alerts",
  "live.alert.acknowledge": "Acknowledge",
  "live.alert.acknowledged": "acknowledged by {name}",
  "live.filter.family": "Kind",
  "live.filter.queue": "Queue",
  "live.filter.search": "Text",
  "live.filter.all": "all",
  "live.family.call": "calls",
  "live.family.queue": "queues",
  "live.family.agent": "agents",
  "live.family.chat": "chats",
  "live.family.notice": "alerts and notifications",
  "live.family.source": "sources",
  "live.alert.title": "{name}: {rule}",
  "live.alert.reason": "{metric}[ {window}] {value}[, limit {limit}]",
  "live.alert.source_down": "the source is down",
  "live.while_away": "{words} (while you were away)",
  "live.visitor": "a visitor",
  "live.wrote": "wrote",
  "live.noted": "noted",
  "live.typing": "is typing",
  "live.typing.ended": "stopped typing",
  "live.online": "online",
  "live.offline": "offline",
  "live.pause": "Pause",
  "live.resume": { one: "Go on ({n} new line)", other: "Go on ({n} new lines)" },
  "live.empty": "No event yet that the filters let through.",
  "live.user": "{user}, {role}, tenant {tenant}",
  "live.position": "epoch {epoch}, seq {seq}",

  "window.last_30m": "in the last 30 minutes",
  "window.interval": "in this interval",
  "window.today": "today",

  // What the lines of the live view say, by type of event.
  "event.agent.login": "{agent} logged in[ at {extension}]",
  "event.agent.state.changed": "{agent}: {state}[ ({reason})]",
  "event.agent.logout": "{agent} logged out",
  "event.call.incoming": "{caller} calls {destination}",
  "event.call.ringing": "{caller} rings at {agent}",
  "event.call.answered": "{agent} answered {caller}[ after {wait} s]",
  "event.call.hold": "{caller} is on hold[ with {agent}]",
  "event.call.unhold": "{caller} is off hold[ with {agent}]",
  "event.call.transferred": "{caller} is transferred to {destination}",
  "event.call.missed": "[{agent} missed ]{caller}",
  "event.call.abandoned": "{caller} hung up in {queue}[ after {wait} s]",
  "event.call.ended": "call with {caller} ended[ after {duration} s]",
  "event.call.disposition": "call with {caller}: {code}[, says {agent}][ with the note: {note}]",
  "event.queue.joined": "{caller} waits in {queue}[ at position {position}]",
  "event.queue.left": "{caller} left {queue}[ ({reason})]",
  "event.queue.stats": "{queue}: {waiting} waiting, {available} of {of} agents free",
  "event.queue.member.added": "{agent} serves {queue}",
  "event.queue.member.removed": "{agent} no longer serves {queue}",
  "event.queue.member.paused": "{agent} pauses in {queue}[ ({reason})]",
  "event.queue.member.unpaused": "{agent} is back in {queue}",
  "event.chat.session.started": "{visitor} opened a chat[ with {agent}]",
  "event.chat.message": "{sender} {verb}: {body}",
  "event.chat.typing": "{sender} {verb}",
  "event.chat.delivered": "the visitor's page has received the last message of chat {chat}",
  "event.chat.transferred": "chat {chat} is transferred to {agent}",
  "event.chat.session.ended": "chat {chat} ended[ ({reason})]",
  "event.notification": "{title}: {message}",
  "event.alert": "{title}: {message}",
  "event.source.up": "{source} is connected[ to version {version}]",
  "event.source.down": "{source} is not connected[ ({reason})]",
  "event.queue.alert.raised": "{name}: {rule} raised[: {reason}][ (repeat {repeat})]",
  "event.queue.alert.acknowledged": "{name}: {rule} acknowledged[ by {by}][ with the note: {note}]",
  "event.queue.alert.cleared": "{name}: {rule} cleared[ ({reason})]",
  "event.command.done": "{command} is done[ by {source}]",
  "event.command.failed": "{command} failed: {reason}",
  "event.command.executed": "{user}: {command} {outcome}[ ({reason})]",
  "event.statistics.settings.changed": "the settings of the statistics have changed: {zone}",
  "event.presence.changed": "{user} is {state}",
  "state.available": "available",
  "state.away": "away",
  "state.break": "on a break",
  "state.busy": "busy",
  "state.hold": "on hold",
  "state.offline": "offline",
  "state.ringing": "ringing",
  "state.talking": "talking",
  "state.wrap_up": "wrapping up",

  "live.seen": { one: "{n} event", other: "{n} events" },
};

/** Made when a text needs it: the first such object of a page takes long. @type {Intl.PluralRules | null} */
let plurals = null;

/**
 * Return a text of the table, with its values.
 * @param {string} id
 * @param {{[name: string]: string | number}} [values]
 * @returns {string}
 */
export function text(id, values = {}) {
  const entry = TEXTS[id];
  if (entry === undefined) throw new Error(`no text: ${id}`);
  const form = typeof entry === "string" ? entry : (entry[formOf(Number(values.n))] ?? entry.other);
  const isFilled = (/** @type {string} */ part) => (part.match(/\w+(?=\})/g) ?? []).every((name) => name in values && values[name] !== "");
  const chosen = form.replace(/\[([^\][]*)\]/g, (_, part) => (isFilled(part) ? part : ""));
  return chosen.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

/** @param {number} n */
function formOf(n) {
  plurals ??= new Intl.PluralRules(LANGUAGE);
  return plurals.select(n);
}

/**
 * Add the texts of a page to the table. A page has its own only, so that each loads no more than it shows.
 * @param {{[id: string]: string | {[form: string]: string}}} table
 */
export function addTexts(table) {
  for (const id of Object.keys(table)) if (id in TEXTS && TEXTS[id] !== table[id]) throw new Error(`two texts: ${id}`);
  Object.assign(TEXTS, table);
}

/** @param {string} id */
export const hasText = (id) => id in TEXTS;

/** Characters that change the direction of the text around them. */
const DIRECTIONS = /[\u202a-\u202e\u2066-\u2069]/g;
/** Letters of scripts that run from right to left. */
const RIGHT_TO_LEFT = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u;

/**
 * Return a text without the characters that change the direction of what is around it: of a name, they would reverse the
 * words beside it. Scripts from right to left do not need them.
 * @param {string} given
 */
export const withoutDirections = (given) => given.replace(DIRECTIONS, "");

/**
 * Return a name of any script so that it does not change the direction of the text around it. Only a name from right to left is
 * marked: some systems show the marks in the titles of windows, and some screen readers say them.
 * @param {string} name
 */
export function isolated(name) {
  const plain = withoutDirections(name);
  return RIGHT_TO_LEFT.test(plain) ? `\u2068${plain}\u2069` : plain;
}

/** Return a text for a screen reader or the title of a window: without the marks of `isolated`. @param {string} shown */
export const spoken = (shown) => withoutDirections(shown);

/**
 * Return a value as JSON, in which characters that change the direction of text are escaped.
 * @param {unknown} value
 */
export const shownJson = (value) =>
  JSON.stringify(value, null, 2).replace(DIRECTIONS, (one) => `\\u${one.charCodeAt(0).toString(16)}`);
