import assert from "node:assert/strict";
import test from "node:test";
import { DEFAULTS, complete, ofFragment } from "../../../callcenter_ws/pages/static/wallboard/settings.js";
import { ofAlert, severity } from "../../../callcenter_ws/pages/static/wallboard/thresholds.js";

const QUEUE = { waiting: 1, available: 1, staffed: 2, service_level: { target: 80, seconds: 20 } };
const of = (figure, value, queue = QUEUE) => severity(figure, value, queue, DEFAULTS.thresholds);

test("service levels warn below the target, and are a breach ten points below", () => {
  assert.deepEqual([80, 79.99, 70, 69.99].map((value) => of("service_level_30m", value)), [0, 1, 1, 2]);
  assert.equal(of("service_level_30m", null), 0);
  assert.equal(of("service_level_30m", 1, { service_level: { target: null } }), 0);
  assert.equal(of("service_level_today", 1), 0);
});

test("waits are measured by the seconds of the service level", () => {
  assert.deepEqual([19_999, 20_000, 60_000].map((value) => of("longest_wait", value)), [0, 1, 2]);
  assert.equal(of("longest_wait", 1e9, {}), 0);
});

test("calls and rates", () => {
  assert.deepEqual([4, 5, 10].map((value) => of("waiting", value)), [0, 1, 2]);
  assert.deepEqual([4.99, 5, 10].map((value) => of("abandon_rate_30m", value)), [0, 1, 2]);
});

test("no staffed agent is a breach only while calls wait", () => {
  assert.equal(of("agents", 0, { waiting: 1, available: 0, staffed: 0 }), 2);
  assert.equal(of("agents", 0, { waiting: 1, available: 0, staffed: 3 }), 1);
  assert.equal(of("agents", 0, { waiting: 0, available: 0, staffed: 0 }), 0);
  assert.equal(of("agents", null, { waiting: 1, available: null, staffed: null }), 0);
});

test("alerts", () => {
  assert.deepEqual(["critical", "warning", null].map((one) => ofAlert({ severity: one })), [2, 1, 1]);
});

test("settings have defaults and bounds, also those of the address", () => {
  const is = (name) => name === "waiting";
  assert.deepEqual(complete({}, is).figures, DEFAULTS.figures);
  assert.deepEqual(complete({ figures: ["waiting", "nothing"] }, is).figures, ["waiting"]);
  const given = complete(ofFragment("#queues=a,b,,a&rows=40&page_seconds=x&theme=pink&thresholds=1&title=T"), is);
  assert.deepEqual(given, { ...DEFAULTS, queues: ["a", "b"], title: "T" });
  assert.deepEqual(complete(ofFragment("#toString=1&valueOf=1&__proto__=1"), is), DEFAULTS);
});
