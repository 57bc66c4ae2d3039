import assert from "node:assert/strict";
import { test } from "node:test";
import { CommandRefused, Commands } from "../src/commands.js";
import { World, settle, token } from "./world.js";

/** What a tab keeps while its page is loaded again. */
class Storage {
  items = new Map();
  getItem = (key) => this.items.get(key) ?? null;
  setItem = (key, value) => void this.items.set(key, value);
  removeItem = (key) => void this.items.delete(key);
  get ids() {
    return JSON.parse(this.items.get("callcenter-ws.commands") ?? "[]").map(({ id }) => id);
  }
}

class Page {
  constructor(world, storage = new Storage(), options = {}) {
    Object.assign(this, { world, storage, ...world.client(options) });
    this.commands = new Commands(this.client, { storage, timers: world.env });
  }

  /** The commands that were sent on the newest socket. */
  get sent() {
    return this.world.socket.sent.filter(({ type }) => type === "command");
  }

  /** Answer the newest command. */
  answer(fields = {}) {
    const { id, payload } = this.sent.at(-1);
    const deadline = new Date(this.client.now() + 5000).toISOString();
    this.world.socket.say("accepted", { command_id: payload.command_id, source: "pbx1", deadline, state: "accepted", ...fields }, { in_reply_to: id });
  }

  refuse(code, message = code, more = {}) {
    this.world.socket.say("error", { code, message, ...more }, { in_reply_to: this.sent.at(-1).id });
  }

  /** Tell the outcome of a command, as the gateway does. */
  tell(seq, type, command_id, payload = {}, more = {}) {
    this.world.socket.say(type, { command_id, name: "call.hangup", ...payload }, { id: `id-${seq}`, seq, user_id: "ada", ...more });
  }
}

/** Return what a promise has become. */
async function outcomeOf(promise) {
  let state = "pending";
  promise.then((value) => (state = value), (error) => (state = error));
  await settle();
  return state;
}

const CALL = { call_id: "17" };

test("a command is sent with an id and a time, and settles by the stream", async () => {
  const page = new Page(new World());
  await page.world.live();
  const outcome = page.commands.send("call.hangup", CALL);
  await settle();
  const [{ type, payload }] = page.sent;
  assert.equal(type, "command");
  const { command_id, expires_at, ...fields } = payload;
  assert.deepEqual(fields, { name: "call.hangup", call_id: "17" });
  assert.equal(Date.parse(expires_at), page.client.now() + 10000);
  page.answer();
  assert.equal(await outcomeOf(outcome), "pending");
  assert.deepEqual(page.storage.ids, [command_id]);
  assert.deepEqual(page.commands.pending().map((one) => [one.command_id, one.name, one.fields]), [[command_id, "call.hangup", CALL]]);
  page.tell(11, "command.done", "another");
  page.tell(12, "command.done", command_id, { data: { channel: "x" } });
  assert.deepEqual(await outcome, { command_id, name: "call.hangup", state: "done", code: null, message: null, data: { channel: "x" } });
  assert.deepEqual([page.storage.ids, page.commands.pending()], [[], []]);
  assert.equal(page.told.event.length, 2);
  await page.world.pass(15000);
  assert.equal(page.sent.length, 1);
});

test("a command that failed resolves, and one that was refused rejects", async () => {
  const page = new Page(new World());
  await page.world.live();
  const failed = page.commands.send("call.hangup", CALL, { commandId: "a" });
  assert.equal(page.commands.send("call.hangup", CALL, { commandId: "a" }), failed);
  await settle();
  assert.equal(page.sent.length, 1);
  page.answer();
  page.tell(11, "command.failed", "a", { code: "rejected", message: "no such channel" });
  assert.deepEqual(await failed, { command_id: "a", name: "call.hangup", state: "failed", code: "rejected", message: "no such channel", data: null });
  const refused = page.commands.send("call.hangup", CALL, { commandId: "b" });
  await settle();
  page.refuse("not_allowed", "this call is handled by another agent");
  const error = await outcomeOf(refused);
  assert.ok(error instanceof CommandRefused);
  assert.deepEqual([error.code, error.message], ["not_allowed", "this call is handled by another agent"]);
  assert.deepEqual(page.storage.ids, []);
});

test("the answer to a repeated command may have its outcome", async () => {
  const page = new Page(new World());
  await page.world.live();
  const outcome = page.commands.send("call.hangup", CALL, { commandId: "a" });
  await settle();
  page.answer({ state: "failed", code: "timeout", message: "not in time" });
  assert.deepEqual(await outcome, { command_id: "a", name: "call.hangup", state: "failed", code: "timeout", message: "not in time", data: null });
});

test("after a cut line the outcome comes by the replay, and nothing is sent again", async () => {
  const page = new Page(new World());
  await page.world.live();
  const outcome = page.commands.send("call.hangup", CALL, { commandId: "a" });
  await settle();
  page.answer();
  page.world.socket.end(1006);
  await page.world.pass(1000);
  await page.world.live();
  assert.deepEqual(page.sent, []);
  page.tell(12, "command.done", "a");
  assert.equal((await outcome).state, "done");
});

test("without an answer it is sent again with the same id and time", async () => {
  const page = new Page(new World());
  await page.world.live();
  const outcome = page.commands.send("call.hangup", CALL, { commandId: "a" });
  await settle();
  const [{ payload }] = page.sent;
  page.world.socket.end(1006);
  await page.world.pass(1000);
  await page.world.live();
  assert.deepEqual(page.sent.map((one) => one.payload), [payload]);
  page.answer({ state: "done" });
  assert.equal((await outcome).state, "done");
});

test("a command that waited too long for a connection is not sent", async () => {
  const world = new World();
  const page = new Page(world);
  const early = page.commands.send("call.hangup", CALL);
  assert.deepEqual(page.storage.ids, []);
  await world.pass(9000);
  assert.equal(await outcomeOf(early), "pending");
  await world.pass(1000);
  assert.equal((await outcomeOf(early)).code, "unavailable");
  await world.live();
  assert.deepEqual(page.sent, []);
  world.socket.end(1006);
  const late = page.commands.send("call.hangup", CALL, { timeoutMs: 300 });
  await world.pass(400);
  assert.equal((await outcomeOf(late)).code, "unavailable");
});

test("one that was issued before the first connection has the time of the gateway's clock", async () => {
  const world = new World();
  const page = new Page(world);
  const outcome = page.commands.send("call.hangup", CALL, { commandId: "a" });
  await settle();
  world.socket.open();
  world.welcome(10, { server_time: "2030-01-01T00:00:00.000Z" });
  world.snapshot(10);
  await settle();
  assert.equal(page.sent[0].payload.expires_at.slice(0, 19), "2030-01-01T00:00:10");
  page.answer({ state: "done" });
  assert.equal((await outcome).state, "done");
});

test("an answer that was lost for longer: whether it was accepted is found out, and it is not carried out late", async () => {
  const world = new World();
  const page = new Page(world);
  await world.live();
  const outcome = page.commands.send("call.hangup", CALL, { commandId: "a" });
  await settle();
  await world.pass(11000);
  assert.equal(await outcomeOf(outcome), "pending");
  assert.equal(page.sent.length, 1);
  await world.pass(1000);
  assert.deepEqual(page.sent[1].payload, page.sent[0].payload);
  page.refuse("expired", "it came after its expires_at, and nothing was done");
  const error = await outcomeOf(outcome);
  assert.equal(error.code, "expired");
  assert.deepEqual(page.storage.ids, []);
});

test("after the page was loaded again, pending promises settle by the replay or by the stored answer", async () => {
  const storage = new Storage();
  const before = new Page(new World(), storage);
  await before.world.live();
  for (const commandId of ["a", "b", "c"]) before.commands.send("call.hangup", CALL, { commandId });
  await settle();
  const world = new World();
  world.time = 2000;
  const page = new Page(world, storage);
  const [a, b, c] = page.commands.pending();
  assert.deepEqual([a.command_id, b.command_id, c.command_id], ["a", "b", "c"]);
  await world.live();
  assert.deepEqual(page.sent.map(({ payload }) => payload.command_id), ["a", "b", "c"]);
  page.tell(12, "command.done", "a", {}, { offline: true });
  assert.equal((await a.outcome).state, "done");
  const [, asked] = page.sent;
  world.socket.say("accepted", { command_id: "b", state: "failed", code: "busy" }, { in_reply_to: asked.id });
  assert.equal((await b.outcome).code, "busy");
  page.answer({ state: "dispatched" });
  assert.equal(await outcomeOf(c.outcome), "pending");
  assert.deepEqual(storage.ids, ["c"]);
  page.tell(13, "command.failed", "c", { code: "outcome_unknown" });
  assert.equal((await c.outcome).code, "outcome_unknown");
});

test("an outcome that was missed is asked for: after a rebuilt state, and some seconds after the deadline", async () => {
  const world = new World();
  const page = new Page(world);
  await world.live();
  const outcome = page.commands.send("call.hangup", CALL, { commandId: "a" });
  await settle();
  page.answer();
  await settle();
  world.socket.say("gap", { from_seq: 1, to_seq: 5, reason: "mailbox" });
  await settle();
  assert.equal(page.sent.length, 2);
  page.answer();
  await world.pass(12000);
  assert.equal(page.sent.length, 2);
  await world.pass(1500);
  assert.equal(page.sent.length, 3);
  page.answer({ state: "done" });
  assert.equal((await outcome).state, "done");
});

test("the commands of another user are neither sent nor kept", async () => {
  const storage = new Storage();
  const before = new Page(new World(), storage);
  await before.world.live();
  before.commands.send("call.hangup", CALL, { commandId: "a" });
  await settle();
  const world = new World();
  const page = new Page(world, storage, { token: () => token({ sub: "bob" }) });
  const [{ outcome }] = page.commands.pending();
  await settle();
  world.socket.open();
  world.welcome(10, { user_id: "bob" });
  world.snapshot(10);
  assert.equal((await outcomeOf(outcome)).code, "stopped");
  assert.deepEqual([page.sent, storage.ids], [[], []]);
});

test("closing the client leaves what has no outcome to the next page", async () => {
  const storage = new Storage();
  const page = new Page(new World(), storage);
  await page.world.live();
  const outcome = page.commands.send("call.hangup", CALL, { commandId: "a" });
  await settle();
  page.answer();
  page.client.close();
  assert.equal((await outcomeOf(outcome)).code, "not_known");
  assert.deepEqual(storage.ids, ["a"]);
  assert.equal((await outcomeOf(page.commands.send("call.hangup", CALL))).code, "stopped");
});

test("an outcome is acknowledged where the page acknowledges itself", async () => {
  const page = new Page(new World(), new Storage(), { acknowledge: "manual" });
  await page.world.live();
  const outcome = page.commands.send("call.hangup", CALL, { commandId: "a" });
  await settle();
  page.answer();
  page.tell(11, "command.done", "other");
  page.tell(12, "command.done", "a");
  assert.equal((await outcome).state, "done");
  await page.world.pass(1000);
  assert.deepEqual(page.world.socket.sent.filter(({ type }) => type === "ack").map(({ payload }) => payload.ids), [["id-12"]]);
});

test("storage that cannot be used does no harm", async () => {
  const broken = () => {
    throw new Error("denied");
  };
  for (const storage of [null, { getItem: broken, setItem: broken, removeItem: broken }, { getItem: () => "{", setItem() {}, removeItem() {} }, { getItem: () => '[{"id":1},null]', setItem() {}, removeItem() {} }]) {
    const page = new Page(new World(), storage);
    await page.world.live();
    assert.deepEqual(page.commands.pending(), []);
    const outcome = page.commands.send("call.hangup", CALL);
    await settle();
    page.answer({ state: "done" });
    assert.equal((await outcome).state, "done");
  }
});

test("many commands at a time are refused, and what a user may do is known", async () => {
  const page = new Page(new World());
  assert.equal(page.commands.offered, null);
  await settle();
  page.world.socket.open();
  const offered = { names: ["call.hangup"], pause_reasons: ["lunch"], dispositions: [{ code: "sold", label: "Sold" }] };
  page.world.welcome(10, { commands: offered });
  page.world.snapshot(10);
  assert.deepEqual(page.commands.offered, offered);
  for (let number = 0; number < 100; number += 1) page.commands.send("call.hangup", CALL);
  assert.equal((await outcomeOf(page.commands.send("call.hangup", CALL))).code, "overloaded");
  page.commands.close();
});
