// A world for tests: time that the test moves, sockets that it answers, and a page whose events it sends.
import { Client } from "../src/client.js";

/** A token with these claims; its signature is none. */
export function token(claims = {}) {
  const text = JSON.stringify({ tenant_id: "acme", sub: "ada", role: "agent", ...claims });
  return `e30.${Buffer.from(text).toString("base64url")}.c2ln`;
}

/** Let promises that are settled run their callbacks. */
export const settle = () => new Promise((resolve) => setImmediate(resolve));

export class World {
  time = 0;
  /** What `Date.now()` is at time 0. */
  epoch = Date.parse("2026-11-22T09:00:00.000Z");
  randomly = 0.5;
  sockets = [];
  fetched = [];
  fetches = () => ({ status: 426 });
  reported = [];
  visible = true;
  page = new EventTarget();
  #timers = [];

  env = {
    WebSocket: this.#socketClass(),
    fetch: async (url, options) => {
      this.fetched.push([url, options]);
      const answer = this.fetches(url, options);
      if (!answer) throw new TypeError("Failed to fetch");
      return answer;
    },
    now: () => this.time,
    wall: () => this.epoch + this.time,
    random: () => this.randomly,
    setTimeout: (callback, ms) => {
      const timer = { at: this.time + ms, callback };
      this.#timers.push(timer);
      return timer;
    },
    clearTimeout: (timer) => void (this.#timers = this.#timers.filter((one) => one !== timer)),
    report: (error) => this.reported.push(error),
    page: this.page,
    isVisible: () => this.visible,
    locks: undefined,
    BroadcastChannel: undefined,
    base: "https://desk.example/page",
  };

  #socketClass() {
    const { sockets } = this;
    return class Socket {
      readyState = 0;
      sent = [];
      closedWith = null;
      constructor(url, protocols) {
        this.url = url;
        this.protocols = protocols;
        sockets.push(this);
      }
      send(text) {
        this.sent.push(JSON.parse(text));
      }
      close(code) {
        this.closedWith = code;
        this.readyState = 2;
      }
      // What the gateway does:
      open() {
        this.readyState = 1;
        this.onopen?.({});
      }
      say(type, payload, more = {}) {
        this.onmessage?.({ data: JSON.stringify({ type, tenant_id: "acme", timestamp: "2026-11-22T09:00:00.000Z", payload, ...more }) });
      }
      end(code, reason = "") {
        this.readyState = 3;
        this.onclose?.({ code, reason });
      }
      /** The messages sent, without pings. */
      get requests() {
        return this.sent.filter(({ type }) => type !== "ping");
      }
    };
  }

  /** Move the time; timers run when they are due, and promises after each. */
  async pass(ms) {
    const end = this.time + ms;
    await settle();
    for (;;) {
      const due = this.#timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
      if (!due) break;
      this.#timers = this.#timers.filter((one) => one !== due);
      this.time = Math.max(this.time, due.at);
      due.callback();
      await settle();
    }
    this.time = end;
  }

  get timers() {
    return this.#timers.length;
  }

  get socket() {
    return this.sockets.at(-1);
  }

  hear(name, more = {}) {
    this.page.dispatchEvent(Object.assign(new Event(name), more));
  }

  /** A client, and all that it tells. */
  client(options = {}) {
    const client = new Client("wss://gateway.example/ws", { token: () => token(), ...options }, this.env);
    const told = { status: [], event: [], rebuilt: [], lost: [], refused: [], session: [] };
    for (const name of Object.keys(told)) client.on(name, (value) => told[name].push(value));
    return { client, told, states: () => told.status.map(({ state }) => state) };
  }

  /** Answer the newest socket up to the state. */
  async live(seq = 10, snapshot = {}) {
    await settle();
    this.socket.open();
    this.welcome(seq);
    if (new URL(this.socket.url).searchParams.has("epoch")) this.resumed(seq);
    else this.snapshot(seq, snapshot);
    await settle();
  }

  welcome(seq = 10, more = {}) {
    const server_time = new Date(this.env.wall()).toISOString();
    const payload = { user_id: "ada", tenant_id: "acme", role: "agent", epoch: "E1", seq, server_time, token_expires_at: null };
    this.socket.say("welcome", { ...payload, ...more });
  }

  snapshot(seq, more = {}) {
    this.socket.say("snapshot", { epoch: "E1", seq, events: [], figures: [], ...more });
  }

  resumed(seq) {
    this.socket.say("resumed", { epoch: "E1", from_seq: 0, to_seq: seq, count: 0 });
  }

  event(seq, more = {}) {
    this.socket.say("notification", { title: `number ${seq}` }, { id: `id-${seq}`, seq, ...more });
  }
}
