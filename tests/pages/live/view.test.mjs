// The lines of the live view: their order, the filters, the pause and the bounds.
import assert from "node:assert/strict";
import { test } from "node:test";
import { describe, familyOf } from "../../../callcenter_ws/pages/static/live/lines.js";
import { Lines, MAX_KEPT, MAX_SHOWN } from "../../../callcenter_ws/pages/static/live/view.js";

let seq = 0;
const event = (type, payload) => ({ type, payload, seq: (seq += 1), id: `e${seq}`, timestamp: "2026-11-30T12:00:00.000Z" });
const joined = (queue, caller = "4711") => event("queue.joined", { queue_name: queue, unique_id: "u", caller_id: caller });
const alert = (title) => event("alert", { title, message: "m", severity: "info" });
const texts = (lines) => lines.shown().map(({ text }) => text);

test("the newest line is the first", () => {
  const lines = new Lines();
  lines.event(alert("one"));
  lines.event(alert("two"));
  assert.deepEqual(texts(lines), ["two: m", "one: m"]);
  assert.equal(lines.seen, 2);
});

test("keys of lines are never used twice", () => {
  const lines = new Lines();
  lines.event(alert("one"));
  lines.paused = true;
  lines.event(alert("two"));
  lines.paused = false;
  lines.control(0, "live", "connected");
  assert.equal(new Set(lines.shown().map(({ key }) => key)).size, 3);
});

test("a family and a queue limit the events, not the lines about the connection", () => {
  const lines = new Lines();
  lines.event(joined("sales"));
  lines.event(joined("support"));
  lines.event(alert("one"));
  lines.control(0, "offline", "the line is cut");
  lines.family = "queue";
  assert.deepEqual(texts(lines), ["the line is cut", "4711 waits in support", "4711 waits in sales"]);
  lines.queue = "sales";
  assert.deepEqual(texts(lines), ["the line is cut", "4711 waits in sales"]);
  lines.family = "notice";
  assert.deepEqual(texts(lines), ["the line is cut"]);
});

test("the search finds words of the line, of its type and of its fields, in any case", () => {
  const lines = new Lines();
  lines.event(event("call.incoming", { unique_id: "u-77", caller_id: "4711", destination: "800", variables: { region: "Tirol" } }));
  lines.event(alert("Fire drill"));
  for (const [wanted, found] of [[" tirol ", 1], ["CALL.inc", 1], ["fire DRILL", 1], ["u-77", 1], ["nothing", 0], ["", 2]]) {
    lines.search = wanted;
    assert.equal(lines.shown().length, found, wanted);
  }
});

test("a pause keeps what comes, and shows it afterwards in its order", () => {
  const lines = new Lines();
  lines.event(alert("one"));
  lines.paused = true;
  lines.event(alert("two"));
  lines.control(0, "offline", "the line is cut");
  assert.deepEqual([texts(lines), lines.waiting, lines.seen], [["one: m"], 2, 2]);
  lines.paused = false;
  assert.deepEqual([texts(lines), lines.waiting], [["the line is cut", "two: m", "one: m"], 0]);
});

test("the oldest lines are left out, also those that wait for the end of a pause", () => {
  const lines = new Lines();
  for (let at = 0; at < MAX_KEPT + 5; at += 1) lines.event(alert(`early ${at}`));
  assert.equal(lines.shown().length, MAX_SHOWN);
  lines.search = "early 4:";
  assert.deepEqual(texts(lines), []);
  lines.search = "early 5:";
  assert.deepEqual(texts(lines), ["early 5: m"]);
  lines.paused = true;
  for (let at = 0; at < MAX_KEPT + 5; at += 1) lines.event(alert(`late ${at}`));
  assert.equal(lines.waiting, MAX_KEPT);
  lines.paused = false;
  lines.search = "early";
  assert.deepEqual(texts(lines), []);
});

test("an event of an unknown type is shown with its fields, and belongs to no family", () => {
  assert.equal(describe({ type: "toString", payload: { a: 1 } }), '{"a":1}');
  assert.equal(familyOf("toString"), "");
  const lines = new Lines();
  lines.event(event("desk.moved", { from: 1 }));
  assert.deepEqual(texts(lines), ['{"from":1}']);
  lines.family = "call";
  assert.deepEqual(texts(lines), []);
});

test("the family is that of the longest beginning", () => {
  assert.deepEqual(["queue.joined", "queue.alert.raised", "alert", "source.up"].map(familyOf), ["queue", "notice", "notice", "source"]);
});

test("what waited in the mailbox says so", () => {
  assert.equal(describe({ ...alert("Hi"), offline: true }), "Hi: m (while you were away)");
});

test("what an event does not say is left out of its line", () => {
  const answered = (more) => describe({ type: "call.answered", payload: { unique_id: "1", caller_id: "7", agent_id: "9", ...more } });
  assert.equal(answered({}), "9 answered 7");
  assert.equal(answered({ wait_seconds: 7.4, agent_name: "[Ada]" }), "[Ada] answered 7 after 7 s");
  assert.equal(answered({ wait_seconds: 0, agent_name: "{wait}" }), "{wait} answered 7 after 0 s");
  const raised = { queue_name: "sales", rule: "calls wait", metric: "longest_wait_time", window: "today", value: 92, threshold: 30 };
  assert.equal(describe({ type: "queue.alert.raised", payload: raised }), "sales: calls wait raised: longest wait today 1:32, limit 0:30");
});

test("characters that change the direction of text are not shown", () => {
  const message = { type: "call.incoming", payload: { unique_id: "1", caller_id: "7", caller_name: "\u202eevil\u2069\u2067", destination: "100" } };
  assert.equal(describe(message), "evil 7 calls 100");
  const arabic = "\u0642\u0627\u0626\u0645\u0629";
  assert.equal(describe({ ...message, payload: { ...message.payload, caller_name: arabic } }), `\u2068${arabic} 7\u2069 calls 100`);
  assert.equal(describe({ type: "unknown", payload: { a: "\u202e" } }), '{"a":""}');
});
