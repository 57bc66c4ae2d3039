// Tabs, lines and a gateway at random: whatever happens, each tab is told each event once and in order, or of a new state.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Machine, flush } from "./machine.js";

const SEEDS = Number(process.env.CALLCENTER_WS_SEEDS ?? 40);
const STEPS = 60;
/** What once failed: a leader whose frames had the same number as those of the one before; one that waits for a snapshot. */
const FOUND = [1219, 437];

/** A generator of random numbers (mulberry32). */
function randomOf(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

class Gateway {
  seq = 10;
  /** Events from here on can be replayed. */
  oldest = 0;
  #acknowledged = new Set();
  #mine = [];

  constructor(world, random) {
    this.world = world;
    this.random = random;
    this.served = new Set();
  }

  /** Open or refuse the sockets that wait. */
  serve() {
    for (const socket of this.world.sockets) {
      if (socket.readyState !== 0 || this.served.has(socket)) continue;
      this.served.add(socket);
      if (this.random() < 0.15) socket.end(1006);
      else this.#begin(socket);
    }
    this.#listen();
  }

  #begin(socket) {
    const query = new URL(socket.url).searchParams;
    socket.open();
    socket.say("welcome", { user_id: "ada", tenant_id: "acme", role: "admin", epoch: "E1", seq: this.seq, server_time: new Date(this.world.env.wall()).toISOString() });
    const mailbox = this.#mine.filter((seq) => !this.#acknowledged.has(seq));
    for (const seq of mailbox) this.say(socket, seq, { offline: true });
    // Lost in the middle.
    if (this.random() < 0.1) return socket.end(1006);
    const from = query.get("seq");
    if (from === null) return this.snapshot(socket);
    if (Number(from) < this.oldest) {
      socket.say("reset", { reason: "too_old", epoch: "E1", seq: this.seq });
      if (this.random() < 0.2) return socket.end(1006);
      return this.snapshot(socket);
    }
    for (let seq = Number(from) + 1; seq <= this.seq; seq += 1) {
      if (mailbox.includes(seq)) continue;
      this.say(socket, seq);
      if (this.random() < 0.02) return socket.end(1006);
    }
    socket.say("resumed", { epoch: "E1", from_seq: Number(from), to_seq: this.seq, count: 0 });
  }

  snapshot(socket) {
    // While the snapshot is made, events go on.
    if (this.random() < 0.4) this.publish();
    const events = [];
    for (let seq = Math.max(1, this.seq - 3); seq <= this.seq; seq += 1) events.push(this.message(seq));
    socket.say("snapshot", { epoch: "E1", seq: this.seq, events, figures: [] });
  }

  message(seq) {
    const mine = this.#mine.includes(seq) ? { user_id: "ada" } : {};
    const payload = { user_id: `agent-${seq % 4}`, username: "x", state: "available" };
    return { type: "agent.login", tenant_id: "acme", id: `id-${seq}`, seq, timestamp: "2026-11-22T09:00:00.000Z", payload, ...mine };
  }

  say(socket, seq, more = {}) {
    const { type, payload, ...rest } = this.message(seq);
    socket.say(type, payload, { ...rest, ...more });
  }

  publish() {
    this.seq += 1;
    if (this.random() < 0.2) this.#mine.push(this.seq);
    for (const socket of this.world.sockets) if (socket.readyState === 1) this.say(socket, this.seq);
  }

  /** Take what clients sent. */
  #listen() {
    for (const socket of this.world.sockets) {
      for (const { type, id, payload } of socket.sent.splice(0)) {
        if (socket.readyState !== 1) continue;
        if (type === "ack") for (const one of payload.ids) this.#acknowledged.add(Number(one.slice(3)));
        if (type === "ping") socket.say("pong", { server_time: new Date(this.world.env.wall()).toISOString() }, { in_reply_to: id });
      }
    }
  }

  cut() {
    for (const socket of this.world.sockets) if (socket.readyState === 1) socket.end(1006);
  }
}

/** What a tab was told, in order. */
function record(tab) {
  tab.record = [];
  tab.client.on("event", ({ seq, offline }) => tab.record.push(offline ? { mailed: seq } : seq));
  tab.client.on("rebuilt", ({ reason }) => tab.record.push({ reason, seq: tab.client.store.seq }));
}

function check(tab, head, mailbox) {
  let position = null;
  const seen = new Set();
  for (const one of tab.record) {
    if (typeof one === "object" && one.mailed) {
      assert.ok(!seen.has(one.mailed), `${one.mailed} twice`);
      seen.add(one.mailed);
      continue;
    }
    if (typeof one === "object") {
      if (position !== null && one.reason !== "start") assert.ok(one.seq >= position, `back from ${position} to ${one.seq}`);
      position = one.seq;
      continue;
    }
    assert.ok(!seen.has(one), `${one} twice`);
    seen.add(one);
    assert.equal(one, nextOf(position, mailbox, seen, one), `after ${position}`);
    position = one;
  }
  assert.equal(tab.client.store.seq, head);
}

/** The next position to be told: those of the mailbox may have been told before. */
function nextOf(position, mailbox, seen, wanted) {
  let next = position + 1;
  while (next < wanted && mailbox.has(next) && seen.has(next)) next += 1;
  return next;
}

async function play(seed) {
  const random = randomOf(seed);
  const machine = new Machine();
  const { world } = machine;
  world.env.random = random;
  const gateway = new Gateway(world, random);
  const mailbox = new Set();
  const tabs = [];
  const open = () => {
    const tab = machine.tab(`tab ${tabs.length}`);
    record(tab);
    tabs.push(tab);
  };
  const some = () => tabs[Math.floor(random() * tabs.length)];
  const serve = async () => {
    await flush();
    gateway.serve();
    await flush();
  };
  const acts = [
    [30, () => gateway.publish()],
    [8, () => gateway.cut()],
    [8, () => world.pass(random() * 3000)],
    [4, () => world.pass(random() * 15000)],
    [4, () => tabs.length < 6 && open()],
    [3, () => tabs.length > 1 && some().page.dispatchEvent(new Event("freeze"))],
    [6, () => some().page.dispatchEvent(new Event("resume"))],
    [3, () => void (some().silent = true)],
    [6, () => tabs.forEach((tab) => void (tab.silent = false))],
    [3, () => void (some().deaf = true)],
    [6, () => tabs.forEach((tab) => void (tab.deaf = false))],
    [2, () => tabs.length > 2 && tabs.splice(Math.floor(random() * tabs.length), 1)[0].client.close()],
    [2, () => void (gateway.oldest = gateway.seq)],
    [3, () => some().client.probe()],
  ];
  const sum = acts.reduce((total, [weight]) => total + weight, 0);
  open();
  open();
  for (let step = 0; step < STEPS; step += 1) {
    let at = random() * sum;
    const [, act] = acts.find(([weight]) => (at -= weight) < 0);
    await act();
    await serve();
  }
  for (const tab of tabs) {
    tab.silent = tab.deaf = false;
    tab.page.dispatchEvent(new Event("resume"));
  }
  gateway.oldest = 0;
  gateway.random = () => 1;
  for (let times = 0; times < 60; times += 1) {
    await world.pass(1000);
    await serve();
  }
  gateway.publish();
  await serve();
  for (let seq = 1; seq <= gateway.seq; seq += 1) if (gateway.message(seq).user_id) mailbox.add(seq);
  for (const tab of tabs) {
    assert.equal(tab.client.status.state, "live", tab.name);
    check(tab, gateway.seq, mailbox);
    const agents = new Map(tab.client.store.dump().events.map(({ payload, seq }) => [payload.user_id, seq]));
    for (let seq = gateway.seq - 3; seq <= gateway.seq; seq += 1) {
      if (!gateway.message(seq).user_id) assert.ok(agents.get(`agent-${seq % 4}`) >= seq, `the store of ${tab.name} has not ${seq}`);
    }
  }
  assert.equal(tabs.filter(({ client }) => client.status.leads).length, 1);
  assert.equal(world.sockets.filter(({ readyState }) => readyState === 1).length, 1);
  for (const tab of tabs) tab.client.close();
}

test("each tab is told each event once and in order, or of a new state", async () => {
  const first = Number(process.env.CALLCENTER_WS_SEED ?? 1);
  for (const seed of [...FOUND, ...Array.from({ length: SEEDS }, (_, at) => first + at)]) {
    await play(seed).catch((error) => {
      throw new Error(`CALLCENTER_WS_SEED=${seed} CALLCENTER_WS_SEEDS=1: ${error.message}`, { cause: error });
    });
  }
});
