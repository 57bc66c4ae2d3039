/** The chat of a visitor: its session, its connection, and what is not sent yet. It has no page. */

import { randomId } from "../env.js";
import { CHAT_TIMEOUT_MS, RequestRefused } from "../requests.js";
import { MAX_KEPT, joined, linesOf, newAfter, withoutPublished } from "./messages.js";
import { nothingKept } from "./storage.js";

/** @typedef {import("../client.js").Client} Client */
/** @typedef {import("../types.js").EventMessage} EventMessage */
/** @typedef {import("../types.js").TokenRequest} TokenRequest */
/** @typedef {import("./storage.js").Kept} Kept */
/** @typedef {import("./storage.js").OfTab} OfTab */
/** @typedef {import("./storage.js").Unsent} Unsent */
/** @typedef {ReturnType<typeof chatOf>} Chat */

/** A notice about typing is valid for so long: the one that ends it may have been lost. */
const TYPING_MS = 6000;
/** The close codes after which a token is of no use: refused, revoked. @type {unknown[]} */
const SESSION_REFUSED = [4500, 4503];
/** A chat that is not in the state of the gateway is looked for again after this time: a node may be behind. */
const LOOK_AGAIN_MS = 1500;
/** `chat.delivered` is sent at most so often. */
const DELIVERED_MS = 1100;

/**
 * `token`: that of a visitor who is signed in at the site; `ended` is the session that cannot be continued.
 * @typedef {(request: TokenRequest & {ended: string | null}) => string | Promise<string>} SiteToken
 */

/**
 * @param {object} parts
 * @param {string} parts.url of `/ws/public`
 * @param {string} parts.tenant
 * @param {(url: string, options: import("../types.js").Options) => Client} parts.connect
 * @param {{read: () => Kept, write: (kept: Kept) => void}} parts.kept
 * @param {{read: () => OfTab, write: (value: OfTab) => void}} parts.tab
 * @param {() => SiteToken | undefined} parts.token
 * @param {() => string | null} parts.queue
 * @param {() => void} parts.changed there is something else to show
 * @param {(name: "message" | "started" | "ended", value: object) => void} parts.happened
 */
export function chatOf({ url, tenant, connect, kept: storage, tab, token, queue, changed, happened }) {
  let kept = storage.read();
  /** @type {Client | null} */
  let client = null;
  /** @type {import("../types.js").Status | null} */
  let link = null;
  /** @type {import("./storage.js").Shown[]} */
  let log = [];
  /** The name of the agent who has the chat, empty as long as it is not known. @type {string | null} */
  let agent = null;
  /** Who is typing. @type {{name: string | null} | null} */
  let typist = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let typingEnds;
  /** Why nothing can be sent: the chats of the tenant are another system's, or the gateway refuses this visitor. */
  let isRefused = false;
  /** Whether the gateway ended the session without a word: it is too old, or unknown. */
  let isExpired = false;
  /** The session that has ended, for the site's token. @type {string | null} */
  let ended = null;
  /** @type {Set<string>} */
  const underWay = new Set();
  /** @type {string | undefined} */
  let delivered;
  let deliveredAt = 0;

  const save = () => storage.write(kept);
  const saveLog = () => tab.write({ ...tab.read(), session: kept.session, log: log.slice(-MAX_KEPT), agent });

  // ---- The connection ----

  const open = () => {
    if (client) return;
    const site = token();
    const known = kept.token;
    /** @type {import("../types.js").Options} */
    const options = site
      ? { token: (request) => site({ ...request, ended }) }
      : known
        ? { token: () => known }
        : { anonymous: true, tenant };
    const made = (client = connect(url, { ...options, acknowledge: false }));
    made.on("session", ({ session_id, session_token }) => made === client && began(session_id, session_token));
    made.on("status", (status) => made === client && setLink(status));
    made.on("event", (event) => made === client && hear(event));
    made.on("rebuilt", () => made === client && compare());
    made.watch((store) => (kept.session === null ? undefined : store.chat(kept.session)), () => made === client && show());
  };

  const leave = () => {
    const left = client;
    client = link = null;
    underWay.clear();
    left?.close();
  };

  /** Note the session of an anonymous visitor; another tab may have begun one at the same time. @param {string} id @param {string} session_token */
  const began = (id, session_token) => {
    const stored = storage.read();
    if (stored.session !== null && stored.session !== id && stored.session !== ended && !stored.ended) {
      const unsent = [...stored.unsent, ...kept.unsent];
      kept = { ...stored, unsent };
      leave();
      open();
    } else {
      const expires = Date.parse(client?.identity?.token_expires_at ?? "");
      kept = { ...kept, session: id, token: session_token, expires: expires || null, ended: false };
    }
    save();
    pump();
  };

  /** @param {import("../types.js").Status} status */
  const setLink = (status) => {
    link = status;
    const { identity } = /** @type {Client} */ (client);
    if (identity?.session_id && identity.session_id !== kept.session && status.state !== "stopped") {
      // The site's token is for another chat than the one that is kept.
      if (kept.session !== null) kept = { ...nothingKept(), name: kept.name, email: kept.email, unsent: kept.unsent };
      log = [];
      kept.session = identity.session_id;
      save();
    }
    if (status.state === "stopped") stopped(status.reason?.code);
    changed();
  };

  /** The gateway refuses the session, or this visitor. @param {number | string | undefined} code */
  const stopped = (code) => {
    leave();
    const isUnknown = SESSION_REFUSED.includes(code);
    if (isUnknown && kept.started) {
      isExpired = true;
      finish();
    } else if (isUnknown && kept.token) {
      // A session in which nothing was said yet: another one does as well.
      kept = { ...kept, session: null, token: null };
      save();
      pump();
    } else {
      isRefused = true;
      kept.unsent = kept.unsent.map((one) => ({ ...one, failed: !one.isPublished }));
      save();
    }
  };

  // ---- Sending ----

  /** Send what is not sent: the first message of a chat alone, the others after it. */
  const pump = () => {
    const waiting = kept.unsent.filter(({ failed, isPublished }) => !failed && !isPublished);
    if (!waiting.length || kept.ended) return;
    open();
    for (const one of kept.started ? waiting : waiting.slice(0, 1)) {
      if (!underWay.has(one.id) && (!kept.started || kept.session !== null)) deliver(one);
    }
  };

  /** @param {Unsent} message */
  const deliver = async (message) => {
    const by = /** @type {Client} */ (client);
    const { id, body } = message;
    underWay.add(id);
    try {
      if (kept.started) await by.sendChat(/** @type {string} */ (kept.session), body, { clientMessageId: id });
      else await start(by, message);
      if (by === client) published(id);
    } catch (error) {
      if (by === client) refused(message, error);
    } finally {
      underWay.delete(id);
    }
    if (by !== client) return;
    changed();
    pump();
  };

  /** @param {Client} by @param {Unsent} message */
  const start = async (by, { id, body, offline }) => {
    const { name, email } = kept;
    const payload = {
      body,
      client_message_id: id,
      ...(name && { visitor_name: name }),
      ...(email && { visitor_email: email }),
      ...(queue() && { queue_name: queue() }),
      ...(offline && { is_offline: true }),
    };
    await by.request("chat.start", payload, { retry: true, timeoutMs: CHAT_TIMEOUT_MS });
    if (by !== client) return;
    kept.started = true;
    if (offline) kept.offline = email;
    save();
    happened("started", { session_id: kept.session });
  };

  /** Note that a message is published. It stays among the others until the store has it, in its place. @param {string} id */
  const published = (id) => {
    kept.unsent = kept.unsent.map((one) => (one.id === id ? { ...one, isPublished: true } : one));
    save();
    show();
  };

  /** @param {Unsent} message @param {unknown} error */
  const refused = (message, error) => {
    const code = error instanceof RequestRefused ? error.code : "";
    // Those of a client that is stopped are not lost: its status says what became of it.
    if (code === "stopped") return;
    if (code === "unknown_session" && kept.started) return finish();
    if (code === "unknown_session" && token() && ended !== kept.session) {
      // It has ended somewhere else: the site gives a token for another one.
      ended = kept.session;
      kept.session = null;
      leave();
      return pump();
    }
    if (code === "unknown_session") isRefused = true;
    console.warn("callcenter-ws widget:", error);
    kept.unsent = kept.unsent.map((one) => (one.id === message.id ? { ...one, failed: true } : one));
    save();
  };

  // ---- Receiving ----

  /** @param {EventMessage} event */
  const hear = (event) => {
    const { type, payload } = event;
    if (payload.session_id === undefined || String(payload.session_id) !== kept.session) return;
    if (type === "chat.typing" && payload.sender_type !== "visitor") setTyping(payload.is_typing ? (payload.sender_name ?? null) : false);
    else if (type === "chat.message" && payload.sender_type !== "visitor") {
      setTyping(false);
      happened("message", { sender_name: payload.sender_name ?? null, sender_type: payload.sender_type, body: payload.body });
    } else if (type === "chat.session.ended") finish();
  };

  /** @param {string | null | false} name */
  const setTyping = (name) => {
    clearTimeout(typingEnds);
    typist = name === false ? null : { name };
    if (typist) typingEnds = setTimeout(setTyping, TYPING_MS, false);
    changed();
  };

  const isMissing = () => kept.started && kept.session !== null && client && !client.store.chat(kept.session);

  /** Look into a new state: a chat that was begun and is not in it has ended. */
  const compare = () => {
    const by = client;
    if (isMissing()) setTimeout(() => by === client && by?.refresh().then(() => by === client && isMissing() && finish()).catch(() => {}), LOOK_AGAIN_MS);
    // The state has all that was published before, or what came after it.
    else kept.unsent = kept.unsent.filter(({ isPublished }) => !isPublished);
    show();
  };

  const show = () => {
    const chat = kept.session === null ? undefined : client?.store.chat(kept.session);
    if (chat) {
      log = joined(log, chat.messages);
      // An assignment does not always say the name; the agent's messages do.
      agent = chat.agent_name ?? chat.messages.filter(({ payload }) => payload.sender_id === chat.agent_id).pop()?.payload.sender_name ?? (chat.agent_id === null ? null : "");
      kept.unsent = withoutPublished(kept.unsent, chat.messages);
      // A node that is behind has perhaps not known it a moment ago.
      Object.assign(kept, { started: true, ended: false });
      save();
      saveLog();
      acknowledge();
    }
    changed();
  };

  /** Tell the agent which message has come last. */
  const acknowledge = () => {
    const last = log.filter(({ from }) => from !== "visitor").pop()?.id;
    if (last === undefined || last === delivered || !link?.leads || link.state !== "live") return;
    const now = Date.now();
    if (now < deliveredAt + DELIVERED_MS) return void setTimeout(acknowledge, DELIVERED_MS);
    deliveredAt = now;
    delivered = last;
    // It is not answered.
    client?.request("chat.delivered", { session_id: kept.session, message_id: last }, { timeoutMs: 1000 }).catch(() => {});
  };

  /** The chat has ended. What was not sent goes back to where it was written. */
  const finish = () => {
    if (!kept.ended) happened("ended", { session_id: kept.session });
    const bodies = kept.unsent.filter(({ isPublished }) => !isPublished).map(({ body }) => body);
    log = [...log, ...linesOf([], kept.unsent.filter(({ isPublished }) => isPublished))];
    saveLog();
    const state = tab.read();
    if (bodies.length) tab.write({ ...state, draft: [...bodies, state.draft].filter(Boolean).join("\n\n") });
    ended = kept.session;
    kept = { ...kept, ended: true, unsent: [] };
    setTyping(false);
    save();
    leave();
    changed();
  };

  const clear = () => {
    log = [];
    agent = null;
    isRefused = isExpired = false;
    saveLog();
  };

  /** @param {Partial<Kept>} [person] */
  const forget = (person) => {
    leave();
    kept = { ...nothingKept(), ...person };
    clear();
    save();
    changed();
  };

  return {
    /** Go on with the chat of an earlier page, or of another tab. */
    resume() {
      const state = tab.read();
      if (kept.session !== null && state.session === kept.session) ({ log, agent } = state);
      const isOver = kept.ended || (kept.expires !== null && kept.expires < Date.now());
      if (isOver && !log.length) forget();
      else if (isOver && !kept.ended) finish();
      else if (kept.started && !isOver) open();
      pump();
      changed();
    },
    /** Take what another tab has written. */
    adopt() {
      const before = kept;
      kept = storage.read();
      // What this tab sends is perhaps not among it.
      const own = before.unsent.filter(({ id }) => underWay.has(id) && !kept.unsent.some((one) => one.id === id));
      if (kept.session === before.session) {
        kept.unsent = [...kept.unsent, ...own];
        if (kept.ended && !before.ended) leave();
      } else if (before.session !== null || !own.length) {
        leave();
        clear();
      } else {
        kept.unsent = [...kept.unsent, ...own];
      }
      if (kept.started && !kept.ended) open();
      show();
    },
    /** @param {string} body @param {{name?: string, email?: string, offline?: boolean}} [person] */
    send(body, { name, email, offline = false } = {}) {
      if (name !== undefined) kept.name = name;
      if (email !== undefined) kept.email = email;
      isRefused = false;
      kept.unsent = [...kept.unsent, { id: randomId(), body, at: client?.now() ?? Date.now(), offline }];
      save();
      pump();
      changed();
    },
    /** Send those again that have failed. */
    retry() {
      isRefused = false;
      kept.unsent = kept.unsent.map(({ failed, ...one }) => one);
      save();
      pump();
      changed();
    },
    /** End the chat, for the agent, too. */
    end() {
      const by = client;
      const isOver = () => by === client && finish();
      client?.request("chat.end", { session_id: kept.session }, { retry: true }).then(isOver, ({ code }) => code === "unknown_session" && isOver());
    },
    /** Forget the chat that has ended; the visitor begins another one. */
    again: () => forget({ name: kept.name, email: kept.email }),
    /** Forget the visitor. */
    reset: () => forget(),
    /** @param {boolean} isTyping */
    type(isTyping) {
      if (kept.started && kept.session !== null) client?.sendTyping(kept.session, isTyping);
    },
    /** Note that all messages were read. */
    read() {
      const last = log[log.length - 1]?.id;
      if (last === undefined || last === kept.read) return;
      kept.read = last;
      save();
      changed();
    },
    /** Return whether this tab may make the sound for the messages that are unread, once. */
    rings() {
      const [last] = newAfter(log, storage.read().read).reverse();
      if (!last || last.id === storage.read().rang) return false;
      kept.rang = last.id;
      save();
      return true;
    },
    probe: () => client?.probe(),
    /** What there is to show. */
    get state() {
      return {
        phase: kept.ended ? /** @type {const} */ ("ended") : kept.started || kept.unsent.length ? /** @type {const} */ ("chat") : /** @type {const} */ ("none"),
        lines: linesOf(log, kept.unsent),
        unread: newAfter(log, kept.read).length,
        isCut: link?.state === "offline",
        name: kept.name,
        email: kept.email,
        offline: kept.offline,
        agent,
        typist,
        isRefused,
        isExpired,
      };
    },
  };
}
