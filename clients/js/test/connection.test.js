import assert from "node:assert/strict";
import { test } from "node:test";
import { CLOSE_NAMES, TokenRefused } from "../src/index.js";
import { World, settle, token } from "./world.js";

async function live(options) {
  const world = new World();
  const made = world.client(options);
  await world.live();
  return { world, ...made };
}

test("each close code below 4500 is followed by another connection, each other one stops with the text of the frame", async () => {
  for (const [code, name] of Object.entries(CLOSE_NAMES)) {
    const { world, client } = await live();
    world.socket.end(Number(code), "the reason of the frame");
    assert.deepEqual(client.status.reason, { code: Number(code), name, text: "the reason of the frame" });
    const reconnects = Number(code) < 4500;
    assert.equal(client.status.state, reconnects ? "offline" : "stopped", name);
    await world.pass(60000);
    assert.equal(world.sockets.length > 1, reconnects, name);
  }
});

test("a frame without a text is told by the name of its code", async () => {
  for (const [code, text] of [[1001, "going_away"], [4998, "closed"]]) {
    const { world, client } = await live();
    world.socket.end(code, "");
    assert.equal(client.status.reason.text, text);
  }
});

test("an unknown code is judged by its number, and its reason told", async () => {
  for (const [code, state] of [[4321, "offline"], [4999, "stopped"]]) {
    const { world, client } = await live();
    world.socket.end(code, "because");
    assert.deepEqual([client.status.state, client.status.reason.text], [state, "because"]);
  }
});

test("the error before a close says why", async () => {
  const world = new World();
  const { client } = world.client();
  await settle();
  world.socket.open();
  world.socket.say("error", { code: "unauthorized", message: "the token was revoked" });
  world.socket.end(4500);
  assert.deepEqual(client.status.reason, { code: 4500, name: "unauthorized", text: "the token was revoked" });
});

test("an old error does not explain a later close", async () => {
  const { world, client } = await live();
  world.socket.say("error", { code: "rate_limited", message: "slower", retry_after_ms: 60000 });
  world.event(11);
  world.socket.end(1006);
  assert.equal(client.status.reason.text, "the connection was lost");
  assert.ok(client.status.retry_at - client.now() <= 1000);
});

test("the time before a close is kept, whatever the page does meanwhile", async () => {
  const world = new World();
  const { client } = world.client();
  await settle();
  world.socket.open();
  world.socket.say("error", { code: "rate_limited", message: "wait", retry_after_ms: 8000 });
  world.socket.end(4006);
  assert.equal(client.status.retry_at - client.now(), 9000);
  for (const name of ["online", "focus"]) world.hear(name);
  client.probe();
  await world.pass(8999);
  assert.equal(world.sockets.length, 1);
  await world.pass(1);
  assert.equal(world.sockets.length, 2);
});

test("delays grow while attempts fail, and begin at the shortest after ten seconds live", async () => {
  const { world, client } = await live();
  const delays = [];
  const lose = () => {
    world.socket.end(1006);
    delays.push(client.status.retry_at - client.now());
    return world.pass(delays.at(-1));
  };
  const since = client.now();
  for (let times = 0; times < 7; times += 1) await lose();
  assert.equal(client.status.attempt, 7);
  assert.equal(client.status.offline_since, since);
  await world.live();
  await world.pass(9999);
  await lose();
  await world.live();
  await world.pass(10000);
  await lose();
  assert.deepEqual(delays, [750, 1250, 2250, 4250, 8250, 10250, 10250, 10250, 750]);
});

test("a try that neither opens nor fails is abandoned after ten seconds", async () => {
  const world = new World();
  const { client } = world.client();
  await world.pass(9999);
  assert.equal(client.status.state, "connecting");
  const first = world.socket;
  await world.pass(1);
  assert.equal(client.status.state, "offline");
  assert.equal(first.closedWith, 1000);
  await world.pass(1000);
  assert.equal(world.sockets.length, 2);
  first.end(4503);
  first.open();
  assert.equal(client.status.state, "offline", "the abandoned one is not heard");
});

test("an address that the browser refuses is told, without the token", async () => {
  const world = new World();
  world.env.WebSocket = class {
    constructor(_, protocols) {
      throw new DOMException(`bad ${protocols}`, "SecurityError");
    }
  };
  const { client } = world.client();
  await settle();
  assert.equal(client.status.reason.text, "the browser refuses to connect (SecurityError)");
});

test("a silent line is stale, then abandoned without waiting for its end", async () => {
  const { world, client, states } = await live();
  await world.pass(20000);
  assert.deepEqual(world.socket.sent, [{ type: "ping", id: "ping:1" }]);
  const asOf = client.status.as_of;
  await world.pass(10000);
  assert.equal(client.status.state, "stale");
  await world.pass(9000);
  const old = world.socket;
  assert.equal(old.sent.length, 2);
  await world.pass(1000);
  assert.equal(client.status.state, "offline");
  assert.equal(client.status.as_of, asOf);
  assert.equal(old.closedWith, 1000);
  await world.pass(1000);
  assert.equal(world.sockets.length, 2);
  old.end(4503);
  assert.notEqual(client.status.state, "stopped");
  assert.deepEqual(states().slice(-2), ["stale", "offline"]);
});

test("any message makes a stale line live again, and a pong moves the time of the state", async () => {
  const { world, client } = await live();
  await world.pass(30000);
  assert.equal(client.status.state, "stale");
  world.socket.say("pong", { server_time: new Date(world.env.wall()).toISOString() }, { in_reply_to: "ping:1" });
  assert.equal(client.status.state, "live");
  assert.equal(client.status.as_of, client.now());
});

test("the clock of the gateway is that of its quickest answer", async () => {
  const { world, client } = await live();
  await world.pass(20000);
  await world.pass(40);
  world.socket.say("pong", { server_time: new Date(world.env.wall() + 5000).toISOString() }, { in_reply_to: "ping:1" });
  assert.equal(client.now(), world.env.wall() + 5020);
});

test("a large snapshot over a slow line is waited for", async () => {
  const world = new World();
  const { client } = world.client();
  await settle();
  world.socket.open();
  world.welcome();
  await world.pass(120000);
  assert.equal(world.sockets.length, 1);
  world.snapshot(10);
  assert.equal(client.status.state, "live");
});

test("a line is asked when the network or the visibility changes, and is dead without an answer", async () => {
  for (const name of ["offline", "focus", "resume", "online", "visibilitychange"]) {
    const { world, client } = await live();
    world.hear(name);
    assert.deepEqual(world.socket.sent, [{ type: "ping", id: "ping:1" }], name);
    await world.pass(4000);
    assert.equal(client.status.state, "live");
    await world.pass(1000);
    assert.equal(client.status.state, "offline");
  }
  const { world } = await live();
  world.visible = false;
  world.hear("visibilitychange");
  assert.deepEqual(world.socket.sent, []);
});

test("without a connection one is made now, and after a random second when the network is back", async () => {
  const { world } = await live();
  for (let times = 0; times < 6; times += 1) {
    world.socket.end(1006);
    world.hear("focus");
    await settle();
    assert.equal(world.sockets.length, times + 2);
  }
  world.socket.end(1006);
  world.hear("online");
  await world.pass(499);
  assert.equal(world.sockets.length, 7);
  await world.pass(1);
  assert.equal(world.sockets.length, 8);
});

test("a node that stops is left at the time that it names, not before, and without a delay", async () => {
  const { world, client, told } = await live();
  world.socket.say("drain", { reconnect_after_ms: 4000 });
  world.event(11);
  await world.pass(3000);
  world.event(12);
  assert.deepEqual([client.status.state, told.event.length], ["live", 2]);
  const first = world.socket;
  await world.pass(1000);
  assert.equal(first.closedWith, 1000);
  assert.equal(world.sockets.length, 2);
  assert.equal(new URL(world.socket.url).searchParams.get("seq"), "12");
});

test("a node that closes before its time is left at that time, also if the page asks for a connection", async () => {
  const { world, client } = await live();
  world.socket.say("drain", { reconnect_after_ms: 4000 });
  await world.pass(1000);
  world.socket.end(4003);
  assert.equal(client.status.state, "offline");
  assert.equal(client.status.retry_at - client.now(), 3000);
  for (const name of ["online", "focus"]) world.hear(name);
  await world.pass(2999);
  assert.equal(world.sockets.length, 1);
  await world.pass(1);
  assert.equal(world.sockets.length, 2);
  world.socket.end(1006);
  assert.equal(client.status.retry_at - client.now(), 750);
});

test("a token that fails while a node stops is asked for again", async () => {
  let fails = false;
  const { world, client } = await live({ token: () => (fails ? Promise.reject(new Error("busy")) : token()) });
  fails = true;
  world.socket.say("drain", { reconnect_after_ms: 100 });
  await world.pass(100);
  assert.equal(client.status.state, "live");
  world.socket.end(4003);
  fails = false;
  await world.pass(1000);
  assert.equal(world.sockets.length, 2);
});

test("a token that expires is replaced on the connection", async () => {
  const asked = [];
  const { world, client } = await live({ token: ({ reason }) => (asked.push(reason), token({ n: asked.length })) });
  world.socket.say("session.expiring", { expires_at: "2026-11-22T09:01:00.000Z" });
  await settle();
  assert.deepEqual(asked, ["connect", "expiring"]);
  assert.deepEqual(world.socket.requests, [{ type: "auth", id: "auth", payload: { token: token({ n: 2 }) } }]);
  world.socket.say("session.extended", { expires_at: "2026-11-22T10:00:00.000Z" }, { in_reply_to: "auth" });
  assert.equal(client.identity.token_expires_at, "2026-11-22T10:00:00.000Z");
  await world.pass(15000);
  assert.equal(world.socket.requests.length, 1);
});

test("a token that lives for less than a minute is replaced when half of its time has passed", async () => {
  const asked = [];
  const { world } = await live({ token: ({ reason }) => (asked.push(reason), token()), heartbeat: { idleMs: 1e9, answerMs: 1e9 } });
  const expiry = () => ({ expires_at: new Date(world.env.wall() + 20000).toISOString() });
  world.socket.say("session.expiring", expiry());
  await settle();
  for (let count = 2; count < 5; count += 1) {
    assert.equal(asked.length, count);
    world.socket.say("session.extended", expiry(), { in_reply_to: "auth" });
    world.socket.say("session.expiring", expiry());
    await world.pass(9999);
    assert.equal(asked.length, count);
    await world.pass(1);
  }
});

test("a replacement that fails, or is not confirmed, is tried again after 5, 10 and 20 seconds", async () => {
  const asked = [];
  const world = new World();
  const replace = () => (asked.push(world.time), asked.length < 3 ? Promise.reject(new Error("no")) : token());
  world.client({ token: ({ reason }) => (reason === "expiring" ? replace() : token()), heartbeat: { idleMs: 1e9, answerMs: 1e9 } });
  await world.live();
  world.socket.say("session.expiring", { expires_at: "" });
  await world.pass(16000);
  assert.deepEqual(asked, [0, 5000, 15000]);
  assert.equal(world.socket.requests.length, 1);
  await world.pass(10000 + 20000);
  assert.equal(world.socket.requests.length, 2);
});

test("a user who is signed out when the token expires is stopped", async () => {
  const { world, client } = await live({ token: ({ reason }) => { if (reason === "expiring") throw new TokenRefused(); return token(); } });
  world.socket.say("session.expiring", { expires_at: "" });
  await settle();
  assert.deepEqual([client.status.state, client.status.reason.text], ["stopped", "signed out"]);
});

test("an expired token is replaced at once, but not in a circle", async () => {
  const { world, client } = await live();
  world.socket.end(4005);
  assert.equal(client.status.state, "offline");
  await settle();
  assert.equal(world.sockets.length, 2);
  await world.live();
  world.socket.end(4005);
  await settle();
  assert.equal(world.sockets.length, 2);
  await world.pass(2000);
  assert.equal(world.sockets.length, 3);
});

test("a gateway that refuses pages of this site is named", async () => {
  const world = new World();
  const message = "the Origin https://desk.example is not listed in web.allowed_origins";
  world.fetches = () => ({ status: 403, json: async () => ({ error: { code: "forbidden", message } }) });
  const { client, told } = world.client();
  for (let times = 0; times < 3; times += 1) {
    await settle();
    world.socket.end(1006);
    if (times < 2) await world.pass(client.status.retry_at - client.now());
  }
  await settle();
  const reasons = told.status.map(({ reason }) => reason?.code);
  assert.ok(reasons.includes("origin_refused"), String(reasons));
  const { text } = told.status.find(({ reason }) => reason?.code === "origin_refused").reason;
  assert.equal(text, `the gateway refuses pages of this site: ${message}`);
  assert.equal(world.fetched[0][0], "https://gateway.example/ws");
  await world.pass(client.status.retry_at - client.now());
  world.socket.end(1006);
  assert.equal(client.status.reason.code, "origin_refused", "it stays named");
  await world.pass(client.status.retry_at - client.now());
  await world.live();
  world.socket.end(1006);
  assert.equal(client.status.reason.code, 1006);
});

test("a gateway that does not answer is not accused of refusing", async () => {
  const html = () => Promise.reject(new SyntaxError("Unexpected token '<'"));
  for (const answer of [null, { status: 426 }, { status: 502 }, { status: 403, json: html }, { status: 403, json: async () => ({}) }]) {
    const world = new World();
    world.fetches = () => answer;
    const { told } = world.client();
    for (let times = 0; times < 4; times += 1) {
      await settle();
      world.socket.end(1006);
      await world.pass(20000);
    }
    assert.ok(!told.status.some(({ reason }) => reason?.code === "origin_refused"), JSON.stringify(answer));
    assert.ok(world.fetched.length > 0);
  }
});

test("a message that cannot be read ends the connection", async () => {
  for (const data of ["{", "[]", "null", "7", new ArrayBuffer(1)]) {
    const { world, client } = await live();
    const { socket } = world;
    socket.onmessage({ data });
    assert.equal(client.status.state, "offline");
    assert.equal(socket.closedWith, 1000);
    await world.pass(1000);
    assert.equal(world.sockets.length, 2);
  }
});

test("messages and fields that are not known are ignored", async () => {
  const { world, client, told } = await live();
  world.socket.say("from.the.future", { x: 1 });
  world.socket.say("from.the.future", undefined);
  world.event(11, { more: true });
  assert.deepEqual([client.status.state, told.event.length], ["live", 1]);
});

test("a message that was too large for the gateway is refused, others are sent again", async () => {
  const { world, client } = await live();
  const small = client.sendChat("s1", "small");
  const large = client.sendChat("s2", "x".repeat(10000)).catch((error) => error.code);
  world.socket.end(1009);
  assert.equal(await large, "too_large");
  await world.pass(1000);
  await world.live();
  const [{ id, payload }] = world.socket.requests;
  assert.equal(payload.body, "small");
  world.socket.say("accepted", { message_id: "m" }, { in_reply_to: id });
  assert.deepEqual(await small, { message_id: "m" });
});

test("a gateway that accepts the socket and says nothing is left soon, and is never stale", async () => {
  const world = new World();
  const { states } = world.client();
  await settle();
  world.socket.open();
  await world.pass(41000);
  assert.equal(world.sockets[0].closedWith, 1000);
  assert.ok(!states().includes("stale"), states().join());
});
