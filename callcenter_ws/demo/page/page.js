// The demo page: one WebSocket client of the gateway, without a library.
// Data of the stream is put into the page with textContent only.
"use strict";

const SUBPROTOCOL = "callcenter.v1";
const MAX_LINES = 200;
const FIRST_BACKOFF_MS = 500;
const MAX_BACKOFF_MS = 15000;
const STABLE_AFTER_MS = 5000;
const FIRST_FATAL_CLOSE = 4500;
const ROLES = ["supervisor", "agent", "wallboard"];

const byId = (id) => document.getElementById(id);

const element = (tag, className, text) => {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
};

// ---- The board: the state of agents and alerts, from the events, and the figures that the gateway derives ----

const FIGURES = new Set(["queue.stats", "agent.stats", "tenant.stats"]);
const figureKey = ({ type, payload }) => `${type}:${payload.queue_name ?? payload.user_id ?? ""}`;
const alertKey = (p) => JSON.stringify([p.rule, p.queue_name, p.source]);

class Board {
  constructor() {
    this.clear();
  }

  clear() {
    this.figures = new Map();
    this.agents = new Map();
    this.alerts = new Map();
    this.changed = true;
  }

  apply({ type, payload, timestamp }) {
    const id = String(payload.user_id);
    if (type === "queue.stats") {
      // Of a sender: the gateway derives no figures of this queue.
      this.figures.set(figureKey({ type, payload }), payload);
    } else if (type === "queue.alert.cleared") {
      this.alerts.delete(alertKey(payload));
    } else if (type === "queue.alert.raised" || type === "queue.alert.acknowledged") {
      this.alerts.set(alertKey(payload), { ...payload, acknowledged: type === "queue.alert.acknowledged" });
    } else if (type === "agent.login" || type === "agent.state.changed") {
      const since = Date.parse(payload.since_at || timestamp);
      this.agents.set(id, { id, name: payload.username, state: payload.state || "available", since });
    } else if (type === "agent.logout") {
      this.agents.delete(id);
    } else {
      return;
    }
    this.changed = true;
  }

  // A figure is a message without a position; the newest of each key counts.
  take(message) {
    const { payload } = message;
    const key = figureKey(message);
    const known = this.figures.get(key);
    if (known && known.epoch === payload.epoch) {
      const newer = payload.as_of_seq - known.as_of_seq;
      if (newer < 0 || (newer === 0 && payload.generated_at < known.generated_at)) return;
    }
    this.figures.set(key, payload);
    this.changed = true;
  }

  queues() {
    const found = [...this.figures].filter(([key]) => key.startsWith("queue.stats:"));
    return found.map(([, payload]) => [String(payload.queue_name), payload]).sort(([a], [b]) => a.localeCompare(b));
  }

  isAlarmed(queue) {
    return [...this.alerts.values()].some((alert) => String(alert.queue_name) === queue);
  }
}

// ---- The lines of the stream ----

const seconds = (value) => (value === undefined || value === null ? "" : `${Math.round(value)} s`);
const words = (...parts) => parts.filter((part) => part !== undefined && part !== null && part !== "").join(" ");
const after = (word, value) => (value === undefined || value === null || value === "" ? "" : `${word} ${value}`);
const caller = (p) => words(p.caller_name || "", p.caller_id && p.caller_id !== p.caller_name ? p.caller_id : "") || p.unique_id;
const agent = (p) => p.agent_name || p.agent_id || "";
const answerer = (p) => (p.direction === "outbound" ? p.destination : agent(p));
const member = (p) => p.username || p.user_id;
const state = (value) => String(value || "").replaceAll("_", " ");

const rounded = (value) => (Math.round(value * 10) / 10).toFixed(1);
const percent = (value) => (value === undefined || value === null ? "-" : `${rounded(value)} %`);

const WINDOWS = { last_30m: "in the last 30 minutes", interval: "in this interval", today: "today" };

const measured = (metric, value) => {
  const text = Number.isInteger(value) ? value : rounded(value);
  if (/(level|rate|occupancy)$/.test(metric)) return `${text} %`;
  return /(time|wait|seconds)$/.test(metric) ? `${text} s` : `${text}`;
};

const alertTitle = (p) => `${p.queue_name ?? p.source}: ${p.rule}`;
const alertReason = (p) => {
  if (typeof p.value !== "number" || !p.metric) return p.source ? "the source is down" : "";
  const limit = typeof p.threshold === "number" ? `, limit ${measured(p.metric, p.threshold)}` : "";
  return words(p.metric.replaceAll("_", " "), WINDOWS[p.window], measured(p.metric, p.value)) + limit;
};

const LINES = {
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

const describe = (message) => {
  const known = Object.hasOwn(LINES, message.type);
  const text = known ? LINES[message.type](message.payload) : JSON.stringify(message.payload);
  return message.offline ? `${text} (while you were away)` : text;
};

const familyOf = (type) => {
  const family = type.startsWith("queue.alert.") ? "alert" : type.split(".")[0];
  return ["alert", "notification", "presence"].includes(family) ? "people" : family;
};

class Stream {
  constructor(list) {
    this.list = list;
    this.pending = [];
    this.kept = [];
    this.family = "";
    this.paused = false;
  }

  add(at, type, text, kind) {
    this.pending.push({ at, type, text, kind });
    if (this.pending.length > MAX_LINES) this.pending.shift();
  }

  note(type, text, kind = "control") {
    this.add(new Date(), type, text, kind);
  }

  clear() {
    this.pending = [];
    this.kept = [];
    this.list.replaceChildren();
  }

  show(family) {
    this.family = family;
    this.list.replaceChildren(...this.kept.filter((line) => this.fits(line)).map((line) => this.item(line)).reverse());
  }

  fits(line) {
    return !this.family || line.kind !== "event" || familyOf(line.type) === this.family;
  }

  item({ at, type, text, kind }) {
    const item = element("li", kind);
    item.dataset.type = type;
    const time = element("time", "", at.toLocaleTimeString([], { hour12: false }));
    time.dateTime = at.toISOString();
    item.append(time, element("span", "type", type), element("span", "text", text));
    return item;
  }

  // New lines are added at the top; a scrolled list keeps its position.
  render() {
    if (this.paused || !this.pending.length) return;
    const lines = this.pending.splice(0);
    this.kept = this.kept.concat(lines).slice(-MAX_LINES);
    const isScrolled = this.list.scrollTop > 8;
    const before = this.list.scrollHeight;
    this.list.prepend(...lines.filter((line) => this.fits(line)).map((line) => this.item(line)).reverse());
    if (isScrolled) this.list.scrollTop += this.list.scrollHeight - before;
    while (this.list.children.length > MAX_LINES) this.list.lastElementChild.remove();
  }
}

// ---- Drawing ----

const duration = (ms) => {
  const whole = Math.max(0, Math.floor(ms / 1000));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
};

const setText = (node, text) => {
  const value = String(text);
  if (node.textContent !== value) node.textContent = value;
};

// Keeps one child per key, in the order of the keys; `make` builds a child, `fill` updates it.
const reconcile = (list, entries, make, fill) => {
  const known = new Map([...list.children].map((child) => [child.dataset.key, child]));
  entries.forEach(([key, value], index) => {
    const child = known.get(key) || make(key);
    known.delete(key);
    child.dataset.key = key;
    fill(child, value, key);
    if (list.children[index] !== child) list.insertBefore(child, list.children[index] || null);
  });
  known.forEach((child) => child.remove());
};

const ofDay = (p, field, ofSender) => p.today?.[field] ?? p[ofSender] ?? "-";
const level = (window) => (window ? percent(window.service_level) + (window.mixed_thresholds ? " *" : "") : "-");
const isBelow = (window, p) => typeof window?.service_level === "number" && window.service_level < p.service_level_target;
const target = (p) =>
  p.service_level_target === undefined ? "-" : `${p.service_level_target} % in ${p.service_level_seconds} s`;
const averageWait = ({ average_wait_time: value }) => (typeof value === "number" ? `${rounded(value)} s` : "-");

// Each row of a queue: its name, its text, and whether that is bad.
const ROWS = [
  ["service level", (p) => level(p.today), (p) => isBelow(p.today, p)],
  ["last 30 min", (p) => level(p.last_30m), (p) => isBelow(p.last_30m, p)],
  ["target", target],
  ["average wait", averageWait],
  ["answered", (p) => ofDay(p, "answered", "completed_calls")],
  ["abandoned", (p) => ofDay(p, "abandoned", "abandoned_calls")],
  ["available", (p) => `${p.available_agents} of ${p.staffed_agents ?? p.logged_in_agents}`],
];

const METHODS = {
  answered_of_answered: () => "answered in time, of those answered",
  asterisk_2: () => "answered or given up in time, of those answered or given up",
  answered_of_offered: () => "answered in time, of those answered or abandoned",
  answered_of_offered_less_short: (p) =>
    `answered in time, of those answered or abandoned; abandons below ${p.short_abandon_seconds} s do not count`,
  answered_of_all: () => "answered in time, of all that left the queue",
  served_of_queued: () => "answered or abandoned in time, of all that left the queue",
};

// What the figures mean: a sentence for each definition, with the queues that it holds for if there are several.
const definitions = (queues) => {
  const found = new Map();
  const note = (sentence, name) => found.set(sentence, [...(found.get(sentence) || []), name]);
  for (const [name, p] of queues) {
    const method = p.service_level_method;
    if (method) note(`Service level: ${Object.hasOwn(METHODS, method) ? METHODS[method](p) : method}`, name);
    if (p.today?.mixed_thresholds || p.last_30m?.mixed_thresholds) note("* The thresholds were changed meanwhile", name);
    if (p.incomplete_since) note(`Incomplete since ${p.incomplete_since}: events were lost`, name);
  }
  return [...found].map(([text, names]) => (names.length < queues.length ? `${text} (${names.join(", ")})` : text));
};

const makeQueue = () => {
  const card = element("li", "queue");
  const waiting = element("p", "waiting");
  const beside = element("span", "quiet");
  beside.append(element("span", "longest"), "waiting");
  waiting.append(element("strong"), beside);
  const figures = element("dl", "figures");
  for (const [name] of ROWS) {
    const row = element("div");
    row.append(element("dt", "", name), element("dd"));
    figures.append(row);
  }
  card.append(element("h3"), waiting, figures);
  return card;
};

const fillQueue = (card, [figures, isAlarmed], name) => {
  const waiting = figures.calls_waiting;
  card.dataset.load = isAlarmed ? "alert" : waiting > 0 ? "some" : "none";
  setText(card.querySelector("h3"), name);
  setText(card.querySelector("strong"), waiting);
  const longest = card.querySelector(".longest");
  longest.dataset.since = figures.longest_wait_since ? Date.parse(figures.longest_wait_since) : "";
  // A sender may give only the age.
  setText(longest, figures.longest_wait_time && waiting ? `longest ${duration(1000 * figures.longest_wait_time)}` : "");
  card.querySelectorAll("dd").forEach((cell, index) => {
    const [, text, isBad] = ROWS[index];
    setText(cell, text(figures));
    cell.classList.toggle("bad", Boolean(isBad && isBad(figures)));
  });
};

const makeAlert = (acknowledge) => () => {
  const item = element("li", "raised");
  const since = element("span", "since");
  since.setAttribute("aria-hidden", "true"); // it changes each second
  const button = element("button", "", "Acknowledge");
  button.type = "button";
  button.addEventListener("click", () => acknowledge(item.dataset.alert));
  item.append(element("strong"), element("span", "reason"), since, element("span", "quiet"), button);
  return item;
};

const fillAlert = (item, [alert, mayAcknowledge]) => {
  item.dataset.alert = alert.alert_id;
  item.dataset.severity = alert.severity || "warning";
  item.classList.toggle("acknowledged", alert.acknowledged);
  setText(item.querySelector("strong"), alertTitle(alert));
  setText(item.querySelector(".reason"), alertReason(alert));
  item.querySelector(".since").dataset.since = Date.parse(alert.since);
  setText(item.querySelector(".quiet"), alert.acknowledged ? `acknowledged ${after("by", alert.by)}` : "");
  item.querySelector("button").hidden = alert.acknowledged || !mayAcknowledge;
};

const makeAgent = () => {
  const card = element("li", "agent");
  const doing = element("span", "doing");
  doing.append(element("span", "state"), element("span", "since"));
  card.append(element("span", "name"), doing, element("span", "today quiet"));
  return card;
};

const fillAgent = (card, [{ name, state: doing, since }, figures]) => {
  card.dataset.state = doing;
  card.dataset.since = since;
  setText(card.querySelector(".name"), name);
  setText(card.querySelector(".state"), state(doing));
  const today = figures?.today;
  const missed = today?.missed ? `, ${today.missed} missed` : "";
  setText(card.querySelector(".today"), today ? `${today.answered} answered${missed}` : "");
};

// ---- The connection ----

const RESET_REASONS = {
  epoch_changed: "the history was replaced",
  too_old: "the history no longer reaches back to the position",
  too_many: "too many events were missed",
  ahead: "the position does not exist yet",
};

class Connection {
  // Calls these methods of the page: link, control, welcome, event, figure, snapshot, position and reset.
  constructor(role, page) {
    this.role = role;
    this.page = page;
    this.position = null;
    this.attempt = 0;
    this.socket = null;
    this.timer = 0;
    this.stableTimer = 0;
    this.stopped = false;
    this.refusal = "";
    this.connect();
  }

  stop() {
    this.stopped = true;
    clearTimeout(this.timer);
    this.closeSocket();
  }

  closeSocket() {
    const socket = this.socket;
    this.socket = null;
    clearTimeout(this.stableTimer);
    if (socket) socket.close(1000);
  }

  async token() {
    // The fragment is not sent to the server. Without the demo, the token is given in it: /#token=…
    const given = new URLSearchParams(location.hash.slice(1)).get("token");
    if (given) return given;
    const url = `demo/token?role=${encodeURIComponent(this.role)}`;
    const answer = await fetch(url, { cache: "no-store" }).catch(() => {
      throw new Error("The gateway does not answer");
    });
    if (answer.status === 404) throw new Error("No token: open this page as /#token=…");
    if (!answer.ok) throw new Error(`No token: HTTP ${answer.status}`);
    return (await answer.json()).token;
  }

  address() {
    const url = new URL("ws", document.baseURI);
    url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    url.hash = "";
    url.search = this.position
      ? new URLSearchParams({ epoch: this.position.epoch, seq: this.position.seq })
      : "snapshot=1";
    return url.href;
  }

  async connect() {
    this.page.link("connecting", this.attempt ? "Connecting again" : "Connecting");
    let token;
    try {
      token = await this.token();
    } catch (error) {
      this.drained = false;
      if (!this.socket) this.retry(error.message);
      return;
    }
    if (this.stopped) return;
    this.closeSocket();
    this.refusal = "";
    this.welcomed = this.drained = false;
    const socket = (this.socket = new WebSocket(this.address(), [SUBPROTOCOL, `bearer.${token}`]));
    socket.onmessage = ({ data }) => socket === this.socket && this.receive(JSON.parse(data));
    socket.onclose = (close) => socket === this.socket && this.closed(close);
  }

  closed({ code, reason }) {
    this.socket = null;
    clearTimeout(this.stableTimer);
    const why = this.refusal || reason || "no reason given";
    if (code >= FIRST_FATAL_CLOSE) {
      this.stopped = true;
      this.page.control("closed", `${code}: ${why}`, "problem");
      this.page.link("stopped", `Stopped: ${why} (${code})`);
      return;
    }
    this.page.control("closed", `${code}: ${why}`);
    if (this.drained) return;
    this.retry(code === 1006 ? "The connection was lost" : `Closed: ${why}`);
  }

  // Half of the delay is random, so that many pages do not reconnect at the same time.
  retry(why) {
    if (this.stopped) return;
    const ceiling = Math.min(MAX_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** this.attempt);
    this.attempt += 1;
    const [least, random] = [this.retryAfter || 0, ceiling / 2 + (Math.random() * ceiling) / 2];
    this.retryAfter = 0;
    this.reconnectIn(Math.max(least, random), why);
  }

  reconnectIn(delay, why) {
    clearTimeout(this.timer);
    this.page.link("waiting", `${why}, trying again in ${Math.max(1, Math.round(delay / 1000))} s`);
    this.timer = setTimeout(() => this.connect(), delay);
  }

  reconnectNow() {
    if (this.stopped || this.socket) return;
    clearTimeout(this.timer);
    this.connect();
  }

  receive(message) {
    if (Object.hasOwn(Connection.CONTROLS, message.type)) {
      Connection.CONTROLS[message.type].call(this, message.payload || {});
    } else if (message.seq !== undefined) {
      this.receiveEvent(message);
    } else if (FIGURES.has(message.type)) {
      this.page.figure(message);
    }
  }

  send(type, payload) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify({ type, payload }));
  }

  // A message from the mailbox is older than the position of this client in the stream.
  receiveEvent(message) {
    if (!message.offline && this.position) {
      if (message.seq <= this.position.seq) return;
      this.moveTo(this.position.epoch, message.seq);
    }
    this.page.event(message);
  }

  moveTo(epoch, seq) {
    this.position = { epoch, seq };
    this.page.position(epoch, seq);
  }

  async refresh() {
    try {
      const token = await this.token();
      this.send("auth", { token });
    } catch (error) {
      this.page.control("session.expiring", error.message, "problem");
    }
  }
}

Connection.CONTROLS = {
  welcome(payload) {
    this.welcomed = true;
    this.stableTimer = setTimeout(() => (this.attempt = 0), STABLE_AFTER_MS);
    this.page.welcome(payload);
    this.page.link("live", `Connected as ${this.role}`);
  },
  snapshot({ epoch, seq, events = [], figures = [] }) {
    this.moveTo(epoch, seq);
    this.page.snapshot(events, figures);
    this.page.control("snapshot", `the state at ${seq}: ${events.length} events, ${figures.length} figures`);
  },
  resumed({ epoch, from_seq: from, to_seq: to, count }) {
    this.moveTo(epoch, to);
    this.page.control("resumed", `${count} missed events sent again, ${from} to ${to}`);
  },
  reset({ reason }) {
    this.position = null;
    this.page.reset();
    this.page.control("reset", `${RESET_REASONS[reason] || reason}; loading the state`);
  },
  gap({ from_seq: from, to_seq: to, reason }) {
    this.page.control("gap", `events ${from} to ${to} were not sent: ${reason}`, "problem");
  },
  drain({ reconnect_after_ms: delay }) {
    this.page.control("drain", "the gateway is stopping; reconnecting");
    // Until then it sends events; it closes the socket at about that time.
    this.drained = true;
    this.reconnectIn(delay || 0, "The gateway is stopping");
  },
  "session.expiring"({ expires_at: at }) {
    this.page.control("session.expiring", `the token ends at ${at}, sending a new one`);
    this.refresh();
  },
  error({ code, message, retry_after_ms: delay }) {
    if (!this.welcomed) this.refusal = message || code;
    // An error in place of the welcome is followed by a close code.
    this.retryAfter = this.welcomed ? 0 : delay;
    this.page.control("error", `${code}: ${message}`, "problem");
  },
  accepted({ alert_id: alert }) {
    if (alert) this.page.control("accepted", "the alert is acknowledged");
  },
  pong() {},
  subscribed() {},
};

// ---- The page ----

class Page {
  constructor() {
    this.board = new Board();
    this.stream = new Stream(byId("stream"));
    this.seen = 0;
    this.skew = 0;
    this.connection = null;
    this.scheduled = false;
  }

  start() {
    const requested = location.hash.slice(1);
    const first = ROLES.includes(requested) ? requested : ROLES[0];
    for (const input of document.querySelectorAll("input[name=role]")) {
      input.checked = input.value === first;
      input.addEventListener("change", () => this.connectAs(input.value));
    }
    byId("again").addEventListener("click", () => this.connectAs(this.connection.role));
    byId("pause").addEventListener("click", () => this.togglePause());
    byId("family").addEventListener("change", ({ target }) => this.stream.show(target.value));
    window.addEventListener("online", () => this.connection.reconnectNow());
    setInterval(() => this.redrawBoard(), 1000);
    this.connectAs(first);
  }

  connectAs(role) {
    if (this.connection) {
      this.connection.stop();
      // Another role may see other events and other fields.
      if (role !== this.connection.role) this.stream.clear();
      history.replaceState(null, "", `#${role}`);
    }
    this.reset();
    this.connection = new Connection(role, this);
  }

  togglePause() {
    this.stream.paused = !this.stream.paused;
    byId("pause").setAttribute("aria-pressed", String(this.stream.paused));
    this.draw();
  }

  // Called by the connection

  link(linkState, text) {
    byId("link").dataset.state = linkState;
    document.body.dataset.link = linkState;
    byId("again").hidden = linkState !== "stopped";
    setText(byId("link-text"), text);
  }

  control(type, text, kind) {
    this.stream.note(type, text, kind);
    this.draw();
  }

  welcome(payload) {
    this.skew = Date.parse(payload.server_time) - Date.now() || 0;
    setText(byId("tenant"), payload.tenant_id);
    setText(byId("user"), `${payload.user_id} (${payload.role})`);
    setText(byId("epoch"), payload.epoch);
  }

  position(epoch, seq) {
    this.at = { epoch, seq };
    this.draw();
  }

  event(message) {
    this.seen += 1;
    this.board.apply(message);
    this.stream.add(new Date(message.timestamp), message.type, describe(message), "event");
    if (message.type === "alert") this.alert(message.payload);
    this.draw();
  }

  figure(message) {
    this.board.take(message);
    this.draw();
  }

  snapshot(events, figures) {
    this.board.clear();
    for (const message of events) this.board.apply(message);
    for (const message of figures) this.board.take(message);
    this.draw();
  }

  acknowledge(alert) {
    this.connection.send("alert.ack", { alert_id: alert });
  }

  reset() {
    this.board.clear();
    this.draw();
  }

  alert(payload) {
    const box = byId("alert");
    box.dataset.severity = payload.severity || "info";
    setText(box, `${payload.title}: ${payload.message}`);
    box.hidden = false;
    clearTimeout(this.alertTimer);
    this.alertTimer = setTimeout(() => (box.hidden = true), 30000);
  }

  // Drawing, at most once per frame

  draw() {
    if (this.scheduled) return;
    this.scheduled = true;
    requestAnimationFrame(() => {
      this.scheduled = false;
      this.stream.render();
      setText(byId("seen"), this.seen);
      if (this.at) {
        setText(byId("epoch"), this.at.epoch);
        setText(byId("seq"), this.at.seq);
      }
      if (this.board.changed) this.drawBoard();
    });
  }

  redrawBoard() {
    this.board.changed = true;
    this.draw();
  }

  drawBoard() {
    this.board.changed = false;
    const { board } = this;
    const queues = board.queues();
    const agents = [...board.agents].sort(([, a], [, b]) => String(a.name).localeCompare(String(b.name)));
    const alerts = [...board.alerts].sort(([, a], [, b]) => String(b.since).localeCompare(String(a.since)));
    const mayAcknowledge = this.connection.role === "supervisor";
    reconcile(byId("queues"), queues.map(([name, p]) => [name, [p, board.isAlarmed(name)]]), makeQueue, fillQueue);
    const figuresOf = (id) => board.figures.get(`agent.stats:${id}`);
    reconcile(byId("agents"), agents.map(([id, one]) => [id, [one, figuresOf(id)]]), makeAgent, fillAgent);
    const make = makeAlert((alert) => this.acknowledge(alert));
    reconcile(byId("alerts"), alerts.map(([key, one]) => [key, [one, mayAcknowledge]]), make, fillAlert);
    byId("queues-empty").hidden = queues.length > 0;
    byId("agents-empty").hidden = agents.length > 0;
    byId("alerts-empty").hidden = alerts.length > 0;
    const free = agents.filter(([, one]) => one.state === "available").length;
    setText(byId("agents-count"), agents.length ? `${agents.length} logged in, ${free} available` : "");
    setText(byId("definitions"), definitions(queues).join("\n"));
    const tenant = board.figures.get("tenant.stats:");
    const calls = tenant?.today;
    setText(byId("calls"), calls ? `today (${tenant.time_zone}): ${calls.calls_offered} calls, ${calls.calls_answered} answered` : "");
    this.tick();
  }

  // Ages are computed from instants. They stand still while nothing comes in: what is shown is old then.
  tick() {
    if (document.body.dataset.link !== "live") return;
    const now = Date.now() + this.skew;
    const age = (node) => duration(now - node.dataset.since);
    for (const node of byId("agents").children) setText(node.querySelector(".since"), age(node));
    for (const node of document.querySelectorAll(".longest")) if (node.dataset.since) setText(node, `longest ${age(node)}`);
    for (const node of document.querySelectorAll(".raised .since")) setText(node, `for ${age(node)}`);
  }
}

new Page().start();
