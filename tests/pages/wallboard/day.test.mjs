import assert from "node:assert/strict";
import test from "node:test";
import { axisEnd, dayOf, hoursBelow } from "../../../callcenter_ws/pages/static/wallboard/day.js";

const at = (text) => Date.parse(`2026-11-22T${text}+01:00`) / 1000;
const label = (seconds) => new Date((seconds + 3600) * 1000).toISOString().slice(11, 16);
/** Quarters from midnight on, in a zone of +01:00, up to the present one. */
const quarters = (now, calls) => {
  const made = [];
  for (let start = at("00:00:00"); start <= now / 1000; start += 900) {
    const [offered, answered] = calls[label(start)] ?? [0, 0];
    made.push({ start: `${new Date((start + 3600) * 1000).toISOString().slice(0, 19)}+01:00`, minutes: 15, offered, answered });
  }
  return made;
};

test("the chart begins with the hour of the first call and ends with the present hour", () => {
  const now = at("14:32:12") * 1000;
  const day = dayOf(quarters(now, { "08:15": [3, 2], "14:30": [1, 0] }), now);
  assert.deepEqual([label(day.from), label(day.to), label(day.starts[0]), label(day.starts.at(-1))], ["08:00", "15:00", "08:00", "14:30"]);
  assert.deepEqual([day.offered.slice(0, 3), day.answered.slice(0, 3)], [[0, 3, 0], [0, 2, 0]]);
  assert.deepEqual(day.sums, { offered: 4, answered: 2 });
});

test("at least four hours are shown, of the day only", () => {
  const now = at("09:10:00") * 1000;
  const late = dayOf(quarters(now, { "09:00": [1, 1] }), now);
  assert.deepEqual([label(late.from), label(late.to)], ["06:00", "10:00"]);
  const early = at("00:20:00") * 1000;
  const begun = dayOf(quarters(early, { "00:15": [1, 0] }), early);
  assert.deepEqual([label(begun.from), label(begun.to), begun.starts.length], ["00:00", "04:00", 2]);
});

test("a day without calls, and one without any interval, are empty", () => {
  const now = at("14:32:12") * 1000;
  assert.deepEqual(dayOf(quarters(now, {}), now).sums, { offered: 0, answered: 0 });
  const none = dayOf([], now);
  assert.deepEqual([none.starts, none.sums, label(none.from), label(none.to)], [[], { offered: 0, answered: 0 }, "11:00", "15:00"]);
});

test("hours are written as far as they have room", () => {
  const hours = (most) => hoursBelow(at("07:00:00"), at("15:00:00"), most).map(label);
  assert.deepEqual(hours(8), ["07:00", "08:00", "09:00", "10:00", "11:00", "12:00", "13:00", "14:00"]);
  assert.deepEqual(hours(5), ["07:00", "09:00", "11:00", "13:00"]);
  assert.deepEqual(hours(1), ["07:00"]);
});

test("the axis ends with the most calls of a quarter, and has room for four", () => {
  assert.equal(axisEnd([0, 17, 3]), 17);
  assert.equal(axisEnd([]), 4);
});
