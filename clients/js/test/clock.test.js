import assert from "node:assert/strict";
import { test } from "node:test";
import { ServerClock } from "../src/clock.js";

const at = (ms) => new Date(ms).toISOString();

test("half of the time of an answer is added, and the quickest answer counts", () => {
  const clock = new ServerClock();
  clock.sample(at(1_000_000), 990_000, 0, null);
  assert.equal(clock.skew, 10_000);
  clock.sample(at(1_001_000), 991_200, 1200, 400);
  assert.equal(clock.skew, 10_000);
  clock.sample(at(1_002_000), 992_020, 2020, 40);
  assert.equal(clock.skew, 10_000);
  clock.sample(at(1_003_000), 994_000, 4000, 3000);
  assert.equal(clock.skew, 10_000, "a slow answer does not count");
});

test("a sample of unknown duration is replaced by any other", () => {
  const clock = new ServerClock();
  clock.sample(at(5000), 0, 0, null);
  clock.sample(at(7000), 1000, 1000, 200);
  assert.equal(clock.skew, 6100);
});

test("ten samples are kept", () => {
  const clock = new ServerClock();
  clock.sample(at(5000), 0, 0, 10);
  for (let number = 1; number <= 10; number += 1) clock.sample(at(6000 + number), number, number, 100);
  assert.equal(clock.skew, 6050);
});

test("when the computer's clock is set, earlier samples are forgotten", () => {
  const clock = new ServerClock();
  clock.sample(at(1000), 1000, 0, 10);
  clock.sample(at(3000), 93_000, 2000, 2000);
  assert.equal(clock.skew, -89_000);
});

test("what is no time is ignored", () => {
  const clock = new ServerClock();
  clock.sample(at(1000), 0, 0, 10);
  clock.sample("yesterday", 0, 0, 1);
  assert.equal(clock.skew, 1005);
});
