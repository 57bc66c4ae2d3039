// What a page shows, made from the slots and figures of the store: agents, queues, calls, chats, alerts, sources, presence.

/** @typedef {import("./store.js").Store} Store */
/** @typedef {import("./store.js").Entity} Entity */
/** @typedef {import("./types.js").Message} Message */
/**
 * `online` is null for users who are not told of presence. `figures` is the payload of `agent.stats`.
 * @typedef {{id: string, name: string, state: string, since: number, reason: string | null, extension: string | null,
 *   queues: readonly string[], paused_in: readonly string[], online: boolean | null,
 *   figures: import("../types/events.js").Events["agent.stats"] | null}} Agent
 */
/**
 * Instants are Unix ms, rates and levels percentages, waits seconds. `calls` are those that wait. `source` says where the
 * present numbers come from: the gateway's figures, a sender's `queue.stats`, or the events of calls and members.
 * @typedef {{name: string, waiting: number, longest_wait_since: number | null, available: number, staffed: number | null,
 *   logged_in: number, paused: number | null, talking: number | null, interacting: number | null,
 *   service_level: {last_30m: number | null, today: number | null, target: number | null, seconds: number | null,
 *     method: string | null},
 *   abandon_rate: {last_30m: number | null, today: number | null}, average_wait: {today: number | null},
 *   offered_today: number | null, answered_today: number | null, abandoned_today: number | null,
 *   members: readonly string[], calls: readonly string[], alerts: readonly Alert[],
 *   source: "gateway" | "sender" | "events", incomplete_since: number | null,
 *   figures: import("../types/events.js").Events["queue.stats"] | null}} Queue
 */
/**
 * @typedef {{id: string, state: "incoming" | "waiting" | "ringing" | "talking" | "hold", queue: string | null,
 *   agent_id: string | null, agent_name: string | null, caller_id: string | null, caller_name: string | null,
 *   destination: string | null, direction: string | null, since: number, started_at: number}} Call
 */
/**
 * `delivered`: the id of the last message that the visitor's page has received.
 * @typedef {{id: string, state: "waiting" | "assigned", visitor_name: string | null, visitor_email: string | null,
 *   status: string | null, queue: string | null, agent_id: string | null, agent_name: string | null, since: number,
 *   delivered: string | null,
 *   messages: readonly import("../types/events.js").EventMessage<"chat.message">[]}} Chat
 */
/**
 * @typedef {{key: string, alert_id: string, rule: string, queue: string | null, source: string | null,
 *   metric: string | null, window: string | null, value: number | null, threshold: number | null,
 *   severity: string | null, since: number, acknowledged: boolean, by: string | null, note: string | null}} Alert
 */
/**
 * @typedef {{name: string, up: boolean, since: number, kind: string | null, reason: string | null,
 *   version: string | null, commands: string[] | null}} Source
 */
/** @typedef {{user_id: string, online: true, connections: number | null}} Presence */

const NON_PRODUCTIVE = ["away", "break"];

/** @param {any} instant */
const ms = (instant) => Date.parse(instant);
/** @param {any} value @returns {string | null} */
const text = (value) => (value == null ? null : String(value));
/**
 * @param {any} payload
 * @param {string} names
 * @param {(value: any) => any} [make]
 * @returns {any} these fields, null if they are absent
 */
const given = (payload, names, make = (value) => value ?? null) =>
  Object.fromEntries(names.split(" ").map((name) => [name, make(payload[name])]));
/** @param {any} payload @param {string} names */
const texts = (payload, names) => given(payload, names, text);
/** @param {Message} one @param {Message} other */
export const bySeq = (one, other) => Number(one.seq) - Number(other.seq);
/** @param {Entity} entity */
const newestFirst = ({ slots }) => (slots.size > 1 ? [...slots.values()].sort(bySeq).reverse() : [...slots.values()]);
/** @param {Entity} entity */
const newest = (entity) => newestFirst(entity)[0];

/**
 * Views of a kind, by id. An object stays the same until something in it changes, and so does the list.
 * @template T
 */
export class View {
  /** @type {Map<string, T>} */
  #views = new Map();
  /** @type {readonly T[]} */
  #list = [];
  #revision = -1;
  #seen = -1;
  #store;
  #kinds;
  #make;

  /**
   * @param {Store} store
   * @param {string[]} kinds what the views are made of
   * @param {(store: Store) => Map<string, T>} make
   */
  constructor(store, kinds, make) {
    this.#store = store;
    this.#kinds = kinds;
    this.#make = make;
  }

  /** @param {string | number} id */
  get(id) {
    return this.#present().get(String(id));
  }

  list() {
    this.#present();
    return this.#list;
  }

  #present() {
    if (this.#seen === this.#store.revision) return this.#views;
    this.#seen = this.#store.revision;
    const revision = Math.max(...this.#kinds.map((kind) => this.#store.revisionOf(kind)));
    if (revision === this.#revision) return this.#views;
    this.#revision = revision;
    const made = this.#make(this.#store);
    for (const [id, view] of made) {
      const known = this.#views.get(id);
      made.set(id, known && isEqual(known, view) ? known : Object.freeze(view));
    }
    const list = [...made.values()];
    if (!isEqual(this.#list, list)) this.#list = Object.freeze(list);
    return (this.#views = made);
  }
}

/** @param {any} one @param {any} other @returns {boolean} */
export function isEqual(one, other) {
  if (Object.is(one, other)) return true;
  if (typeof one !== "object" || typeof other !== "object" || !one || !other) return false;
  const names = Object.keys(one);
  return names.length === Object.keys(other).length && names.every((name) => isEqual(one[name], other[name]));
}

/**
 * @template T
 * @param {Iterable<T>} items
 * @param {(item: T) => string} key
 * @returns {Map<string, T[]>}
 */
function groupBy(items, key) {
  /** @type {Map<string, T[]>} */
  const groups = new Map();
  for (const item of items) {
    const group = groups.get(key(item)) ?? [];
    groups.set(key(item), group);
    group.push(item);
  }
  return groups;
}

/**
 * @template T
 * @param {T[]} views
 * @param {keyof T} id
 * @param {keyof T} order
 * @returns {Map<string, T>}
 */
function sorted(views, id, order) {
  views.sort((one, other) => (one[order] < other[order] ? -1 : one[order] > other[order] ? 1 : 0));
  return new Map(views.map((view) => [/** @type {string} */ (view[id]), view]));
}

/** @param {Entity} member */
const isPaused = (member) => {
  const { type, payload } = newest(member);
  return type === "queue.member.paused" || (type === "queue.member.added" && payload.paused === true);
};

/** @param {Store} store @returns {Map<string, Agent>} */
export function agents(store) {
  const members = groupBy(store.entities("member"), ({ id }) => id[1]);
  const figures = new Map(store.figures("agent.stats").map((figure) => [String(figure.user_id), figure]));
  const online = store.entities("presence");
  const present = new Set(online.map(({ id }) => id[0]));
  const found = store.entities("agent").map((entity) => {
    const { payload, timestamp } = newest(entity);
    const id = entity.id[0];
    const own = members.get(id) ?? [];
    return {
      id,
      name: payload.username,
      state: payload.state ?? "available",
      since: ms(payload.since_at ?? timestamp),
      reason: payload.reason ?? null,
      extension: text(payload.extension),
      queues: own.map((member) => member.id[0]).sort(),
      paused_in: own.filter(isPaused).map((member) => member.id[0]).sort(),
      online: online.length ? present.has(id) : null,
      figures: figures.get(id) ?? null,
    };
  });
  return sorted(found, "id", "name");
}

/** @param {Store} store @returns {Map<string, Call>} */
export function calls(store) {
  const found = store.entities("call").map((entity) => {
    const messages = newestFirst(entity);
    const [ring, talk] = messages.filter(({ type }) => !type.endsWith("hold"));
    // It rings at a colleague who is consulted: the conversation goes on.
    if (ring?.type === "call.ringing" && (talk?.type === "call.answered" || talk?.payload.transfer_type === "attended")) messages.splice(messages.indexOf(ring), 1);
    /** @param {string} name */
    const last = (name) => messages.find(({ payload }) => payload[name] != null)?.payload[name] ?? null;
    const decisive = messages.find(({ type }) => type !== "call.transferred") ?? messages[0];
    const handled = messages.find(({ type }) => !type.endsWith("hold")) ?? messages[0];
    const { to_agent_id, agent_id, agent_name } = handled.payload;
    const isTransfer = handled.type === "call.transferred";
    const agent = text(isTransfer ? to_agent_id : agent_id);
    return {
      id: entity.id[0],
      state: STATES[decisive.type],
      queue: text(last("queue_name")),
      agent_id: agent,
      agent_name: (isTransfer ? null : agent_name) ?? (agent === null ? null : (store.agent(agent)?.name ?? null)),
      caller_id: text(last("caller_id")),
      caller_name: last("caller_name"),
      destination: text(last("destination")),
      direction: last("direction"),
      since: ms(decisive.timestamp),
      started_at: ms(last("started_at") ?? messages[messages.length - 1].timestamp),
    };
  });
  return sorted(found, "id", "started_at");
}

/** @type {{[type: string]: Call["state"]}} */
const STATES = {
  "call.incoming": "incoming",
  "queue.joined": "waiting",
  "call.ringing": "ringing",
  "call.answered": "talking",
  "call.hold": "hold",
  "call.unhold": "talking",
  "call.transferred": "talking",
};

/** @param {Store} store @returns {Map<string, Chat>} */
export function chats(store) {
  const found = store.entities("chat").map((entity) => {
    const messages = newestFirst(entity);
    /** @param {string} name */
    const last = (name) => messages.find(({ type }) => type === `chat.${name}`);
    const started = last("session.started");
    // Neither is there if only a later event of a chat is known that was removed for its age.
    const assigned = messages.find(({ type }) => type !== "chat.delivered") ?? messages[0];
    const { to_agent_id, agent_id, agent_name } = assigned.payload;
    const agent = text(to_agent_id ?? agent_id);
    return {
      ...given(started?.payload ?? {}, "visitor_name visitor_email status"),
      id: entity.id[0],
      state: /** @type {Chat["state"]} */ (agent === null ? "waiting" : "assigned"),
      queue: text(started?.payload.queue_name),
      agent_id: agent,
      agent_name: agent_name ?? (agent === null ? null : (store.agent(agent)?.name ?? null)),
      since: ms((started ?? assigned).timestamp),
      delivered: text(last("delivered")?.payload.message_id),
      messages: /** @type {any[]} */ (entity.messages),
    };
  });
  return sorted(found, "id", "since");
}

/** @param {Store} store @returns {Map<string, Alert>} */
export function alerts(store) {
  const found = store.entities("alert").map((entity) => {
    const { type, payload } = newest(entity);
    return {
      ...given(payload, "metric window value threshold severity note"),
      ...texts(payload, "alert_id rule source by"),
      key: entity.key,
      queue: text(payload.queue_name),
      since: ms(payload.since),
      acknowledged: type === "queue.alert.acknowledged",
    };
  });
  return sorted(found, "key", "since");
}

/** @param {Store} store @returns {Map<string, Source>} */
export function sources(store) {
  const found = store.entities("source").map((entity) => {
    const { type, timestamp, payload } = newest(entity);
    return {
      ...given(payload, "kind reason version commands"),
      name: entity.id[0],
      up: type === "source.up",
      since: ms(payload.since ?? timestamp),
    };
  });
  return sorted(found, "name", "name");
}

/** @param {Store} store @returns {Map<string, Presence>} */
export function presence(store) {
  return new Map(
    store.entities("presence").map((entity) => {
      const connections = newest(entity).payload.connections ?? null;
      return [entity.id[0], { user_id: entity.id[0], online: true, connections }];
    }),
  );
}

/** @param {Store} store @returns {Map<string, Queue>} */
export function queues(store) {
  const figures = new Map(store.figures("queue.stats").map((figure) => [String(figure.queue_name), figure]));
  const sent = new Map(store.entities("queue").map((entity) => [entity.id[0], newest(entity)]));
  const members = groupBy(store.entities("member"), ({ id }) => id[0]);
  const joined = store.entities("call").flatMap((entity) => {
    const message = newestFirst(entity).find(({ type }) => type === "queue.joined");
    return message ? [{ id: entity.id[0], queue: String(message.payload.queue_name), since: ms(message.timestamp) }] : [];
  });
  const waiting = groupBy(joined.sort((one, other) => one.since - other.since), ({ queue }) => queue);
  const raised = groupBy(store.alerts(), ({ queue }) => queue ?? "");
  const names = new Set([...figures.keys(), ...sent.keys(), ...members.keys(), ...waiting.keys()]);
  const found = [...names].map((name) => {
    const figure = figures.get(name) ?? sent.get(name)?.payload ?? null;
    const own = members.get(name) ?? [];
    const calls = waiting.get(name) ?? [];
    const present = figure ? ofFigure(figure, sent.get(name)) : ofEvents(store, own, calls);
    return {
      name,
      ...present,
      ...ofWindows(figure ?? {}),
      members: own.map(({ id }) => id[1]).sort(),
      calls: calls.map(({ id }) => id),
      alerts: raised.get(name) ?? [],
      source: /** @type {Queue["source"]} */ (figures.has(name) ? "gateway" : figure ? "sender" : "events"),
      figures: figure,
    };
  });
  return sorted(found, "name", "name");
}

/** @param {any} figure @param {Message | undefined} sent */
function ofFigure(figure, sent) {
  const { longest_wait_since: since, longest_wait_time: wait } = figure;
  const isWaiting = figure.calls_waiting > 0;
  return {
    waiting: figure.calls_waiting,
    longest_wait_since: since ? ms(since) : sent && isWaiting && wait != null ? ms(sent.timestamp) - wait * 1000 : null,
    available: figure.available_agents,
    staffed: figure.staffed_agents ?? null,
    logged_in: figure.logged_in_agents,
    paused: figure.paused_agents ?? null,
    talking: figure.talking_agents ?? null,
    interacting: figure.interacting_calls ?? null,
  };
}

/** @param {Store} store @param {readonly Entity[]} members @param {{since: number}[]} calls */
function ofEvents(store, members, calls) {
  const own = members.flatMap((member) => {
    const agent = store.agent(member.id[1]);
    return agent && agent.state !== "offline" ? [{ state: agent.state, paused: isPaused(member) }] : [];
  });
  return {
    waiting: calls.length,
    longest_wait_since: calls.length ? calls[0].since : null,
    available: own.filter(({ state, paused }) => state === "available" && !paused).length,
    staffed: own.filter(({ state }) => !NON_PRODUCTIVE.includes(state)).length,
    logged_in: own.length,
    paused: own.filter(({ paused }) => paused).length,
    talking: own.filter(({ state }) => state === "talking").length,
    interacting: null,
  };
}

/** @param {any} figure */
function ofWindows({ today = {}, last_30m = {}, ...figure }) {
  return {
    service_level: {
      last_30m: last_30m.service_level ?? null,
      today: today.service_level ?? null,
      target: figure.service_level_target ?? null,
      seconds: figure.service_level_seconds ?? null,
      method: figure.service_level_method ?? null,
    },
    abandon_rate: { last_30m: last_30m.abandon_rate ?? null, today: today.abandon_rate ?? null },
    average_wait: { today: today.average_wait_time ?? figure.average_wait_time ?? null },
    offered_today: today.offered ?? null,
    answered_today: today.answered ?? null,
    abandoned_today: today.abandoned ?? null,
    incomplete_since: figure.incomplete_since ? ms(figure.incomplete_since) : null,
  };
}
