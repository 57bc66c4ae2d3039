import assert from "node:assert/strict";
import test from "node:test";
import { Messages, Order, Pager, age, page, rows, shownTime, strip } from "../../../callcenter_ws/pages/static/wallboard/model.js";
import { DEFAULTS } from "../../../callcenter_ws/pages/static/wallboard/settings.js";

const NOW = Date.parse("2026-11-22T14:32:12Z");
const queue = (name, given = {}) => ({
  name, waiting: 0, longest_wait_since: null, available: 1, staffed: 2, alerts: [],
  service_level: { last_30m: 90, today: 90, target: 80, seconds: 20 }, abandon_rate: { last_30m: 0, today: 0 }, ...given,
});
const store = ({ queues = [], alerts = [], sources = [] }) => ({
  queues: () => queues, queue: (name) => queues.find((one) => one.name === name), alerts: () => alerts, sources: () => sources,
});
const live = { state: "live", as_of: NOW };
const offline = (ms) => ({ state: "offline", as_of: NOW - ms, since: NOW - ms, offline_since: NOW - ms, attempt: 2 });
const UTC = { zone: "UTC" };

test("five seconds without a link are old, sixty are gone", () => {
  assert.equal(age(live, NOW), "fresh");
  assert.equal(age(offline(4_999), NOW), "fresh");
  assert.equal(age(offline(5_000), NOW), "old");
  assert.equal(age({ ...offline(5_000), state: "stale" }, NOW), "old");
  assert.equal(age({ ...offline(59_999), state: "catching_up" }, NOW), "old");
  assert.equal(age(offline(60_000), NOW), "gone");
  assert.equal(age({ state: "stopped", as_of: NOW }, NOW), "gone");
});

test("a link that was not heard while the computer slept is not live", () => {
  assert.equal(age({ state: "live", as_of: NOW - 20_000 }, NOW), "old");
  assert.equal(age({ state: "live", as_of: NOW - 3_600_000 }, NOW), "gone");
});

test("before the first snapshot the time counts from the start", () => {
  const begun = { state: "connecting", as_of: null, since: NOW - 6_000, offline_since: null, attempt: 0 };
  assert.equal(age(begun, NOW), "old");
  assert.equal(strip(store({}), begun, NOW).text, "connecting…");
});

test("clocks stop where the data end", () => {
  const waiting = store({ queues: [queue("q", { waiting: 1, longest_wait_since: NOW - 100_000 })] });
  const text = (status) => rows(waiting, DEFAULTS, shownTime(status, NOW))[0].cells.longest_wait.text;
  assert.equal(text(live), "1:40");
  assert.equal(text(offline(4_000)), "1:40");
  assert.equal(text(offline(40_000)), "1:00");
});

test("figures that are gone are dashes without severity", () => {
  const bad = store({ queues: [queue("q", { waiting: 99, staffed: 0, available: 0 })] });
  const [row] = rows(bad, DEFAULTS, NOW, "gone");
  assert.deepEqual(new Set(Object.values(row.cells).map(({ text }) => text)), new Set(["–"]));
  assert.deepEqual([row.severity, row.words, row.cells.agents.second], [0, [], ""]);
});

test("79.96 is shown as less than 80 and warns", () => {
  const [row] = rows(store({ queues: [queue("q", { service_level: { last_30m: 79.96, today: 79.96, target: 80, seconds: 20 } })] }), DEFAULTS, NOW);
  assert.equal(row.cells.service_level_30m.text, "79.9");
  assert.equal(row.cells.service_level_today.text, "79.9");
  assert.equal(row.cells.service_level_today.second, "of 80");
  assert.deepEqual([row.severity, row.words], [1, []]);
});

test("a breach has a word, an alert makes its row at least a warning", () => {
  const [breach, warned, critical] = rows(
    store({
      queues: [
        queue("a", { waiting: 12, longest_wait_since: NOW - 61_000 }),
        queue("b", { alerts: [{ severity: "warning" }] }),
        queue("c", { alerts: [{ severity: "critical" }] }),
      ],
    }),
    DEFAULTS,
    NOW,
  );
  assert.deepEqual([breach.severity, breach.words], [2, ["MANY", "LONG"]]);
  assert.deepEqual([warned.severity, warned.words], [1, []]);
  assert.deepEqual([critical.severity, critical.words], [2, ["ALERT"]]);
});

test("queues of the settings that are not known have dashes, others are left out", () => {
  const made = rows(store({ queues: [queue("a"), queue("b")] }), { ...DEFAULTS, queues: ["b", "later"] }, NOW);
  assert.deepEqual(made.map(({ name }) => name), ["b", "later"]);
  assert.equal(made[1].cells.waiting.text, "–");
});

test("rows are worst first: severity, longest wait, waiting, name", () => {
  const made = rows(
    store({
      queues: [
        queue("z"), queue("a"), queue("two", { waiting: 2 }),
        queue("long", { waiting: 1, longest_wait_since: NOW - 10_000 }),
        queue("warning", { waiting: 5 }),
        queue("breach", { waiting: 10 }),
      ],
    }),
    DEFAULTS,
    NOW,
  );
  assert.deepEqual(new Order().sorted(made, NOW).map(({ name }) => name), ["breach", "warning", "long", "two", "a", "z"]);
});

test("the order is kept for five seconds, unless there is a new breach", () => {
  const order = new Order();
  const of = (given, now) => order.sorted(rows(store({ queues: ["a", "b", "c"].map((name) => queue(name, given[name])) }), DEFAULTS, now), now).map(({ name }) => name).join("");
  assert.equal(of({}, NOW), "abc");
  assert.equal(of({ b: { waiting: 6 } }, NOW + 1000), "abc");
  assert.equal(of({ b: { waiting: 6 } }, NOW + 5000), "bac");
  assert.equal(order.breaches, 0);
  assert.equal(of({ b: { waiting: 6 }, c: { waiting: 11 } }, NOW + 6000), "cba");
  assert.equal(order.breaches, 1);
  assert.equal(of({ b: { waiting: 6 }, c: { waiting: 11 } }, NOW + 7000), "cba");
  assert.equal(order.breaches, 1);
});

test("pages are turned by time, and a new breach returns to the first", () => {
  const pager = new Pager(12_000);
  const at = (now, breaches = 0, of = 3) => pager.at(of, breaches, now);
  assert.equal(at(0), 1);
  assert.deepEqual([11_999, 12_000, 24_000, 36_000].map((now) => at(now)), [1, 2, 3, 1]);
  assert.equal(at(48_000), 2);
  assert.equal(at(49_000, 1), 1);
  pager.move(-1, 3, 49_000);
  assert.equal(at(50_000, 1), 3);
  assert.equal(at(51_000, 1, 2), 1);
  assert.equal(at(90_000, 1, 1), 1);
});

test("a page has its rows, its number and the number of pages", () => {
  const all = Array.from({ length: 13 }, (_, at) => ({ name: `${at}` }));
  assert.deepEqual([page(all, 6, 3).rows.length, page(all, 6, 3).number, page(all, 6, 3).of], [1, 3, 3]);
  assert.equal(page(all, 6, 9).number, 3);
  assert.equal(page(all, 0, 1).rows.length, 13);
  assert.deepEqual(page([], 6, 1), { rows: [], number: 1, of: 1 });
});

test("the strip says first that there are no live data, in the zone of the tenant", () => {
  const one = { rule: "r", queue: "q", source: null, metric: "calls_waiting", value: 1, threshold: 0, severity: "critical", since: NOW };
  const shown = strip(store({ alerts: [one] }), offline(5_000), NOW, UTC);
  assert.deepEqual([shown.kind, shown.text, shown.severity], ["old", "no live data since 14:32:07", 1]);
  const stopped = { state: "stopped", as_of: NOW, reason: { text: "signed out" } };
  assert.equal(strip(store({}), stopped, NOW, UTC).name, "stopped: signed out");
});

test("the strip tells alerts, worst and newest first, sources that are down, and messages for a minute", () => {
  const alert = (queue, severity, since, acknowledged = false) => ({
    rule: "r", queue, source: null, metric: "longest_wait_time", value: 92, threshold: 30, severity, since, acknowledged,
  });
  const messages = new Messages();
  const given = store({
    alerts: [alert("a", "warning", 1), alert("b", "warning", 2), alert("c", "critical", 0), alert("d", "critical", 9, true)],
    sources: [{ name: "pbx1", up: false, since: NOW - 1_200_000 }, { name: "pbx2", up: true, since: 1 }],
  });
  const shown = (now) => Array.from({ length: 6 }, (_, at) => {
    const { name, text, number, of } = strip(given, { ...live, as_of: now + 6000 * at }, now + 6000 * at, { ...UTC, messages });
    return [number, `${name}${text}`.replace(/[\u2068\u2069]/g, ""), of];
  }).sort((one, other) => one[0] - other[0]);
  // A moment at which the first of six is shown.
  const start = Math.ceil(NOW / 36_000) * 36_000;
  messages.add({ payload: { title: "Fire drill", message: "at 15:00", severity: "info" } }, start);
  messages.add({ payload: { title: "Past", message: "x" } }, start - 60_000);
  assert.deepEqual(shown(start).map(([number, text, of]) => (assert.equal(of, 6), assert.ok(number), text)), [
    "Fire drill: at 15:00", "c: longest wait 1:32, limit 0:30",
    "b: longest wait 1:32, limit 0:30", "a: longest wait 1:32, limit 0:30", "pbx1: disconnected since 14:12",
    "d: longest wait 1:32, acknowledged",
  ]);
});

test("alerts of other queues are not shown by a board of some", () => {
  const one = { rule: "r", queue: "other", source: null, metric: null, value: null, threshold: null, severity: null, since: NOW };
  assert.equal(strip(store({ alerts: [one] }), live, NOW, { queues: ["q"] }).kind, "none");
  assert.equal(strip(store({ alerts: [one] }), live, NOW).kind, "alert");
});

test("when every source is down, no row is trusted", () => {
  const made = (...sources) => rows(store({ queues: [queue("q")], sources }), DEFAULTS, NOW)[0].source_down;
  assert.deepEqual([made(), made({ up: false }, { up: true }), made({ up: false })], [false, false, true]);
});
