// The table of agents: its rows, filters, limits, order and window.
import assert from "node:assert/strict";
import { test } from "node:test";
import { agentRows, ALL, callsByAgent, COLUMNS, counts, filtered } from "../../../callcenter_ws/pages/static/supervisor/agent_rows.js";
import { Attention, HeldOrder, HOLD_MS } from "../../../callcenter_ws/pages/static/supervisor/held.js";
import { DEFAULTS, Limits, secondsWritten, written } from "../../../callcenter_ws/pages/static/supervisor/limits.js";
import { RowWindow, SPARE, STEP } from "../../../callcenter_ws/pages/static/supervisor/row_window.js";
import { Sorting } from "../../../callcenter_ws/pages/static/supervisor/sorting.js";

const NOW = 1_000_000_000;
const agent = (id, state, seconds, more = {}) => ({ id, name: `Agent ${id}`, state, since: NOW - seconds * 1000, reason: null, extension: null, queues: [], paused_in: [], figures: null, ...more });
const call = (id, agentId, state, more = {}) => ({ id, agent_id: agentId, state, caller_id: null, caller_name: null, since: NOW, queue: null, ...more });
const store = (agents, calls = [], sources = []) => ({ agents: () => agents, calls: () => calls, sources: () => sources });
const memory = (known = null) => ({ known, get(_, otherwise) { return this.known ?? otherwise; }, set(_, given) { this.known = given; } });
const keys = (rows) => rows.map(({ key }) => key);

test("an agent is over its limit only after it, and in states that have one", () => {
  const limits = new Limits(memory());
  assert.equal(limits.isOver(agent("1", "talking", DEFAULTS.talking), NOW), false);
  assert.equal(limits.isOver(agent("1", "talking", DEFAULTS.talking + 1), NOW), true);
  assert.equal(limits.isOver(agent("1", "available", 99_999), NOW), false);
});

test("limits are remembered, and what another version has left is no failure", () => {
  const storage = memory();
  new Limits(storage).set({ ...DEFAULTS, talking: 60, break: null });
  const again = new Limits(storage);
  assert.deepEqual([again.of("talking"), again.of("break"), again.of("ringing")], [60, null, DEFAULTS.ringing]);
  again.reset();
  assert.equal(new Limits(storage).of("talking"), DEFAULTS.talking);
  for (const known of ["x", 7, [], { talking: "x", other: 7 }]) assert.equal(new Limits(memory(known)).of("ringing"), DEFAULTS.ringing);
});

test("limits are written as minutes and seconds", () => {
  assert.deepEqual([30, 600, null].map(written), ["0:30", "10:00", ""]);
  assert.deepEqual(["0:30", " 10:00 ", "10", "0,5", ""].map(secondsWritten), [30, 600, 600, 30, null]);
  assert.ok(["x", "-1", "1:99", "1:2:3"].map(secondsWritten).every(Number.isNaN));
});

test("an agent's call is the one that is talked to, then one that rings; waiting calls belong to none", () => {
  const found = callsByAgent([call("a", "1", "ringing"), call("b", "1", "talking"), call("c", "1", "ringing"), call("d", "2", "waiting"), call("e", null, "talking")]);
  assert.deepEqual([...found].map(([id, { id: one }]) => [id, one]), [["1", "b"]]);
});

test("rows are filtered by state, queue, text and limit", () => {
  const agents = [agent("1", "talking", 700, { queues: ["sales"], name: "Ada" }), agent("2", "talking", 5, { queues: ["sales", "support"], extension: "207" }), agent("3", "break", 5)];
  const rows = agentRows(store(agents, [call("x", "1", "talking", { caller_name: "Niels Bohr", caller_id: "+32255" })]), new Limits(memory()), NOW);
  const found = (filter) => keys(filtered(rows, { ...ALL, ...filter }));
  assert.deepEqual(found({}), ["1", "2", "3"]);
  assert.deepEqual(found({ state: "talking" }), ["1", "2"]);
  assert.deepEqual(found({ queue: "support" }), ["2"]);
  assert.deepEqual(found({ isOverOnly: true }), ["1"]);
  assert.deepEqual([found({ text: " ADA" }), found({ text: "207" }), found({ text: "bohr" }), found({ text: "32255" })], [["1"], ["2"], ["1"], ["1"]]);
  const out = agentRows(store(agents, [call("y", "2", "talking", { direction: "outbound", caller_id: "207", destination: "+4989" })]), new Limits(memory()), NOW);
  assert.deepEqual(keys(filtered(out, { ...ALL, text: "+4989" })), ["2"]);
  assert.deepEqual(counts(rows).filter(({ count }) => count).map(({ state, count }) => [state, count]), [["talking", 2], ["break", 1]]);
});

test("what was not heard of since a source is down may be old", () => {
  const sources = [{ name: "a", up: true, since: 1 }, { name: "b", up: false, since: NOW - 60_000 }];
  const rows = agentRows(store([agent("1", "talking", 61), agent("2", "talking", 59)], [], sources), new Limits(memory()), NOW);
  assert.deepEqual(rows.map(({ isOld }) => isOld), [true, false]);
});

test("a table is sorted by longest in state first, and by each column in either direction, with empty values last", () => {
  const rows = agentRows(store([agent("1", "break", 5), agent("2", "talking", 50), agent("3", "ringing", 9)], [call("x", "3", "ringing")]), new Limits(memory()), NOW);
  const sorting = new Sorting(COLUMNS, "since", ({ key }) => key);
  // The longest is the one that came first into its state.
  sorting.isDescending = false;
  assert.deepEqual(keys(sorting.sorted(rows)), ["1", "3", "2"]);
  sorting.choose("since");
  assert.deepEqual([keys(sorting.sorted(rows)), sorting.aria("since"), sorting.aria("name")], [["2", "3", "1"], "descending", "none"]);
  sorting.choose("name");
  assert.deepEqual([keys(sorting.sorted(rows)), sorting.aria("name")], [["1", "2", "3"], "ascending"]);
  sorting.choose("name");
  assert.deepEqual(keys(sorting.sorted(rows)), ["3", "2", "1"]);
  for (const _ of [1, 2]) {
    sorting.choose("call");
    assert.deepEqual(keys(sorting.sorted(rows)), ["3", "1", "2"]);
  }
});

test("while a person acts, rows stand still: none moves, leaves or comes between", () => {
  const order = new HeldOrder();
  const row = (key, value = 0) => ({ key, value });
  assert.deepEqual(keys(order.next([row("a"), row("b"), row("c")], false)), ["a", "b", "c"]);
  const held = order.next([row("d"), row("c", 1), row("a", 1)], true, (key) => (key === "b" ? row("b", 7) : undefined));
  assert.deepEqual(held.map(({ key, value, isGone }) => [key, value, isGone ?? false]), [["a", 1, false], ["b", 7, true], ["c", 1, false], ["d", 0, false]]);
  assert.deepEqual(keys(order.next([row("d"), row("a")], true)), ["a", "b", "c", "d"]);
  assert.deepEqual(keys(order.next([row("d"), row("a")], false)), ["d", "a"]);
});

test("the pointer, and for some seconds a key, hold the order", () => {
  const attention = new Attention();
  assert.equal(attention.isHeld(0), false);
  attention.pointer(true);
  assert.equal(attention.isHeld(1e9), true);
  attention.pointer(false);
  attention.touch(1000);
  assert.deepEqual([attention.isHeld(1000 + HOLD_MS - 1), attention.isHeld(1000 + HOLD_MS)], [true, false]);
  attention.touch(5000);
  attention.pointer(true);
  attention.blur();
  assert.equal(attention.isHeld(1e9), true);
  attention.leave();
  assert.equal(attention.isHeld(5001), false);
});

const names = Array.from({ length: 500 }, (_, at) => `a${at}`);
const settled = (view, given, all = names) => {
  for (;;) {
    const next = view.next(all, given);
    if (next.isWhole) return next.parts;
  }
};
const rowsIn = (parts) => parts.filter((part) => "at" in part).map(({ at }) => at);
const sum = (parts) => parts.reduce((total, part) => total + ("at" in part ? 1 : part.gap), 0);

test("of 500 rows those near the window are in the document, and gaps have the place of the others", () => {
  const parts = settled(new RowWindow(), { top: 4000, height: 800, rowHeight: 40 });
  assert.deepEqual([rowsIn(parts)[0], rowsIn(parts).at(-1), sum(parts)], [100 - SPARE, 119 + SPARE, 500]);
  assert.deepEqual(parts[0], { gap: 100 - SPARE, before: 100 - SPARE });
});

test("no frame has more new rows than a few", () => {
  const view = new RowWindow();
  let before = new Set();
  for (const top of [0, 0, 0, 0, 12_000, 12_000, 12_000, 12_000]) {
    const shown = rowsIn(view.next(names, { top, height: 900, rowHeight: 40 }).parts);
    assert.ok(shown.filter((at) => !before.has(at)).length <= STEP);
    before = new Set(shown);
  }
});

test("the row with the focus stays in the document, before or after the window", () => {
  for (const [focused, top] of [["a3", 10_000], ["a450", 0]]) {
    const parts = settled(new RowWindow(), { top, height: 400, rowHeight: 40, focused });
    assert.ok(rowsIn(parts).includes(names.indexOf(focused)));
    assert.equal(sum(parts), 500);
  }
  assert.deepEqual(settled(new RowWindow(), { top: 0, height: 400, rowHeight: 40, focused: "other" }, []), []);
  assert.deepEqual(rowsIn(settled(new RowWindow(), { top: 90_000, height: 400, rowHeight: 40 }, ["a", "b"])), [0, 1]);
});
