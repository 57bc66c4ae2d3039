// All texts of the pages, in one table: what a translation replaces. `{name}` stands for a value; of a text with forms,
// `n` chooses one by the rules of the language.

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
  "word.agents": "NOBODY",
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
};

const PLURALS = new Intl.PluralRules(LANGUAGE);

/**
 * Return a text of the table, with its values.
 * @param {string} id
 * @param {{[name: string]: string | number}} [values]
 * @returns {string}
 */
export function text(id, values = {}) {
  const entry = TEXTS[id];
  if (entry === undefined) throw new Error(`no text: ${id}`);
  const form = typeof entry === "string" ? entry : (entry[PLURALS.select(Number(values.n))] ?? entry.other);
  return form.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

/** @param {string} id */
export const hasText = (id) => id in TEXTS;

/**
 * Return a name of any script so that it does not change the direction of the text around it.
 * @param {string} name
 */
export const isolated = (name) => `\u2068${name}\u2069`;
