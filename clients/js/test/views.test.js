import assert from "node:assert/strict";
import { test } from "node:test";
import { EFFECTS } from "../src/slots.js";
import { Store } from "../src/store.js";

const START = Date.UTC(2026, 10, 30);

function world() {
  const store = new Store({ now: () => START });
  let seq = 0;
  const publish = (type, payload, more = {}) =>
    store.apply({ type, id: `e${++seq}`, seq, timestamp: new Date(START + seq * 1000).toISOString(), payload, ...more });
  const call = (type, payload = {}) => publish(type, { unique_id: "1", ...payload });
  return { store, publish, call };
}

const pick = (view, ...names) => Object.fromEntries(names.map((name) => [name, view[name]]));

test("an agent has its state, its queues and whether it is online", () => {
  const { store, publish } = world();
  publish("agent.login", { user_id: 7, username: "ana", extension: 107 });
  assert.deepEqual(store.agent("7"), {
    id: "7", name: "ana", state: "available", since: START + 1000, reason: null, extension: "107", queues: [], paused_in: [], online: null, figures: null,
  });
  publish("queue.member.added", { queue_name: "sales", user_id: "7" });
  publish("queue.member.paused", { queue_name: "care", user_id: "7" });
  publish("presence.changed", { user_id: "8", online: true });
  publish("agent.state.changed", { user_id: "7", username: "ana", state: "break", reason: "lunch", since_at: "2026-11-30T00:00:00Z" });
  assert.deepEqual(pick(store.agent(7), "state", "since", "reason", "queues", "paused_in", "online"), {
    state: "break", since: START, reason: "lunch", queues: ["care", "sales"], paused_in: ["care"], online: false,
  });
  publish("presence.changed", { user_id: "7", online: true, connections: 2 });
  assert.equal(store.agent("7").online, true);
  assert.deepEqual(store.presence("7"), { user_id: "7", online: true, connections: 2 });
  publish("agent.logout", { user_id: "7", username: "ana" });
  assert.deepEqual([store.agent("7"), store.agents()], [undefined, []]);
});

test("views stay the same objects until something in them changes", () => {
  const { store, publish } = world();
  publish("agent.login", { user_id: "1", username: "ana" });
  publish("agent.login", { user_id: "2", username: "eva" });
  publish("alert", { title: "a", message: "b" });
  const [list, ana, eva] = [store.agents(), store.agent("1"), store.agent("2")];
  publish("presence.changed", { user_id: "2", online: false });
  publish("queue.member.added", { queue_name: "sales", user_id: "9" });
  assert.equal(store.agents(), list);
  publish("agent.state.changed", { user_id: "2", username: "eva", state: "away" });
  assert.equal(store.agent("1"), ana);
  assert.notEqual(store.agent("2"), eva);
  assert.notEqual(store.agents(), list);
  assert.ok(Object.isFrozen(ana) && Object.isFrozen(store.agents()));
  store.load(store.dump());
  assert.equal(store.agent("1"), ana);
});

test("a call goes from incoming to its end", () => {
  const { store, publish, call } = world();
  const state = () => pick(store.call("1"), "state", "queue", "agent_id", "agent_name");
  publish("agent.login", { user_id: "7", username: "ana" });
  call("call.incoming", { caller_id: "+351", destination: 100, direction: "inbound" });
  assert.deepEqual(state(), { state: "incoming", queue: null, agent_id: null, agent_name: null });
  call("queue.joined", { queue_name: "sales" });
  assert.deepEqual(state(), { state: "waiting", queue: "sales", agent_id: null, agent_name: null });
  call("call.ringing", { agent_id: 7 });
  assert.deepEqual(state(), { state: "ringing", queue: "sales", agent_id: "7", agent_name: "ana" });
  call("call.answered", { agent_id: 7, agent_name: "Ana S." });
  call("queue.left", { queue_name: "sales" });
  assert.deepEqual(state(), { state: "talking", queue: null, agent_id: "7", agent_name: "Ana S." });
  call("call.hold");
  assert.deepEqual(state(), { state: "hold", queue: null, agent_id: "7", agent_name: "Ana S." });
  call("call.unhold");
  assert.equal(state().state, "talking");
  call("call.transferred", { destination: "200", to_agent_id: "8" });
  assert.deepEqual(pick(store.call("1"), "agent_id", "caller_id", "destination", "direction", "started_at"), {
    agent_id: "8", caller_id: "+351", destination: "200", direction: "inbound", started_at: START + 2000,
  });
  call("call.ended", { duration: 5 });
  assert.deepEqual(store.calls(), []);
});

test("a call goes on while it rings at a colleague who is consulted", () => {
  const { store, call } = world();
  const state = () => pick(store.call("1"), "state", "agent_id");
  call("queue.joined", { queue_name: "sales" });
  call("call.ringing", { agent_id: 7 });
  call("call.answered", { agent_id: 7 });
  call("call.hold", { agent_id: 7 });
  call("call.ringing", { agent_id: 8 });
  assert.deepEqual(state(), { state: "hold", agent_id: "7" });
  call("call.unhold", { agent_id: 7 });
  assert.deepEqual(state(), { state: "talking", agent_id: "7" });
  call("call.transferred", { transfer_type: "attended", to_agent_id: "8" });
  assert.deepEqual(state(), { state: "talking", agent_id: "8" });
  call("call.ringing", { agent_id: 9 });
  assert.deepEqual(state(), { state: "talking", agent_id: "8" });
  call("call.transferred", { transfer_type: "blind", to_agent_id: "9" });
  call("call.ringing", { agent_id: 9 });
  assert.deepEqual(state(), { state: "ringing", agent_id: "9" });
  call("call.answered", { agent_id: 9 });
  call("queue.joined", { queue_name: "vip" });
  call("call.ringing", { agent_id: 7 });
  assert.deepEqual(state(), { state: "ringing", agent_id: "7" });
});

test("each event alone makes a state that can be viewed", () => {
  // A store that was lost, or a gateway that was started later, does not have what was before.
  const types = EFFECTS.flatMap(([names, { entity }]) => names.split(" ").map((type) => /** @type {const} */ ([type, entity])));
  for (const [type, entity] of types) {
    const { store, publish } = world();
    publish(type, Object.fromEntries(entity.map((names) => [names[0], "1"])));
    for (const list of ["agents", "queues", "calls", "chats", "sources", "alerts"]) assert.ok(Array.isArray(store[list]()), `${type}: ${list}`);
  }
  const { store, call } = world();
  call("call.hold");
  assert.deepEqual(pick(store.calls()[0], "id", "state", "agent_id", "since"), { id: "1", state: "hold", agent_id: null, since: START + 1000 });
});

test("a queue without figures is counted from its calls and members", () => {
  const { store, publish } = world();
  for (const [user_id, state] of [["1", "available"], ["2", "available"], ["3", "away"], ["4", "talking"], ["5", "offline"]]) {
    publish("agent.state.changed", { user_id, username: user_id, state });
    publish("queue.member.added", { queue_name: "sales", user_id, paused: user_id === "2" });
  }
  publish("queue.member.added", { queue_name: "sales", user_id: "9" });
  publish("queue.joined", { unique_id: "b", queue_name: "sales" });
  publish("queue.joined", { unique_id: "a", queue_name: "sales" });
  const queue = store.queue("sales");
  assert.deepEqual(pick(queue, "waiting", "longest_wait_since", "available", "staffed", "logged_in", "paused", "talking", "calls", "source"), {
    waiting: 2, longest_wait_since: START + 12_000, available: 1, staffed: 3, logged_in: 4, paused: 1, talking: 1, calls: ["b", "a"], source: "events",
  });
  assert.deepEqual([queue.members, queue.service_level.today], [["1", "2", "3", "4", "5", "9"], null]);
});

test("a queue has the figures of the gateway, else those that a sender published", () => {
  const { store, publish } = world();
  const counts = { queue_name: "sales", calls_waiting: 2, available_agents: 1, logged_in_agents: 3, longest_wait_time: 4 };
  publish("queue.stats", counts);
  const names = ["waiting", "longest_wait_since", "available", "staffed", "logged_in", "source"];
  assert.deepEqual(pick(store.queue("sales"), ...names), {
    waiting: 2, longest_wait_since: START - 3000, available: 1, staffed: null, logged_in: 3, source: "sender",
  });
  const before = store.queue("sales");
  store.figure({
    type: "queue.stats", timestamp: "2026-11-30T00:00:00Z",
    payload: {
      ...counts, calls_waiting: 5, staffed_agents: 2, longest_wait_since: "2026-11-30T00:00:01Z", service_level_target: 80,
      today: { service_level: 79.96, abandon_rate: 4, average_wait_time: 12.5, offered: 30, answered: 20, abandoned: 3 },
      last_30m: { service_level: 50, abandon_rate: null },
    },
  });
  const queue = store.queue("sales");
  assert.notEqual(queue, before);
  assert.deepEqual(pick(queue, ...names), {
    waiting: 5, longest_wait_since: START + 1000, available: 1, staffed: 2, logged_in: 3, source: "gateway",
  });
  assert.deepEqual(pick(queue, "service_level", "abandon_rate", "average_wait", "offered_today", "answered_today", "abandoned_today"), {
    service_level: { last_30m: 50, today: 79.96, target: 80, seconds: null, method: null },
    abandon_rate: { last_30m: null, today: 4 }, average_wait: { today: 12.5 }, offered_today: 30, answered_today: 20, abandoned_today: 3,
  });
});

test("an alert stands with its queue until it is cleared", () => {
  const { store, publish } = world();
  const alert = { alert_id: "a1", rule: "waits", queue_name: "sales", metric: "calls_waiting", value: 9, threshold: 5, severity: "critical", since: "2026-11-30T00:00:00Z" };
  const raise = (what, more = {}) => publish(`queue.alert.${what}`, { ...alert, ...more });
  publish("queue.member.added", { queue_name: "sales", user_id: "7" });
  raise("raised");
  assert.deepEqual(pick(store.alerts()[0], "rule", "queue", "source", "value", "since", "acknowledged"), {
    rule: "waits", queue: "sales", source: null, value: 9, since: START, acknowledged: false,
  });
  raise("acknowledged", { by: 7, note: "seen" });
  assert.deepEqual(pick(store.queue("sales").alerts[0], "acknowledged", "by", "note"), { acknowledged: true, by: "7", note: "seen" });
  raise("cleared");
  assert.deepEqual([store.alerts(), store.queue("sales").alerts], [[], []]);
});

test("a chat has its agent and its messages", () => {
  const { store, publish } = world();
  publish("agent.login", { user_id: "8", username: "eva" });
  publish("chat.session.started", { session_id: "s", visitor_name: "Rui", queue_name: "web" });
  publish("chat.message", { session_id: "s", message_id: "m", sender_id: "v", sender_type: "visitor", body: "hello" });
  assert.deepEqual(pick(store.chat("s"), "state", "visitor_name", "queue", "agent_id", "since"), {
    state: "waiting", visitor_name: "Rui", queue: "web", agent_id: null, since: START + 2000,
  });
  publish("chat.transferred", { session_id: "s", to_agent_id: 8 });
  assert.deepEqual(pick(store.chat("s"), "state", "agent_id", "agent_name"), { state: "assigned", agent_id: "8", agent_name: "eva" });
  assert.deepEqual(store.chats()[0].messages.map(({ payload }) => payload.body), ["hello"]);
});

test("what the visitor's page has received changes neither the agent nor the state of a chat", () => {
  const { store, publish } = world();
  publish("chat.session.started", { session_id: "s", visitor_email: "rui@example.org", status: "waiting", agent_id: 7, agent_name: "bea" });
  assert.equal(store.chat("s")?.delivered, null);
  publish("chat.delivered", { session_id: "s", message_id: 12 });
  assert.deepEqual(pick(store.chat("s"), "state", "agent_id", "agent_name", "visitor_email", "status", "delivered"), {
    state: "assigned", agent_id: "7", agent_name: "bea", visitor_email: "rui@example.org", status: "waiting", delivered: "12",
  });
  publish("chat.transferred", { session_id: "s", to_agent_id: 8 });
  publish("chat.delivered", { session_id: "s", message_id: "m-2" });
  assert.deepEqual(pick(store.chat("s"), "state", "agent_id", "delivered"), { state: "assigned", agent_id: "8", delivered: "m-2" });
});

test("a source that is up has the commands that it declared, if the gateway knows them", () => {
  const { store, publish } = world();
  publish("source.up", { source: "pbx1" });
  assert.equal(store.sources()[0].commands, null);
  publish("source.up", { source: "pbx1", commands: ["call.hangup"] });
  assert.deepEqual(store.sources()[0].commands, ["call.hangup"]);
});

test("a source is up or down since then", () => {
  const { store, publish } = world();
  publish("source.up", { source: "pbx1", kind: "asterisk", version: "22" });
  publish("source.down", { source: "pbx1", reason: "lease", since: "2026-11-30T00:00:00Z" });
  assert.deepEqual(store.sources(), [{ name: "pbx1", up: false, since: START, kind: null, reason: "lease", version: null, commands: null }]);
});

test("the oldest entities give way above the bound", () => {
  const { store, publish } = world();
  for (let n = 0; n < 50_001; n++) publish("call.incoming", { unique_id: n, caller_id: "1", destination: "2" });
  assert.deepEqual([store.entities("call").length, store.call("0"), store.call("1").id], [50_000, undefined, "1"]);
});

test("five hundred agents cost little", () => {
  const { store, publish } = world();
  for (let n = 0; n < 500; n++) {
    publish("agent.login", { user_id: n, username: `agent ${n}` });
    for (let q = 0; q < 4; q++) publish("queue.member.added", { queue_name: `q${(n + q) % 40}`, user_id: n });
  }
  for (let n = 0; n < 200; n++) publish("queue.joined", { unique_id: n, queue_name: `q${n % 40}` });
  const list = store.agents();
  publish("agent.state.changed", { user_id: 1, username: "agent 1", state: "away" });
  const different = store.agents().filter((agent) => !list.includes(agent));
  assert.deepEqual(different.map(({ id }) => id), ["1"]);
  assert.equal(store.queues().length, 40);
});
