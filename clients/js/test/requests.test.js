import assert from "node:assert/strict";
import { test } from "node:test";
import { Requests } from "../src/requests.js";
import { World, settle } from "./world.js";

/** Requests on a line that notes what is sent. */
function requests() {
  const world = new World();
  const sent = [];
  const made = new Requests("tab", (frame) => (sent.push(frame), true), world.env);
  const ids = () => sent.map(({ id }) => id);
  return { world, sent, ids, made };
}

/** How a promise ended: its value, or the code of its refusal. */
function outcome(promise) {
  const ended = { value: "open" };
  promise.then((value) => (ended.value = value), (error) => (ended.value = error.code ?? error.name));
  return async () => (await settle(), ended.value);
}

const CHAT = { retry: true, lane: "chat:1" };
const answer = (in_reply_to, payload = {}) => ({ type: "accepted", in_reply_to, payload });
const refusal = (in_reply_to, payload) => ({ type: "error", in_reply_to, payload });

test("a request waits for the connection, and its answer is returned", async () => {
  const { sent, made } = requests();
  const ended = outcome(made.add("alert.ack", { alert_id: "a" }));
  assert.deepEqual(sent, []);
  made.live(true);
  assert.deepEqual(sent, [{ type: "alert.ack", id: "tab:1", payload: { alert_id: "a" } }]);
  assert.equal(made.take(answer("other:1")), false);
  assert.equal(made.take(answer("tab:1", { seq: 5 })), true);
  assert.deepEqual(await ended(), { seq: 5 });
  assert.equal(made.take(answer("tab:1")), false);
});

test("messages of a chat go one after the other, those of other chats beside them", async () => {
  const { ids, made } = requests();
  made.live(true);
  for (const lane of ["chat:1", "chat:1", "chat:2"]) made.add("chat.message", {}, { retry: true, lane });
  assert.deepEqual(ids(), ["tab:1", "tab:3"]);
  made.take(answer("tab:1"));
  assert.deepEqual(ids(), ["tab:1", "tab:3", "tab:2"]);
});

test("a chat message is sent again with the same ids on the next connection", async () => {
  const { sent, made } = requests();
  made.live(true);
  const ended = outcome(made.add("chat.message", { client_message_id: "m" }, CHAT));
  made.live(false);
  made.live(true);
  assert.deepEqual(sent[1], sent[0]);
  made.take(answer("tab:1", { duplicate: true }));
  assert.deepEqual(await ended(), { duplicate: true });
});

test("what must not be done twice is given up when its answer is lost", async () => {
  const { sent, made } = requests();
  made.live(true);
  const ended = outcome(made.add("call.originate"));
  made.live(false);
  made.live(true);
  assert.equal(await ended(), "not_known");
  assert.equal(sent.length, 1);
});

test("when another tab leads, what was sent is sent again", () => {
  const { ids, made } = requests();
  made.live(true);
  made.add("chat.message", {}, CHAT);
  made.lost();
  assert.deepEqual(ids(), ["tab:1", "tab:1"]);
});

test("a temporary refusal is retried after the time that it names, and the chat waits in order", async () => {
  const { world, ids, made } = requests();
  made.live(true);
  made.add("chat.message", {}, CHAT);
  made.add("chat.message", {}, CHAT);
  made.take(refusal("tab:1", { code: "unavailable", retry_after_ms: 5000 }));
  await world.pass(4999);
  assert.deepEqual(ids(), ["tab:1"]);
  await world.pass(1);
  assert.deepEqual(ids(), ["tab:1", "tab:1"]);
  made.take(answer("tab:1"));
  assert.deepEqual(ids(), ["tab:1", "tab:1", "tab:2"]);
});

test("without a time the delay grows to eight seconds", async () => {
  const { world, ids, made } = requests();
  made.live(true);
  made.add("chat.message", {}, CHAT);
  for (const delay of [1000, 2000, 4000, 8000, 8000]) {
    const before = ids().length;
    made.take(refusal("tab:1", { code: "rate_limited" }));
    await world.pass(delay - 1);
    assert.equal(ids().length, before);
    await world.pass(1);
    assert.equal(ids().length, before + 1);
  }
});

test("a rate limit that names no request delays all that wait for an answer", async () => {
  const { world, ids, made } = requests();
  made.live(true);
  made.add("chat.message", {}, CHAT);
  made.add("call.originate");
  made.limited(3000);
  await world.pass(3000);
  assert.deepEqual(ids(), ["tab:1", "tab:2", "tab:1"], "but not what must not be done twice");
});

test("a final refusal is told", async () => {
  const { made } = requests();
  made.live(true);
  for (const code of ["forbidden", "unknown_session", "invalid_message", "too_large"]) {
    const ended = outcome(made.add("chat.message", {}, CHAT));
    assert.equal(made.take(refusal(`tab:${["forbidden", "unknown_session", "invalid_message", "too_large"].indexOf(code) + 1}`, { code, message: "no" })), true);
    assert.equal(await ended(), code);
  }
});

test("after its time it is not known whether a message was sent; one that was not sent is known", async () => {
  const { world, made } = requests();
  const unsent = outcome(made.add("chat.message", {}, { retry: true, timeoutMs: 1000 }));
  await world.pass(1000);
  assert.equal(await unsent(), "unavailable");
  made.live(true);
  const sent = outcome(made.add("chat.message", {}, { ...CHAT, timeoutMs: 270000 }));
  made.live(false);
  await world.pass(269999);
  assert.equal(await sent(), "open");
  await world.pass(1);
  assert.equal(await sent(), "not_known");
  assert.equal(world.timers, 0);
});

test("when one takes too long, the next of the chat goes", async () => {
  const { world, ids, made } = requests();
  made.live(true);
  made.add("chat.message", {}, { ...CHAT, timeoutMs: 1000 }).catch(() => {});
  made.add("chat.message", {}, { ...CHAT, timeoutMs: 5000 });
  await world.pass(1000);
  assert.deepEqual(ids(), ["tab:1", "tab:2"]);
});

test("a request can be aborted", async () => {
  const { ids, made } = requests();
  const abort = new AbortController();
  const ended = outcome(made.add("chat.message", {}, { ...CHAT, signal: abort.signal }));
  abort.abort();
  made.live(true);
  assert.equal(await ended(), 20); // DOMException.ABORT_ERR
  assert.deepEqual(ids(), []);
  assert.equal(await outcome(made.add("x", {}, { signal: abort.signal }))(), 20);
});

test("at most 200 requests wait", async () => {
  const { made } = requests();
  const all = Array.from({ length: 201 }, () => outcome(made.add("snapshot")));
  assert.equal(await all[200](), "overloaded");
  assert.equal(await all[199](), "open");
  made.close("stopped", "stopped");
  assert.equal(await all[199](), "stopped");
});
