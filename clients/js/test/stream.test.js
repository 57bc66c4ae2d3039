import assert from "node:assert/strict";
import { test } from "node:test";
import { Stream } from "../src/stream.js";

const event = (seq, more = {}) => ({ type: "notification", timestamp: "", id: `id-${seq}`, seq, payload: {}, ...more });
const mine = (seq, more = {}) => event(seq, { user_id: "ada", ...more });

/** Take events as the client does, and return those that are told. */
function take(stream, ...events) {
  return events.filter((one) => {
    const { tell } = stream.event(one);
    stream.done(one);
    return tell;
  }).map(({ seq }) => seq);
}

function at(seq) {
  const stream = new Stream();
  stream.loaded({ epoch: "E1", seq });
  return stream;
}

test("each event is told once, in order, and moves the position when it was told", () => {
  const stream = at(10);
  assert.deepEqual(stream.event(event(11)), { apply: true, tell: true });
  assert.equal(stream.position.seq, 10);
  assert.deepEqual(take(stream, event(11), event(11), event(13), event(12), event(10), event(14)), [11, 13, 14]);
  assert.deepEqual(stream.position, { epoch: "E1", seq: 14 });
});

test("before the first snapshot there is no position, and only the mailbox is told", () => {
  const stream = new Stream();
  assert.deepEqual(take(stream, mine(3, { offline: true }), event(12)), [3]);
  assert.equal(stream.position, null);
  assert.deepEqual(stream.loaded({ epoch: "E1", seq: 12 }), { reason: "start" });
  assert.deepEqual(take(stream, event(12), event(13)), [13]);
});

test("messages of the mailbox do not move the position, and are told once", () => {
  const stream = at(10);
  assert.deepEqual(take(stream, mine(4, { offline: true }), mine(15, { offline: true })), [4, 15]);
  assert.equal(stream.position.seq, 10);
  assert.deepEqual(take(stream, mine(4, { offline: true, redelivered: true })), []);
  // Another connection, on which the mailbox no longer had it.
  assert.deepEqual(stream.event(mine(15)), { apply: true, tell: false });
  assert.deepEqual(take(stream, event(12), mine(15), event(16)), [12, 16]);
  assert.equal(stream.position.seq, 16);
});

test("what was told live is recognized in the mailbox", () => {
  const stream = at(10);
  assert.deepEqual(take(stream, mine(11), mine(11, { offline: true, redelivered: true })), [11]);
});

test("as many ids are remembered as the mailbox holds, and no more", () => {
  const stream = at(0);
  take(stream, ...Array.from({ length: 2001 }, (_, seq) => mine(seq + 1)));
  assert.deepEqual(take(stream, mine(2, { offline: true })), []);
  assert.deepEqual(take(stream, mine(1, { offline: true })), [1]);
});

test("after a reset and a gap nothing is told before the snapshot, which says why", () => {
  const stream = at(10);
  for (const why of [{ reason: "reset", detail: "too_old" }, { reason: "gap", detail: "history_exceeded" }]) {
    stream.rebuild(why);
    assert.equal(stream.position, null);
    assert.deepEqual(take(stream, event(500)), []);
    assert.deepEqual(stream.loaded({ epoch: "E2", seq: 600 }), why);
    assert.deepEqual(stream.loaded({ epoch: "E2", seq: 600 }), { reason: "refresh" });
  }
});

test("what was never loaded is not rebuilt", () => {
  const stream = new Stream();
  stream.rebuild({ reason: "reset", detail: "epoch_changed" });
  assert.deepEqual(stream.loaded({ epoch: "E2", seq: 1 }), { reason: "start" });
});

test("the end of a replay moves the position, unless a snapshot is awaited", () => {
  const stream = at(10);
  stream.resumed({ epoch: "E1", to_seq: 20 });
  assert.equal(stream.position.seq, 20);
  stream.rebuild({ reason: "gap" });
  stream.resumed({ epoch: "E1", to_seq: 30 });
  assert.equal(stream.position, null);
});

test("a replay that another tab asked for, and that ends earlier, does not move the position back", () => {
  const stream = new Stream();
  stream.loaded({ epoch: "E1", seq: 10 });
  stream.resumed({ epoch: "E1", to_seq: 8 });
  assert.deepEqual(stream.position, { epoch: "E1", seq: 10 });
  stream.resumed({ epoch: "E1", to_seq: 12 });
  assert.deepEqual(stream.position, { epoch: "E1", seq: 12 });
});
