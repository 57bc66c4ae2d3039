import assert from "node:assert/strict";
import { test } from "node:test";
import { Emitter, Notifier } from "../src/notify.js";

function world() {
  const told = { changes: [], errors: [], flushes: [] };
  const notifier = new Notifier(
    ({ kinds, keys }) => told.changes.push([[...kinds], [...keys]]),
    (error) => told.errors.push(error.message),
    (flush) => told.flushes.push(flush),
  );
  return { notifier, told };
}

test("changes are told once a frame", () => {
  const { notifier, told } = world();
  notifier.add(['["call","1"]']);
  notifier.add(['["call","2"]', '["call","1"]']);
  notifier.add([]);
  assert.deepEqual([told.changes, told.flushes.length], [[], 1]);
  told.flushes[0]();
  assert.deepEqual(told.changes, [[["call"], ['["call","1"]', '["call","2"]']]]);
  notifier.add(['["agent","1"]']);
  assert.equal(told.flushes.length, 2);
});

test("a watch is called with the first value and with each different one, until it ends", () => {
  const { notifier, told } = world();
  let value = 1;
  const seen = [];
  const ended = new AbortController();
  notifier.watch(() => value, (now, before) => seen.push([now, before]), { signal: ended.signal });
  const frame = () => {
    notifier.add([], true);
    told.flushes.pop()();
  };
  frame();
  value = 2;
  frame();
  ended.abort();
  value = 3;
  frame();
  assert.deepEqual(seen, [[1, undefined], [2, 1]]);
});

test("what a callback throws stops nothing", () => {
  const { notifier, told } = world();
  notifier.watch(() => { throw new Error("select"); }, () => {});
  const emitter = new Emitter((error) => told.errors.push(error.message));
  const seen = [];
  emitter.on("event", () => { throw new Error("event"); });
  const remove = emitter.on("event", (message) => seen.push(message));
  emitter.emit("event", 1);
  remove();
  emitter.emit("event", 2);
  assert.deepEqual([seen, told.errors], [[1], ["select", "event", "event"]]);
});

test("changes are told although the page is hidden before its next frame", () => {
  const kept = { setTimeout: globalThis.setTimeout, clearTimeout: globalThis.clearTimeout };
  const timers = [];
  let frames = 0;
  const page = { document: { visibilityState: "visible" }, requestAnimationFrame: () => ++frames, cancelAnimationFrame: () => (frames -= 1) };
  Object.assign(globalThis, page, { setTimeout: (callback) => timers.push(callback), clearTimeout: () => {} });
  try {
    const changes = [];
    const notifier = new Notifier((change) => changes.push([...change.keys]), assert.fail);
    notifier.add(['["call","1"]']);
    assert.deepEqual([frames, timers.length], [1, 1]);
    timers[0]();
    assert.deepEqual([frames, changes], [0, [['["call","1"]']]]);
  } finally {
    for (const name of Object.keys(page)) delete globalThis[name];
    Object.assign(globalThis, kept);
  }
});

test("a signal that lives longer than what it ends does not keep it", () => {
  const kept = new Set();
  const signal = {
    aborted: false,
    addEventListener: (_, callback) => kept.add(callback),
    removeEventListener: (_, callback) => kept.delete(callback),
  };
  const emitter = new Emitter(assert.fail);
  const { notifier } = world();
  emitter.on("event", () => {}, { signal })();
  notifier.watch(() => 1, () => {}, { signal })();
  assert.equal(kept.size, 0);
});
