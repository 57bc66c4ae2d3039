import assert from "node:assert/strict";
import { test } from "node:test";
import { Heartbeat } from "../src/heartbeat.js";

const LIMITS = { idleMs: 20000, answerMs: 10000 };

/** Tick each `step` seconds up to `end`, and return what happened, with the second. */
function ticks(heartbeat, from, end, step = 1, wallOffset = 0) {
  const happened = [];
  for (let second = from; second <= end; second += step) {
    const what = heartbeat.tick(second * 1000, second * 1000 + wallOffset);
    if (what) happened.push([second, what]);
  }
  return happened;
}

test("silence is asked about, then stale, then dead", () => {
  assert.deepEqual(ticks(new Heartbeat(LIMITS, 0, 0), 1, 60), [[20, "ping"], [30, "stale"], [40, "dead"], ...Array.from({ length: 20 }, (_, at) => [41 + at, "dead"])]);
});

test("a wallboard knows after five seconds", () => {
  const heartbeat = new Heartbeat({ idleMs: 2500, answerMs: 2500 }, 0, 0);
  assert.deepEqual(ticks(heartbeat, 0.5, 8, 0.5), [[2.5, "ping"], [5, "stale"], [7.5, "dead"], [8, "dead"]]);
});

test("any message ends the question", () => {
  const heartbeat = new Heartbeat(LIMITS, 0, 0);
  assert.deepEqual(ticks(heartbeat, 1, 35), [[20, "ping"], [30, "stale"]]);
  heartbeat.received(35500);
  assert.deepEqual(ticks(heartbeat, 36, 65), [[56, "ping"]]);
});

test("while messages come, nothing is asked", () => {
  const heartbeat = new Heartbeat(LIMITS, 0, 0);
  for (let second = 1; second < 200; second += 1) {
    if (second % 15 === 0) heartbeat.received(second * 1000);
    assert.equal(heartbeat.tick(second * 1000, second * 1000), null);
  }
});

test("with patience, answers may take longer", () => {
  const heartbeat = new Heartbeat(LIMITS, 0, 0);
  const happened = [];
  for (let second = 1; second <= 140; second += 1) {
    const what = heartbeat.tick(second * 1000, second * 1000, 6);
    if (what) happened.push([second, what]);
  }
  assert.deepEqual(happened, [[20, "ping"], [80, "stale"], [140, "dead"]]);
});

test("after sleep a ping is sent, and five seconds are given, whichever clock stood still", () => {
  for (const [now, wall] of [[1000, 3_600_000], [3_600_000, 1000], [3_600_000, 3_600_000]]) {
    const heartbeat = new Heartbeat(LIMITS, 0, 0);
    assert.equal(heartbeat.tick(now, wall), "ping");
    assert.equal(heartbeat.tick(now + 1000, wall + 1000), null);
    assert.equal(heartbeat.tick(now + 4900, wall + 4900), null);
    assert.equal(heartbeat.tick(now + 5000, wall + 5000), "dead");
  }
});

test("after sleep with an open question nothing is concluded either", () => {
  const heartbeat = new Heartbeat(LIMITS, 0, 0);
  assert.deepEqual(ticks(heartbeat, 1, 30), [[20, "ping"], [30, "stale"]]);
  assert.equal(heartbeat.tick(9_000_000, 9_000_000), "ping");
  heartbeat.received(9_000_200);
  assert.equal(heartbeat.tick(9_005_000, 9_005_000), null);
});

test("a throttled tab, which looks once a minute, notices a dead line at the second look", () => {
  const heartbeat = new Heartbeat(LIMITS, 0, 0);
  for (const minute of [1, 2, 3]) {
    assert.equal(heartbeat.tick(minute * 60000, minute * 60000), "ping");
    heartbeat.received(minute * 60000 + 50);
  }
  assert.equal(heartbeat.tick(240000, 240000), "ping");
  assert.equal(heartbeat.tick(300000, 300000), "dead");
});

test("a question of the page is asked once, and answered within five seconds", () => {
  const heartbeat = new Heartbeat(LIMITS, 0, 0);
  assert.equal(heartbeat.wake(100), "ping");
  assert.equal(heartbeat.wake(200), null);
  assert.deepEqual(ticks(heartbeat, 1, 5), []);
  assert.equal(heartbeat.tick(5100, 5100), "dead");
});

test("the limits can be shortened, not lengthened", () => {
  const heartbeat = new Heartbeat(LIMITS, 0, 0);
  heartbeat.limit({ idleMs: 2000, answerMs: 30000 });
  assert.deepEqual(ticks(heartbeat, 1, 22), [[2, "ping"], [12, "stale"], [22, "dead"]]);
});
