import assert from "node:assert/strict";
import { test } from "node:test";
import { keyOf, Store } from "../src/store.js";

let last = 0;
const at = (seq, type, payload, more = {}) => ({
  type, tenant_id: "acme", id: `e${seq}`, seq, timestamp: new Date(Date.UTC(2026, 10, 30) + seq * 1000).toISOString(), payload, ...more,
});
const next = (type, payload, more) => at(++last, type, payload, more);
const clock = { now: () => Date.UTC(2026, 10, 30, 1) };
const seqs = (store) => store.dump().events.map((message) => message.seq);

test("events fill and empty slots, and tell which entity changed", () => {
  const store = new Store(clock);
  last = 0;
  assert.deepEqual([...store.apply(next("call.incoming", { unique_id: 7, caller_id: "1", destination: "2" }))], [keyOf("call", 7)]);
  assert.deepEqual([...store.apply(next("call.missed", { unique_id: "7" }))], []);
  assert.deepEqual([...store.apply(next("queue.joined", { unique_id: "8", call_id: 7, queue_name: "sales" }))], [keyOf("call", "7")]);
  assert.deepEqual(Object.keys(store.slots("call", 7)), ["incoming", "joined"]);
  store.apply(next("queue.left", { unique_id: "7", queue_name: "sales" }));
  assert.deepEqual(seqs(store), [1]);
  store.apply(next("call.ended", { unique_id: "7", duration: 1 }));
  assert.deepEqual([store.dump().events, store.seq], [[], 5]);
});

test("an event is applied once", () => {
  const store = new Store(clock);
  const message = at(3, "agent.login", { user_id: "7", username: "ana" });
  assert.equal(store.apply(message).size, 1);
  assert.equal(store.apply(message).size, 0);
  assert.equal(store.apply(at(2, "agent.logout", { user_id: "7", username: "ana" })).size, 0);
});

test("a mailbox message takes its place among the events that follow it", () => {
  const store = new Store(clock);
  store.load({ epoch: "E", seq: 10, events: [] });
  const mail = at(12, "agent.login", { user_id: "7", username: "ana" }, { user_id: "7", offline: true });
  assert.equal(store.apply(mail).size, 0);
  assert.equal(store.seq, 10);
  store.apply(at(11, "agent.logout", { user_id: "7", username: "ana" }));
  assert.deepEqual(seqs(store), []);
  assert.deepEqual([...store.advance(13)], [keyOf("agent", "7")]);
  assert.deepEqual([seqs(store), store.seq], [[12], 13]);
  // It was taken before: the state at 13 includes it.
  store.apply(at(14, "agent.logout", { user_id: "7", username: "ana" }));
  assert.equal(store.apply({ ...mail, redelivered: true }).size, 0);
  store.apply(at(15, "call.missed", { unique_id: "1" }));
  assert.deepEqual(seqs(store), []);
});

test("a snapshot replaces the state, and tells of what differs only", () => {
  const store = new Store(clock);
  const login = (seq, user_id) => at(seq, "agent.login", { user_id, username: "ana" });
  store.load({ epoch: "E", seq: 3, events: [login(1, "1"), login(2, "2"), login(3, "3")] });
  const changed = store.load({ epoch: "E", seq: 5, events: [login(1, "1"), login(5, "2"), login(4, "4")] });
  assert.deepEqual([...changed].sort(), ["2", "3", "4"].map((id) => keyOf("agent", id)));
  assert.deepEqual([seqs(store), store.seq], [[1, 4, 5], 5]);
});

test("messages of a chat that was never started are not kept", () => {
  const store = new Store(clock);
  const written = (seq) => at(seq, "chat.message", { session_id: "s", message_id: seq, sender_id: "v", sender_type: "visitor", body: "x" });
  store.apply(written(1));
  store.load({ epoch: "E", seq: 2, events: [written(2)] });
  assert.deepEqual(seqs(store), []);
  store.load({ epoch: "E", seq: 4, events: [written(3), at(4, "chat.session.started", { session_id: "s" })] });
  assert.deepEqual(seqs(store), [3, 4]);
});

test("a chat keeps its newest messages", () => {
  const store = new Store({ ...clock, chatMessages: 2 });
  last = 0;
  store.apply(next("chat.session.started", { session_id: "s" }));
  for (const body of ["a", "b", "c"]) store.apply(next("chat.message", { session_id: "s", body }));
  assert.deepEqual(seqs(store), [1, 3, 4]);
});

test("all chats together have a bound; the oldest message of all is removed first", () => {
  const store = new Store(clock);
  last = 0;
  const body = "x".repeat(1024 * 1024);
  for (const session_id of ["s", "t"]) store.apply(next("chat.session.started", { session_id }));
  for (let n = 0; n < 8; n++) store.apply(next("chat.message", { session_id: n % 2 ? "s" : "t", body }));
  assert.deepEqual(seqs(store), [1, 2, 4, 5, 6, 7, 8, 9, 10]);
});

test("entities that nothing ended are removed after a day, lasting ones are not", () => {
  let now = Date.UTC(2026, 10, 30, 1);
  const store = new Store({ now: () => now });
  last = 0;
  store.apply(next("agent.login", { user_id: "7", username: "ana" }));
  store.apply(next("presence.changed", { user_id: "7", online: true }));
  now += 86_400_001;
  const changed = store.apply(next("call.missed", { unique_id: "1" }));
  assert.deepEqual([[...changed], seqs(store)], [[keyOf("agent", "7")], [2]]);
});

test("the age of what a snapshot holds is that of its events", () => {
  let now = Date.UTC(2026, 10, 30, 20);
  const store = new Store({ now: () => now });
  const old = { ...at(2, "agent.login", { user_id: "8", username: "eva" }), timestamp: "1970-01-01T00:00:00.000Z" };
  store.load({ epoch: "E", seq: 2, events: [at(1, "agent.login", { user_id: "7", username: "ana" }), old] });
  store.apply(at(3, "call.missed", { unique_id: "1" }));
  assert.deepEqual(seqs(store), [1, 2]);
  now += 6 * 3_600_000;
  store.apply(at(4, "call.missed", { unique_id: "1" }));
  assert.deepEqual(seqs(store), [2]);
});

test("a figure is kept if it is newer; one of the present epoch replaces others", () => {
  const store = new Store(clock);
  const figure = (epoch, as_of_seq, second, waiting, more = {}) => ({
    type: "queue.stats", timestamp: "2026-11-30T00:00:00.000Z", ...more,
    payload: { queue_name: "sales", epoch, as_of_seq, generated_at: `2026-11-30T00:00:0${second}.000Z`, calls_waiting: waiting },
  });
  const waiting = () => store.figures("queue.stats", "sales").map((payload) => payload.calls_waiting);
  store.load({ epoch: "E", seq: 9, events: [], figures: [figure("E", 9, 1, 1)] });
  assert.equal(store.figure(figure("E", 8, 2, 2)), null);
  assert.equal(store.figure(figure("E", 9, 0, 2)), null);
  assert.equal(store.figure(figure("D", 99, 5, 2)), null);
  assert.deepEqual(waiting(), [1]);
  assert.equal(store.figure(figure("E", 9, 2, 3)), keyOf("queue.stats", "sales"));
  assert.deepEqual(waiting(), [3]);
  store.load({ epoch: "F", seq: 1, events: [], figures: [figure("F", 1, 1, 4)] });
  assert.deepEqual(waiting(), [4]);
  store.load({ epoch: "F", seq: 1, events: [] });
  assert.deepEqual(waiting(), []);
});

test("a snapshot keeps the figures of the own agent, which follow as messages", () => {
  const store = new Store(clock);
  const own = { type: "agent.stats", timestamp: "x", user_id: "7", payload: { user_id: "7", epoch: "E", as_of_seq: 1 } };
  store.load({ epoch: "E", seq: 1, events: [], figures: [{ type: "tenant.stats", timestamp: "x", payload: { epoch: "E" } }] });
  store.figure(own);
  const changed = store.load({ epoch: "E", seq: 2, events: [], figures: [] });
  assert.deepEqual([store.figures("agent.stats"), [...changed]], [[own.payload], [keyOf("tenant.stats")]]);
  // In another epoch there are none until the gateway sends them.
  store.load({ epoch: "F", seq: 1, events: [], figures: [] });
  assert.deepEqual(store.figures("agent.stats"), []);
});

test("an agent who sees only its own chats loses one that another agent has", () => {
  const viewer = { user_id: "7", policy: { agent_calls: "all", agent_chats: "own" } };
  const store = new Store({ ...clock, viewer: () => viewer });
  last = 0;
  store.apply(next("chat.session.started", { session_id: "s" }));
  assert.equal(store.apply(next("chat.transferred", { session_id: "s", to_agent_id: 8 })).size, 1);
  assert.deepEqual([store.chats(), store.isIncomplete], [[], false]);
  // What came before was not sent.
  store.apply(next("chat.transferred", { session_id: "s", to_agent_id: 7 }));
  assert.deepEqual([store.chat("s").agent_id, store.isIncomplete], ["7", true]);
  store.load({ epoch: "E", seq: 4, events: store.dump().events });
  assert.equal(store.isIncomplete, false);
  store.apply(at(5, "chat.message", { session_id: "s", sender_id: "8" }));
  store.apply(at(6, "chat.session.started", { session_id: "s", agent_id: "9" }));
  assert.deepEqual(store.dump().events, []);
});

test("a supervisor keeps the chats and calls of all", () => {
  const store = new Store({ ...clock, viewer: () => ({ user_id: "1" }) });
  last = 0;
  store.apply(next("chat.transferred", { session_id: "s", to_agent_id: 8 }));
  store.apply(next("call.incoming", { unique_id: "1", caller_id: "1", destination: "2" }));
  store.apply(next("queue.left", { unique_id: "1", queue_name: "q" }));
  assert.deepEqual([seqs(store), store.isIncomplete], [[1, 2], false]);
});

test("an agent who sees only its own calls loses those that another has answered", () => {
  const store = new Store({ ...clock, viewer: () => ({ user_id: "7", policy: { agent_calls: "own", agent_chats: "own" } }) });
  last = 0;
  for (const unique_id of ["mine", "theirs"]) {
    store.apply(next("call.incoming", { unique_id, caller_id: "1", destination: "2" }));
    store.apply(next("queue.joined", { unique_id, queue_name: "q" }));
    store.apply(next("call.ringing", { unique_id, agent_id: unique_id === "mine" ? 7 : 8 }));
    store.apply(next("queue.left", { unique_id, queue_name: "q" }));
  }
  assert.deepEqual(store.calls().map(({ id }) => id), ["mine"]);
});
