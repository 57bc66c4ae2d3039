import assert from "node:assert/strict";
import test from "node:test";
import { clock, count, duration, metric, percent, shortCount, shortDuration, since } from "../../../callcenter_ws/pages/static/wallboard/format.js";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

test("79.96 is not 80, and no other value crosses a limit by rounding", () => {
  assert.equal(percent(79.96, [80]), "79.9");
  assert.equal(percent(79.96), "80.0");
  assert.equal(percent(80, [80]), "80.0");
  assert.equal(percent(69.99, [80, 70]), "69.9");
  assert.equal(percent(70, [80, 70]), "70.0");
  assert.equal(percent(4.96, [5, 10]), "4.9");
  assert.equal(percent(79.96, [79.955]), "80.0");
  assert.equal(percent(79.93, [79.92]), "80.0");
});

test("a percentage has one decimal, and 100 is said of 100 only", () => {
  assert.equal(percent(50.05), "50.1");
  assert.equal(percent(0), "0.0");
  assert.equal(percent(100), "100");
  assert.equal(percent(99.99), "99.9");
  assert.equal(percent(100, [null]), "100");
  assert.equal(percent(33.33, [33.32, 33.34]), "33.33");
});

test("null is a dash", () => {
  for (const format of [percent, count, duration, shortCount, shortDuration, clock]) {
    assert.equal(format(null), "–");
    assert.equal(format(undefined), "–");
    assert.equal(format(NaN), "–");
  }
});

test("counts have separators, and are cut where they are written short", () => {
  assert.equal(count(9999), "9,999");
  assert.equal(shortCount(999), "999");
  assert.equal(shortCount(9999), "9.9k");
  assert.equal(shortCount(12_999), "12k");
});

test("durations", () => {
  assert.equal(duration(0), "0:00");
  assert.equal(duration(-5), "0:00");
  assert.equal(duration(754_999), "12:34");
  assert.equal(duration(HOUR - 1), "59:59");
  assert.equal(duration(HOUR + 2 * MINUTE + 34_000), "1:02:34");
  assert.equal(duration(100 * HOUR), "100 h");
  assert.equal(shortDuration(HOUR - 1), "59:59");
  assert.equal(shortDuration(12 * HOUR - 1), "11h59");
});

test("times of day are those of the tenant's zone, and unknown zones do not fail", () => {
  const at = Date.parse("2026-11-22T14:32:07Z");
  assert.equal(clock(at, "Asia/Kathmandu"), "20:17");
  assert.equal(clock(at, "UTC", { seconds: true }), "14:32:07");
  assert.match(clock(at, "Mars/Olympus"), /^\d\d:\d\d$/);
  assert.equal(since(at, at + HOUR, "UTC"), "14:32");
  assert.equal(since(at, at + 12 * HOUR, "UTC"), "Nov 22, 14:32");
  assert.equal(since(at, at + 7 * 24 * HOUR, "UTC", { seconds: true }), "Nov 22, 14:32");
});

test("metrics of alerts are shown by their unit", () => {
  assert.equal(metric("longest_wait_time", 92), "1:32");
  assert.equal(metric("abandon_rate", 12.34), "12.3 %");
  assert.equal(metric("calls_waiting", 12), "12");
  assert.equal(metric(null, null), "–");
});
