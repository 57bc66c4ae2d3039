/** The part of the leading tab: has the connection, and passes on what it receives. */

import { Connection } from "./connection.js";

/** A token that was fetched to find out whose it is serves for the first connection, if that follows soon. */
const FRESH_MS = 5000;
const FORGET_TAB_MS = 300000;

/**
 * @param {import("./types.js").Tab} tab
 * @param {import("./tab_tokens.js").TabTokens} tokens
 * @param {{token: string | null, at: number} | null} first a token that was not used, and when it was fetched
 */
export function leaderOf(tab, tokens, first) {
  const { host, options, env } = tab;
  /** The number of the last frame. */
  let frame = 0;
  /** The other tabs. @type {Map<string, {seen: number, visible: number}>} */
  const tabs = new Map();
  /** Tabs that wait for the state. @type {Set<string>} */
  const wanting = new Set();
  let stopped = false;

  /** Messages of the mailbox precede the replay that does not have them: in between, no position says what was passed on. */
  const here = () => tab.post("here", { at: tab.status.state === "catching_up" ? null : host.position(), frame, status: tab.status });

  /** Report how many tabs share the connection. */
  const share = () => {
    const shared = tabs.size + 1;
    host.shared(true, shared);
    tab.post("status", { status: tab.status, shared });
  };

  const sendStates = () => {
    if (!wanting.size) return;
    const state = host.dump();
    for (const to of wanting) tab.post("state", { to, frame, state, status: tab.status });
    wanting.clear();
  };

  /** @param {string} id @param {boolean | undefined} isVisible */
  const see = (id, isVisible) => {
    const seen = env.now();
    const known = tabs.get(id);
    tabs.set(id, { seen, visible: isVisible ? seen : (known?.visible ?? -1) });
    if (!known) share();
  };

  /** @type {import("./types.js").Host} */
  const own = {
    ...host,
    receive(message) {
      frame += 1;
      tab.post("frames", { frame, messages: [message] });
      host.receive(message);
    },
    status(status) {
      if (stopped) return;
      tab.post("status", { status });
      tab.tell(status);
      if (status.state !== "catching_up") sendStates();
    },
    async token(reason) {
      const fresh = first;
      first = null;
      if (fresh && env.now() - fresh.at < FRESH_MS) return fresh.token;
      // The tab that the user saw last is the most likely to answer.
      const others = [...tabs].sort((a, b) => b[1].visible - a[1].visible);
      return tokens.token(reason, others.map(([id]) => id));
    },
  };
  const connection = new Connection(own, { ...options }, env, tab.status);
  tab.status = connection.status;

  return {
    leads: true,
    isSilent: () => false,
    start() {
      here();
      host.leader();
      share();
      connection.start();
    },
    /** Close the connection without a status: another tab leads, or this one is closed. */
    stop() {
      stopped = true;
      connection.stop(null);
    },
    /** @param {object} message */
    send: (message) => connection.send(message),
    probe: () => connection.probe(),
    online: () => connection.online(),
    ask() {},
    begin() {},
    /** Forget tabs that were frozen. */
    tick() {
      const known = tabs.size;
      for (const [id, { seen }] of tabs) if (env.now() - seen > FORGET_TAB_MS) tabs.delete(id);
      if (tabs.size < known) share();
      return false;
    },
    /** Take a message of another tab. @param {any} message */
    hear({ type, from, visible, probe, heartbeat, message }) {
      if (type === "bye") {
        wanting.delete(from);
        if (tabs.delete(from)) share();
        return;
      }
      see(from, visible);
      if (type === "ask") {
        here();
        connection.limit(heartbeat);
        if (probe) connection.probe();
        else connection.tick();
      } else if (type === "want") {
        wanting.add(from);
        // In the middle of a replay the state is not complete.
        if (tab.status.state !== "catching_up") sendStates();
      } else if (type === "send") {
        connection.send(message);
      }
    },
  };
}
