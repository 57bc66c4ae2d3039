// The state of the tenant, reduced from a snapshot and the events after it by the gateway's own table of slots.
import { EFFECTS, FIGURES, LIFETIME_MS, MAX_LASTING, MAX_SLOTS } from "./slots.js";

import { agents, alerts, bySeq, calls, chats, isEqual, presence, queues, sources, View } from "./views.js";

/** @typedef {import("./slots.js").Effect} Effect */

/** @typedef {import("./types.js").Message} Message */

/** @typedef {{user_id: string, policy?: {agent_calls: string, agent_chats: string}}} Viewer */

/** @typedef {{epoch: string | null, seq: number, events: Message[], figures?: Message[]}} Snapshot */

/**
 * What the events of one agent, call, chat, … have left: the last message of each slot.
 * @typedef {{key: string, kind: string, id: string[], slots: Map<string, Message>, messages: Message[], at: number}} Entity
 */

/** @type {Map<string, Effect>} */
const SLOTS = new Map(EFFECTS.flatMap(([names, effect]) => names.split(" ").map((name) => [name, effect])));
const CHAT_CHARACTERS = 8 * 1024 * 1024;
const EXPIRY_INTERVAL_MS = 60_000;
const LATE_MESSAGES = 1_000;

/** @param {string} kind @param {...(string | number)} id */
export const keyOf = (kind, ...id) => JSON.stringify([kind, ...id.map(String)]);

/** @param {Message} message */
const size = (message) => JSON.stringify(message.payload).length;

const NAMING = /^call\.(ringing|answered|transferred)$/;
const AGENT = ["agent", "member", "presence", "agent.stats"];

export class Store {
  /** @type {string | null} */
  epoch = null;
  seq = 0;
  /** Grows with each change. */
  revision = 0;
  /** Whether only a snapshot has what came before: a chat was transferred to the user. @internal */
  isIncomplete = false;
  // Ordered by last change, the oldest first: entities that expire, and those that do not.
  /** @type {Map<string, Entity>} */
  #entities = new Map();
  /** @type {Map<string, Entity>} */
  #lasting = new Map();
  /** @type {Map<string, Message>} */
  #figures = new Map();
  // Mailbox messages that the stream has not reached.
  /** @type {Message[]} */
  #late = [];
  #slots = 0;
  #characters = 0;
  #expiredAt = 0;
  #chatMessages;
  #now;
  #viewer;
  /** The revision of the last change of each kind. @type {Map<string, number>} */
  #revisions = new Map();
  /** @type {Map<string, {revision: number, entities: Entity[]}>} */
  #lists = new Map();
  #agents = new View(this, AGENT, agents);
  #queues = new View(this, [...AGENT, "queue", "call", "alert", "queue.stats"], queues);
  #calls = new View(this, [...AGENT, "call"], calls);
  #chats = new View(this, [...AGENT, "chat"], chats);
  #alerts = new View(this, ["alert"], alerts);
  #sources = new View(this, ["source"], sources);
  #presence = new View(this, ["presence"], presence);

  /**
   * `now` is the gateway's clock, in Unix ms.
   * @overload
   * @param {{chatMessages?: number, now?: () => number}} [options]
   */
  /**
   * `viewer` is the user, with the `policy` of `welcome`.
   * @internal
   * @overload
   * @param {{chatMessages?: number, now?: () => number, viewer: () => Viewer | null}} options
   */
  /** @param {{chatMessages?: number, now?: () => number, viewer?: () => Viewer | null}} [options] */
  constructor({ chatMessages = 200, now = Date.now, viewer = () => null } = {}) {
    this.#chatMessages = chatMessages;
    this.#now = now;
    this.#viewer = viewer;
  }

  /**
   * Update the state with the next event of the stream; return the keys of the entities that changed.
   *
   * A mailbox message that the stream has not reached is kept until then: the events before it may follow.
   * @param {Message} message
   * @returns {Set<string>}
   */
  apply(message) {
    /** @type {Set<string>} */
    const changed = new Set();
    const seq = message.seq;
    if (seq === undefined || seq <= this.seq) return changed;
    if (message.offline || message.redelivered) {
      if (SLOTS.has(message.type) && this.#late.length < LATE_MESSAGES) this.#late.push(message);
      return changed;
    }
    this.#reach(seq - 1, changed);
    this.#expire(changed);
    this.#reduce(message, this.#now(), false, changed);
    this.seq = seq;
    return this.#note(changed);
  }

  /**
   * Move the position to that of `resumed`, when all events before it have been applied.
   * @param {number} seq
   * @returns {Set<string>}
   */
  advance(seq) {
    /** @type {Set<string>} */
    const changed = new Set();
    this.#reach(seq, changed);
    this.seq = Math.max(this.seq, seq);
    return this.#note(changed);
  }

  /**
   * Keep a figure unless a newer one is known; return its key.
   * @param {Message} message
   * @returns {string | null}
   */
  figure(message) {
    const fields = FIGURES[message.type];
    if (!fields) return null;
    const key = keyOf(message.type, ...fields.map((field) => message.payload[field] ?? ""));
    const known = this.#figures.get(key);
    if (known && this.#isOlder(message.payload, known.payload)) return null;
    // The gateway does not report which figures it has removed.
    if (this.#figures.size >= MAX_SLOTS) this.#figures.delete(/** @type {string} */ (this.#figures.keys().next().value));
    this.#figures.set(key, message);
    this.#note(new Set([key]));
    return key;
  }

  /** @param {any} figure @param {any} known */
  #isOlder(figure, known) {
    if (figure.epoch !== known.epoch) return known.epoch === this.epoch;
    const [at, knownAt] = [figure.as_of_seq ?? 0, known.as_of_seq ?? 0];
    return at < knownAt || (at === knownAt && Date.parse(figure.generated_at) < Date.parse(known.generated_at));
  }

  /**
   * Replace the state by a snapshot; return the keys of the entities and figures that differ.
   * @param {Snapshot} snapshot
   * @returns {Set<string>}
   */
  load({ epoch, seq, events, figures = [] }) {
    const before = new Map([...this.#entities, ...this.#lasting]);
    const figuresBefore = this.#figures;
    /** @type {Set<string>} */
    const changed = new Set();
    this.#entities = new Map();
    this.#lasting = new Map();
    this.#slots = this.#characters = 0;
    const now = this.#now();
    for (const message of [...events].sort(bySeq)) {
      // An instant of a sender whose clock is wrong says nothing about the age.
      const at = Date.parse(message.timestamp);
      this.#reduce(message, at > now - LIFETIME_MS && at < now ? at : now, true, changed);
    }
    for (const entity of this.#entities.values()) if (!entity.slots.size) this.#forget(this.#entities, entity, changed);
    this.epoch = epoch;
    this.seq = seq;
    this.isIncomplete = false;
    // The mailbox precedes the snapshot, which has what it holds.
    this.#late = [];
    // The figures of the own agent follow as messages, if there are any in this epoch.
    const isOwn = (/** @type {Message} */ { user_id, payload }) => user_id !== undefined && payload.epoch === epoch;
    this.#figures = new Map([...figuresBefore].filter(([, figure]) => isOwn(figure)));
    for (const figure of figures) {
      const key = this.figure(figure);
      const known = key && figuresBefore.get(key);
      if (known && isEqual(known.payload, figure.payload)) this.#figures.set(key, known);
    }
    changed.clear();
    for (const entities of [this.#entities, this.#lasting]) {
      for (const [key, entity] of entities) {
        const known = before.get(key);
        if (known && contentOf(known) === contentOf(entity)) entities.set(key, { ...known, at: entity.at });
        else changed.add(key);
        before.delete(key);
      }
    }
    for (const key of before.keys()) changed.add(key);
    for (const key of new Set([...figuresBefore.keys(), ...this.#figures.keys()])) {
      if (figuresBefore.get(key) !== this.#figures.get(key)) changed.add(key);
    }
    return this.#note(changed);
  }

  /** @param {Set<string>} changed */
  #note(changed) {
    if (changed.size) this.revision++;
    for (const key of changed) this.#revisions.set(JSON.parse(key)[0], this.revision);
    return changed;
  }

  /**
   * Return the state as a snapshot, from which `load` makes the same state.
   * @returns {Required<Snapshot>}
   */
  dump() {
    const events = [...this.#entities.values(), ...this.#lasting.values()].flatMap((entity) => [
      ...entity.slots.values(),
      ...entity.messages,
    ]);
    events.sort(bySeq);
    return { epoch: this.epoch, seq: this.seq, events, figures: [...this.#figures.values()] };
  }

  /**
   * The messages in the slots of an entity, by the slot's name; those for the user alone have its id behind a NUL.
   * @param {string} kind
   * @param {...(string | number)} id
   * @returns {Record<string, import("../types/events.js").EventMessage>}
   */
  slots(kind, ...id) {
    const key = keyOf(kind, ...id);
    const entity = this.#entities.get(key) ?? this.#lasting.get(key);
    return /** @type {Record<string, any>} */ (Object.fromEntries(entity?.slots ?? []));
  }

  /**
   * The payloads of the live figures of a type; with a key, of this queue or agent only.
   * @template {import("../types/events.js").FigureType} T
   * @param {T} type
   * @param {string} [key]
   * @returns {import("../types/events.js").Events[T][]}
   */
  figures(type, key) {
    const found = [...this.#figures.values()].filter(
      ({ type: known, payload }) =>
        known === type && (key === undefined || FIGURES[type].every((field) => String(payload[field]) === key)),
    );
    return found.map(({ payload }) => payload);
  }

  /** @param {string | number} id */
  agent(id) {
    return this.#agents.get(id);
  }

  agents() {
    return this.#agents.list();
  }

  /** @param {string | number} name */
  queue(name) {
    return this.#queues.get(name);
  }

  queues() {
    return this.#queues.list();
  }

  /** @param {string | number} id */
  call(id) {
    return this.#calls.get(id);
  }

  calls() {
    return this.#calls.list();
  }

  /** @param {string | number} id */
  chat(id) {
    return this.#chats.get(id);
  }

  chats() {
    return this.#chats.list();
  }

  alerts() {
    return this.#alerts.list();
  }

  sources() {
    return this.#sources.list();
  }

  /** @param {string | number} id a user who is online */
  presence(id) {
    return this.#presence.get(id);
  }

  /** For views: the revision of the last change of a kind of entities or figures. @internal @param {string} kind */
  revisionOf(kind) {
    return this.#revisions.get(kind) ?? 0;
  }

  /**
   * For views: the entities of a kind, not to be changed.
   * @internal
   * @param {string} kind
   * @returns {readonly Entity[]}
   */
  entities(kind) {
    const revision = this.revisionOf(kind);
    const known = this.#lists.get(kind);
    if (known?.revision === revision) return known.entities;
    const all = [...this.#entities.values(), ...this.#lasting.values()];
    const entities = all.filter((entity) => entity.kind === kind);
    this.#lists.set(kind, { revision, entities });
    return entities;
  }

  /**
   * Apply the mailbox messages up to a position.
   * @param {number} seq
   * @param {Set<string>} changed
   */
  #reach(seq, changed) {
    if (!this.#late.length) return;
    this.#late.sort(bySeq);
    while (this.#late.length && Number(this.#late[0].seq) <= seq) {
      this.#reduce(/** @type {Message} */ (this.#late.shift()), this.#now(), false, changed);
    }
  }

  /**
   * @param {Message} message
   * @param {number} at
   * @param {boolean} isLoaded
   * @param {Set<string>} changed
   */
  #reduce(message, at, isLoaded, changed) {
    const effect = SLOTS.get(message.type);
    if (!effect || message.seq === undefined) return;
    const { payload, user_id: user } = message;
    if (effect.appends && user !== undefined) return;
    const id = effect.entity.map((names) => String(names.map((name) => payload[name]).find((value) => value != null) ?? ""));
    const key = keyOf(effect.kind, ...id);
    const entities = effect.lasting ? this.#lasting : this.#entities;
    const known = entities.get(key);
    const drops = effect.while_true && payload[effect.while_true] !== true ? "*" : effect.drops;
    if (!known && (drops || (effect.appends && !isLoaded))) return;
    const entity = known ?? { key, kind: effect.kind, id, slots: new Map(), messages: [], at };
    entity.at = at;
    entities.delete(key);
    entities.set(key, entity);
    if (effect.appends) this.#append(entity, message);
    else if (drops) this.#empty(entity, drops, user);
    else {
      const slot = user === undefined ? `${effect.keeps}` : `${effect.keeps}\0${user}`;
      if (!entity.slots.has(slot)) this.#slots++;
      entity.slots.set(slot, message);
    }
    changed.add(key);
    const isEmpty = drops && !entity.slots.size;
    if (isEmpty || (!isLoaded && user === undefined && this.#isTaken(entity, message, known))) {
      this.#forget(entities, entity, changed);
    }
    this.#limit(changed);
  }

  /**
   * Whether another agent has taken a call or a chat, of which this one is sent nothing more.
   * @param {Entity} entity
   * @param {Message} message
   * @param {Entity | undefined} known
   */
  #isTaken({ kind, slots }, { type, payload }, known) {
    const { user_id, policy } = this.#viewer() ?? {};
    /** @param {any} payload */
    const agent = ({ to_agent_id, agent_id }) => String(to_agent_id ?? agent_id ?? user_id);
    if (kind === "chat" && policy?.agent_chats === "own" && type !== "chat.message") {
      if (agent(payload) !== user_id) return true;
      if (!known && type === "chat.transferred") this.isIncomplete = true;
    }
    if (type !== "queue.left" || policy?.agent_calls !== "own") return false;
    return ![...slots.values()].some(({ type, payload }) => NAMING.test(type) && agent(payload) === user_id);
  }

  /**
   * @param {Entity} entity
   * @param {string} drops
   * @param {string | undefined} user
   */
  #empty({ slots }, drops, user) {
    for (const slot of [...slots.keys()]) {
      const [name, owner] = slot.split("\0");
      if ((drops === "*" || drops === name) && (user === undefined || user === owner)) {
        slots.delete(slot);
        this.#slots--;
      }
    }
  }

  /** @param {Entity} entity @param {Message} message */
  #append(entity, message) {
    entity.messages = [...entity.messages, message];
    this.#characters += size(message);
    if (entity.messages.length > this.#chatMessages) this.#shorten(entity);
    while (this.#characters > CHAT_CHARACTERS) {
      let oldest = entity;
      for (const other of this.#entities.values()) {
        if (other.messages.length && Number(other.messages[0].seq) < Number(oldest.messages[0].seq)) oldest = other;
      }
      this.#shorten(oldest);
    }
  }

  /** @param {Entity} entity */
  #shorten(entity) {
    this.#characters -= size(entity.messages[0]);
    entity.messages = entity.messages.slice(1);
  }

  /** @param {Set<string>} changed */
  #limit(changed) {
    while (this.#slots - this.#lasting.size > MAX_SLOTS) {
      const entities = this.#entities.size ? this.#entities : this.#lasting;
      this.#forget(entities, /** @type {Entity} */ (entities.values().next().value), changed);
    }
    while (this.#lasting.size > MAX_LASTING) {
      this.#forget(this.#lasting, /** @type {Entity} */ (this.#lasting.values().next().value), changed);
    }
  }

  /** @param {Set<string>} changed */
  #expire(changed) {
    const now = this.#now();
    if (now < this.#expiredAt + EXPIRY_INTERVAL_MS) return;
    this.#expiredAt = now;
    for (const entity of this.#entities.values()) {
      if (entity.at < now - LIFETIME_MS) this.#forget(this.#entities, entity, changed);
    }
  }

  /**
   * @param {Map<string, Entity>} entities
   * @param {Entity} entity
   * @param {Set<string>} changed
   */
  #forget(entities, entity, changed) {
    this.#slots -= entity.slots.size;
    for (const message of entity.messages) this.#characters -= size(message);
    entities.delete(entity.key);
    changed.add(entity.key);
  }
}

/** What an entity holds, as text. @param {Entity} entity */
const contentOf = ({ slots, messages }) => [...slots.values(), ...messages].map(({ id }) => id).sort().join();
