import assert from "node:assert/strict";
import { test } from "node:test";
import { backoff } from "../src/backoff.js";

test("delays lie between half a second and a growing ceiling of 20 seconds", () => {
  const range = (attempt) => [backoff(attempt, () => 0), backoff(attempt, () => 1)];
  assert.deepEqual([0, 1, 2, 3, 4, 5, 1000].map(range), [
    [500, 1000], [500, 2000], [500, 4000], [500, 8000], [500, 16000], [500, 20000], [500, 20000],
  ]);
});

test("the time that the gateway asks for is never shortened, and spread by a quarter", () => {
  assert.deepEqual([0, 0.5, 1].map((random) => backoff(0, () => random, 8000)), [8000, 9000, 10000]);
  assert.equal(backoff(9, () => 1, 8000), 20000);
});
