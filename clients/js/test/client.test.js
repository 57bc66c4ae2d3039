import assert from "node:assert/strict";
import { test } from "node:test";
import { TokenRefused } from "../src/index.js";
import { World, settle, token } from "./world.js";

test("a token, a snapshot, and events", async () => {
  const world = new World();
  const { client, told, states } = world.client({ events: ["call.*", "queue.*"], queues: ["sales"], tenant: "acme" });
  assert.equal(client.status.state, "connecting");
  await settle();
  assert.equal(world.socket.url, "wss://gateway.example/ws?tenant_id=acme&events=call.*%2Cqueue.*&queues=sales&ack=1&snapshot=1");
  assert.deepEqual(world.socket.protocols, ["callcenter.v1", `bearer.${token()}`]);
  world.socket.open();
  world.welcome();
  assert.deepEqual(states(), ["connecting", "catching_up"]);
  world.snapshot(10);
  assert.deepEqual(states(), ["connecting", "catching_up", "live"]);
  assert.deepEqual(told.rebuilt, [{ reason: "start" }]);
  world.event(11);
  world.event(11);
  world.event(12);
  assert.deepEqual(told.event.map(({ seq }) => seq), [11, 12]);
  assert.equal(client.store.seq, 12);
  assert.equal(client.identity.user_id, "ada");
  assert.equal(client.status.as_of, world.env.wall());
});

test("relative and http addresses become those of a socket", async () => {
  const { Client } = await import("../src/client.js");
  for (const [given, url] of [["/ws", "wss://desk.example/ws"], ["https://a.example/ws", "wss://a.example/ws"], ["http://a.example/ws#x", "ws://a.example/ws"]]) {
    const world = new World();
    new Client(given, { token: () => token() }, world.env);
    await settle();
    assert.equal(world.socket.url, `${url}?ack=1&snapshot=1`);
  }
  assert.throws(() => new Client("/ws", {}, new World().env), /token: a function is needed/);
});

test("after a loss the client resumes with a fresh token, and nothing is told twice", async () => {
  const world = new World();
  const asked = [];
  const { client, told, states } = world.client({ token: ({ reason }) => (asked.push(reason), token({ jti: asked.length })) });
  await world.live();
  world.event(11);
  world.socket.end(1006);
  assert.equal(client.status.state, "offline");
  assert.equal(client.status.reason.text, "the connection was lost");
  assert.equal(client.status.retry_at, client.now() + 750);
  await world.pass(749);
  assert.equal(world.sockets.length, 1);
  await world.pass(1);
  assert.equal(world.sockets.length, 2);
  assert.deepEqual(asked, ["connect", "retry"]);
  assert.ok(world.socket.protocols[1].endsWith(token({ jti: 2 })));
  assert.equal(new URL(world.socket.url).searchParams.get("seq"), "11");
  assert.equal(new URL(world.socket.url).searchParams.get("snapshot"), null);
  world.socket.open();
  world.welcome(20);
  world.event(11);
  world.event(14);
  world.resumed(20);
  assert.deepEqual(told.event.map(({ seq }) => seq), [11, 14]);
  assert.equal(client.store.seq, 20);
  assert.deepEqual(told.rebuilt, [{ reason: "start" }]);
  assert.deepEqual(states(), ["connecting", "catching_up", "live", "offline", "catching_up", "live"]);
  assert.equal(client.status.offline_since, null);
});

test("a connection lost before the first snapshot asks for it again", async () => {
  const world = new World();
  const { told } = world.client();
  await settle();
  world.socket.open();
  world.welcome(10);
  world.socket.end(1006);
  await world.pass(1000);
  assert.equal(new URL(world.socket.url).searchParams.get("snapshot"), "1");
  await world.live(12);
  assert.deepEqual(told.rebuilt, [{ reason: "start" }]);
});

test("a reset keeps the state on the screen until the snapshot replaces it", async () => {
  const world = new World();
  const { client, told, states } = world.client();
  const agent = { type: "agent.login", tenant_id: "acme", id: "a", seq: 3, timestamp: "2026-11-22T08:00:00.000Z", payload: { user_id: "bob", username: "Bob", state: "available" } };
  await world.live(10, { events: [agent] });
  world.socket.end(4001);
  await world.pass(1000);
  world.socket.open();
  world.welcome(500);
  world.socket.say("reset", { reason: "too_old", epoch: "E1", seq: 500 });
  assert.equal(client.store.dump().events.length, 1);
  assert.equal(client.status.state, "catching_up");
  world.event(499);
  // Lost before the snapshot: the old position does not help.
  world.socket.end(1006);
  await world.pass(2000);
  assert.equal(new URL(world.socket.url).searchParams.get("epoch"), null);
  await world.live(500);
  assert.equal(client.store.dump().events.length, 0);
  assert.deepEqual(told.rebuilt, [{ reason: "start" }, { reason: "reset", detail: "too_old" }]);
  assert.deepEqual(told.event, []);
  assert.equal(states().at(-1), "live");
});

test("a gap is told, and a snapshot is asked for where none follows by itself", async () => {
  const world = new World();
  const { client, told } = world.client();
  await world.live();
  const gap = (reason) => world.socket.say("gap", { from_seq: 11, to_seq: 20, reason });
  gap("mailbox");
  assert.deepEqual([client.status.state, world.socket.requests], ["live", []]);
  gap("history_exceeded");
  assert.deepEqual([client.status.state, world.socket.requests], ["catching_up", []]);
  world.snapshot(20);
  gap("other");
  assert.deepEqual([client.status.state, world.socket.requests], ["catching_up", [{ type: "snapshot" }]]);
  world.snapshot(30);
  assert.equal(client.status.state, "live");
  assert.deepEqual(told.lost.map(({ reason }) => reason), ["mailbox", "history_exceeded", "other"]);
  assert.deepEqual(told.rebuilt.slice(1), [{ reason: "gap", detail: "history_exceeded" }, { reason: "gap", detail: "other" }]);
});

test("messages for the user are acknowledged after they were told, duplicates too", async () => {
  const world = new World();
  const { told } = world.client();
  await world.live();
  world.event(11, { user_id: "ada" });
  world.event(12);
  world.event(5, { user_id: "ada", offline: true });
  world.event(5, { user_id: "ada", offline: true, redelivered: true });
  assert.deepEqual(world.socket.requests, []);
  await world.pass(200);
  assert.deepEqual(world.socket.requests, [{ type: "ack", payload: { ids: ["id-11", "id-5", "id-5"] } }]);
  assert.deepEqual(told.event.map(({ seq }) => seq), [11, 12, 5]);
  for (let seq = 100; seq < 200; seq += 1) world.event(seq, { user_id: "ada" });
  assert.equal(world.socket.requests[1].payload.ids.length, 100);
});

test("the page may acknowledge by itself, or not at all", async () => {
  const world = new World();
  const { told } = world.client({ acknowledge: "manual" });
  await world.live();
  world.event(11, { user_id: "ada" });
  await world.pass(300);
  assert.deepEqual(world.socket.requests, []);
  told.event[0].acknowledge();
  await world.pass(300);
  assert.deepEqual(world.socket.requests, [{ type: "ack", payload: { ids: ["id-11"] } }]);

  const other = new World();
  other.client({ acknowledge: false });
  await other.live();
  assert.equal(new URL(other.socket.url).searchParams.get("ack"), null);
  other.event(11, { user_id: "ada" });
  await other.pass(300);
  assert.deepEqual(other.socket.requests, []);
});

test("a callback that throws is reported, and stops nothing", async () => {
  const world = new World();
  const { client, told } = world.client();
  client.on("event", () => {
    throw new Error("of the page");
  });
  await world.live();
  world.event(11, { user_id: "ada" });
  await world.pass(200);
  assert.equal(world.reported[0].message, "of the page");
  assert.equal(told.event.length, 1);
  assert.equal(client.store.seq, 11);
  assert.equal(world.socket.requests.length, 1);
});

test("figures go into the store", async () => {
  const world = new World();
  const { client } = world.client();
  await world.live();
  world.socket.say("queue.stats", { queue_name: "sales", epoch: "E1", as_of_seq: 10, generated_at: "2026-11-22T09:00:00.000Z", calls_waiting: 3 });
  assert.equal(client.store.figures("queue.stats", "sales")[0].calls_waiting, 3);
});

test("the callback that refuses a token stops the client with its text", async () => {
  const world = new World();
  const { client, told } = world.client({ token: () => { throw new TokenRefused("please sign in"); } });
  await settle();
  assert.equal(client.status.state, "stopped");
  assert.deepEqual(client.status.reason, { code: "signed_out", name: "signed_out", text: "please sign in" });
  assert.equal(told.status.at(-1).state, "stopped");
  await world.pass(100000);
  assert.equal(world.sockets.length, 0);
});

test("a callback that fails, is late, or returns no token is tried again", async () => {
  for (const answer of [() => Promise.reject(new Error("HTTP 503")), () => new Promise(() => {}), () => "", () => undefined, () => "a b"]) {
    const world = new World();
    let calls = 0;
    const { client } = world.client({ token: () => (++calls === 1 ? answer() : token()) });
    while (client.status.state !== "offline") await world.pass(200);
    assert.equal(client.status.reason.code, "no_token");
    assert.equal(world.sockets.length, 0);
    while (calls === 1) await world.pass(100);
    await world.live();
    assert.equal(client.status.state, "live");
  }
});

test("a token of another user starts another session", async () => {
  const world = new World();
  let who = "ada";
  const { client, told } = world.client({ token: () => token({ sub: who }) });
  await world.live(10, { events: [{ type: "agent.login", tenant_id: "acme", id: "a", seq: 3, timestamp: "2026-11-22T08:00:00.000Z", payload: { user_id: "bob", username: "Bob" } }] });
  who = "eve";
  world.socket.end(1006);
  await world.pass(1000);
  assert.equal(client.store.dump().events.length, 0);
  assert.equal(world.sockets.length, 2);
  assert.equal(new URL(world.socket.url).searchParams.get("snapshot"), "1");
  assert.ok(world.socket.protocols[1].endsWith(token({ sub: "eve" })));
  await world.live();
  assert.deepEqual(told.rebuilt, [{ reason: "start" }, { reason: "start" }]);
});

test("sign-out and close close the socket, and end what waits", async () => {
  for (const [method, code] of [["signOut", "signed_out"], ["close", "closed"]]) {
    const world = new World();
    const { client } = world.client();
    await world.live();
    const refused = client.request("snapshot").catch((error) => error.code);
    client[method]();
    assert.equal(client.status.state, "stopped");
    assert.equal(client.status.reason.code, code);
    assert.equal(world.socket.closedWith, 1000);
    assert.equal(await refused, "not_known", "it was sent");
    assert.equal(await client.request("snapshot").catch((error) => error.code), "stopped");
    await world.pass(100000);
    world.hear("online");
    world.hear("focus");
    await world.pass(100000);
    assert.equal(world.sockets.length, 1);
    assert.equal(world.timers, 0);
  }
});

test("a visitor connects without a token, and comes back with that of its session", async () => {
  const world = new World();
  const { told } = world.client({ token: undefined, anonymous: true, tenant: "acme" });
  await settle();
  assert.deepEqual(world.socket.protocols, ["callcenter.v1"]);
  world.socket.open();
  world.welcome(10, { session_id: "s1", session_token: "e30.e30.x" });
  world.snapshot(10);
  assert.deepEqual(told.session, [{ session_id: "s1", session_token: "e30.e30.x" }]);
  world.socket.end(1006);
  await world.pass(1000);
  assert.deepEqual(world.socket.protocols, ["callcenter.v1", "bearer.e30.e30.x"]);
});

test("a queue with a comma is subscribed to after welcome, and the state asked for then", async () => {
  const world = new World();
  const { client, told } = world.client({ queues: ["sales", "a,b"] });
  for (const seq of [10, 20]) {
    await settle();
    assert.equal(world.socket.url, "wss://gateway.example/ws?queues=sales&ack=1");
    world.socket.open();
    world.welcome(seq);
    world.event(seq + 1);
    assert.deepEqual(world.socket.requests, [{ type: "subscribe", id: "subscribe", payload: { queues: ["sales", "a,b"] } }]);
    world.socket.say("subscribed", { events: null, queues: ["sales", "a,b"] }, { in_reply_to: "subscribe" });
    assert.deepEqual(world.socket.requests[1], { type: "snapshot" });
    world.snapshot(seq + 1);
    assert.equal(client.status.state, "live");
    world.socket.end(1006);
    await world.pass(1000);
  }
  assert.deepEqual(told.event, []);
  assert.deepEqual(told.rebuilt, [{ reason: "start" }, { reason: "reset", detail: "subscribed_later" }]);
});

test("a page that comes back goes on with its state", async () => {
  const world = new World();
  const { client, states } = world.client();
  await world.live();
  world.event(11);
  world.hear("pagehide");
  assert.equal(world.socket.closedWith, 1000);
  world.hear("pageshow", { persisted: false });
  await world.pass(60000);
  assert.equal(world.sockets.length, 1);
  world.hear("pageshow", { persisted: true });
  await settle();
  assert.equal(new URL(world.socket.url).searchParams.get("seq"), "11");
  assert.equal(client.status.state, "offline");
  await world.live(11);
  assert.equal(states().at(-1), "live");
});

test("typing is told once a second, and only when live", async () => {
  const world = new World();
  const { client } = world.client();
  client.sendTyping("s1", true);
  await world.live();
  client.sendTyping("s1", true);
  client.sendTyping("s1", false);
  client.sendTyping("s2", true);
  await world.pass(1000);
  client.sendTyping("s1", false);
  const told = world.socket.requests.map(({ payload }) => [payload.session_id, payload.is_typing]);
  assert.deepEqual(told, [["s1", true], ["s2", true], ["s1", false]]);
});

test("a refresh resolves when the store holds the snapshot", async () => {
  const world = new World();
  const { client, told } = world.client();
  await world.live();
  const refreshed = client.refresh().then(() => client.store.seq);
  const [{ type, id }] = world.socket.requests;
  assert.equal(type, "snapshot");
  world.socket.say("snapshot", { epoch: "E1", seq: 44, events: [], figures: [] }, { in_reply_to: id });
  assert.equal(await refreshed, 44);
  assert.deepEqual(told.rebuilt.at(-1), { reason: "refresh" });
});

test("an error that answers nothing is told", async () => {
  const world = new World();
  const { told } = world.client();
  await world.live();
  world.socket.say("error", { code: "rate_limited", message: "slower", retry_after_ms: 100 });
  assert.equal(told.refused[0].code, "rate_limited");
});

test("a client that does not see all calls asks for the state if one is old, and tells what differs", async () => {
  const call = { type: "call.answered", tenant_id: "acme", id: "c", seq: 3, timestamp: "2026-11-22T08:50:00.000Z", payload: { unique_id: "1", agent_id: "ada" } };
  for (const [role, options, asks] of [["agent", {}, true], ["supervisor", {}, false], ["supervisor", { queues: ["sales"] }, true]]) {
    const world = new World();
    const { client, told } = world.client({ ...options, heartbeat: { idleMs: 1e9, answerMs: 1e9 } });
    await settle();
    world.socket.open();
    world.welcome(10, { role });
    world.snapshot(10, { events: [call] });
    world.event(11);
    assert.deepEqual(world.socket.requests, [], "it is ten minutes old");
    await world.pass(899999);
    world.event(12);
    assert.deepEqual(world.socket.requests, []);
    await world.pass(1);
    world.event(13);
    world.event(14);
    assert.deepEqual(world.socket.requests, asks ? [{ type: "snapshot" }] : []);
    if (!asks) continue;
    world.snapshot(14, { events: [call] });
    assert.deepEqual(told.rebuilt, [{ reason: "start" }]);
    await world.pass(900000);
    world.event(15);
    world.snapshot(15);
    assert.deepEqual(told.rebuilt, [{ reason: "start" }, { reason: "refresh" }]);
    assert.equal(client.store.calls().length, 0);
  }
});

test("an agent asks for the state of a chat that another agent hands over, by the policy of welcome or of reset", async () => {
  const world = new World();
  const { client } = world.client();
  await settle();
  world.socket.open();
  world.welcome(10, { user_id: "ada", policy: { agent_calls: "all", agent_chats: "all" } });
  world.snapshot(10);
  const transfer = (seq, to_agent_id) =>
    world.socket.say("chat.transferred", { session_id: `s${seq}`, to_agent_id }, { id: `e${seq}`, seq });
  transfer(11, "eva");
  transfer(12, "ada");
  assert.deepEqual([world.socket.requests, client.store.chats().length], [[], 2]);
  world.socket.say("reset", { reason: "rights_changed", epoch: "E", seq: 12, policy: { agent_calls: "all", agent_chats: "own" } });
  world.snapshot(12);
  transfer(13, "eva");
  assert.deepEqual([world.socket.requests, client.store.chats().length], [[], 0]);
  transfer(14, "ada");
  transfer(15, "ada");
  // The snapshot comes after both, and has both.
  assert.deepEqual([world.socket.requests, client.store.chats().length], [[{ type: "snapshot" }], 2]);
  world.snapshot(15);
  transfer(16, "ada");
  assert.equal(world.socket.requests.length, 2);
});

test("a client that is closed while its page goes away does not come back with it", async () => {
  const world = new World();
  const { client, told } = world.client();
  await world.live();
  world.hear("pagehide");
  client.close();
  world.hear("pageshow", { persisted: true });
  await world.pass(60000);
  assert.equal(world.sockets.length, 1);
  assert.deepEqual([client.status.state, told.status.at(-1).reason.code], ["stopped", "closed"]);
  await assert.rejects(client.request("ping"), { code: "stopped" });
});

test("the focus of the page asks the line, that of a field does not", async () => {
  const world = new World();
  world.client();
  await world.live();
  const ofField = Object.defineProperty(new Event("focus"), "target", { value: {} });
  world.page.dispatchEvent(ofField);
  assert.deepEqual(world.socket.sent, []);
  world.hear("focus");
  assert.deepEqual(world.socket.sent.map(({ type }) => type), ["ping"]);
});

test("the status is told when it changes, and not when a state is loaded again", async () => {
  const world = new World();
  const { client, states } = world.client();
  await world.live();
  const before = states();
  const refreshed = client.refresh();
  world.snapshot(11, {}, {});
  world.socket.say("snapshot", { epoch: "E1", seq: 11, events: [], figures: [] }, { in_reply_to: world.socket.requests[0].id });
  await refreshed;
  assert.deepEqual(states(), before);
});

test("a refused subscription is told", async () => {
  const world = new World();
  const { told } = world.client({ queues: ["a,b"] });
  await settle();
  world.socket.open();
  world.welcome();
  world.socket.say("error", { code: "invalid_message", message: "too many queues" }, { in_reply_to: "subscribe" });
  assert.deepEqual(told.refused.map(({ code }) => code), ["invalid_message"]);
});

test("a state that is incomplete is asked for again when the connection was lost before it came", async () => {
  const world = new World();
  const { client } = world.client();
  await world.live();
  const policy = { agent_chats: "own", agent_calls: "all" };
  world.socket.say("reset", { reason: "rights_changed", policy });
  world.snapshot(10);
  const transferred = (seq) => world.socket.say("chat.transferred", { session_id: `s${seq}`, to_agent_id: "ada" }, { id: `t${seq}`, seq });
  const asked = () => world.socket.requests.filter(({ type }) => type === "snapshot").length;
  transferred(11);
  transferred(12);
  assert.equal(asked(), 1);
  world.socket.end(1006);
  await world.pass(20000);
  await world.live(12);
  world.event(13);
  assert.equal(asked(), 1);
  world.snapshot(13);
  world.event(14);
  assert.deepEqual([asked(), client.store.isIncomplete], [1, false]);
});
