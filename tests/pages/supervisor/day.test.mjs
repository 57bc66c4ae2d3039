// Today's figures, the calls behind a queue, and the search.
import assert from "node:assert/strict";
import { test } from "node:test";
import { agentsFound, earlierPath, NOTHING, pathOf as searchPath, queryOf, stepsOf } from "../../../callcenter_ws/pages/static/supervisor/call_search.js";
import { fileName, pathOf, possibleInterval, total, windows, withCalls } from "../../../callcenter_ws/pages/static/supervisor/day_report.js";
import { Growth, ROWS_A_FRAME } from "../../../callcenter_ws/pages/static/supervisor/growth.js";
import { membersOf, talkingCalls, waitingCalls } from "../../../callcenter_ws/pages/static/supervisor/queue_detail.js";

const at = (hour, minute = 0) => `2026-11-30T${String(hour).padStart(2, "0")}:${String(minute).padStart(2, "0")}:00+00:00`;
const quarter = (start, offered, answered, abandoned, more = {}) => ({ start, minutes: 15, offered, answered, abandoned, abandoned_short: 0, flow_out: 0, lost: 0, handled: 0, max_wait: null, service_level: 80, average_wait_time: 4, ...more });
const NOW = Date.parse(at(9, 20));

test("the intervals of one queue are those of the gateway, up to now", () => {
  const given = [quarter(at(9), 1, 1, 0), quarter(at(9, 15), 2, 1, 1), quarter(at(9, 30), 0, 0, 0)];
  assert.deepEqual(windows([{ queue_name: "sales", intervals: given }], NOW), given.slice(0, 2));
  assert.deepEqual(windows([], NOW), []);
});

test("over several queues only what may be added is added", () => {
  const queues = [
    { queue_name: "a", intervals: [quarter(at(9), 3, 2, 1, { max_wait: 9 }), quarter(at(9, 15), 1, 1, 0)] },
    { queue_name: "b", intervals: [quarter(at(9), 6, 4, 2, { abandoned_short: 1, flow_out: 1, max_wait: 30 })] },
  ];
  const [first, second] = windows(queues, NOW);
  assert.deepEqual([first.offered, first.answered, first.abandoned, first.max_wait], [9, 6, 3, 30]);
  // (3-1)/(6+3-1+1)
  assert.equal(first.abandon_rate, 200 / 9);
  assert.equal("service_level" in first || "average_wait_time" in first, false);
  assert.deepEqual([second.offered, second.max_wait, second.abandon_rate], [1, null, 0]);
  assert.equal(total(queues.map(({ intervals, ...one }) => ({ ...one, intervals: intervals.slice(0, 1) })))?.offered, 9);
  assert.equal(total(queues.slice(1))?.service_level, 80);
  assert.equal(total([]), null);
});

test("the table begins with the first call", () => {
  const all = [quarter(at(7), 0, 0, 0), quarter(at(8), 1, 0, 0), quarter(at(8, 15), 0, 0, 0)];
  assert.deepEqual(withCalls(all), all.slice(1));
  assert.deepEqual(withCalls(all.slice(0, 1)), []);
});

test("many queues are shown by hours, and too many by the day only", () => {
  assert.deepEqual([1, 31, 32, 100, 125, 126].map((count) => possibleInterval(count, "15")), ["15", "15", "30", "60", "60", null]);
  assert.equal(possibleInterval(1, "60"), "60");
  assert.equal(pathOf(["a&b", "ü"], "15"), "/ws/statistics?interval=15&queue=a%26b&queue=%C3%BC");
  assert.equal(pathOf([], "day"), "/ws/statistics?interval=day");
});

test("a file has the name of what is in it", () => {
  assert.equal(fileName({ tenant: "acme", queue: "../a b/ü", day: "2026-11-30", interval: "15" }), "acme-.._a_b_ü-2026-11-30-15.csv");
  assert.equal(fileName({ tenant: "acme", queue: "", day: "2026-11-30", interval: "day" }), "acme-all-2026-11-30-day.csv");
});

const call = (id, state, more = {}) => ({ id, state, queue: "sales", agent_id: null, since: 5000, ...more });
const world = ({ calls = [], agents = [], sources = [], queue = {} }) => ({
  calls: () => calls,
  call: (id) => calls.find((one) => one.id === id),
  agent: (id) => agents.find((one) => one.id === id),
  sources: () => sources,
  queue: () => ({ calls: [], members: [], ...queue }),
  slots: (kind, ...id) => (kind === "call" ? { joined: { type: "queue.joined", timestamp: new Date(1000).toISOString() } } : { a: { payload: { username: `Member ${id[1]}` } } }),
});

test("waiting calls have their position, and wait since they joined although they ring", () => {
  const store = world({ calls: [call("0", "talking"), call("1", "ringing"), call("2", "waiting")], queue: { calls: ["0", "1", "gone", "2"] } });
  assert.deepEqual(waitingCalls(store, "sales").map(({ call: { id }, position, since }) => [id, position, since]), [["1", 1, 1000], ["2", 2, 1000]]);
});

test("calls that are talked to, and members with their call, those who are not signed in last", () => {
  const agents = [{ id: "7", name: "Ada", state: "talking", since: 1, paused_in: ["sales"] }, { id: "8", name: "Bo", state: "ringing", since: 1, paused_in: [] }];
  const store = world({ agents, calls: [call("1", "talking", { agent_id: "7" }), call("2", "hold", { queue: "other" })], queue: { members: ["6", "7", "8"] }, sources: [{ up: false, since: 9000 }] });
  assert.deepEqual(talkingCalls(store, "sales").map(({ call: { id }, isOld }) => [id, isOld]), [["1", true]]);
  const found = membersOf(store, "sales");
  assert.deepEqual(found.map(({ id, name, isPaused, call: one, isOld }) => [id, name, isPaused, one?.id ?? null, isOld]), [["8", "Bo", false, null, true], ["7", "Ada", true, "1", true], ["6", "Member 6", false, null, false]]);
});

test("a search asks for what was filled in", () => {
  assert.equal(searchPath({ ...NOTHING, search: " 555 ", state: "ended" }), "/ws/calls?search=555&state=ended&limit=100");
  assert.equal(earlierPath("a/b"), "/ws/calls/earlier?call_id=a%2Fb");
  assert.deepEqual(queryOf("#search?agent=7&other=1"), { ...NOTHING, agent: "7" });
  assert.deepEqual(queryOf("#search"), NOTHING);
});

test("the steps of a call tell where it went", () => {
  const given = { started_at: at(9), destination: "800", queues: ["sales", "support"], answered_at: at(9, 1), agents: [{ id: "7", name: "Ada" }, { id: "8", name: null }], transfers: 1, ended_at: at(9, 5), outcome: "answered" };
  assert.deepEqual(stepsOf(given).map(({ text, values }) => [text, Object.values(values)[0]]), [["came", "800"], ["queue", "sales"], ["queue", "support"], ["answered", "Ada"], ["agent", "8"], ["transfers", 1], ["ended", "answered"]]);
  assert.deepEqual(stepsOf({ started_at: at(9), direction: "outbound", queues: [], agents: [] }).map(({ text }) => text), ["dialed"]);
});

test("agents are found by name, id and extension", () => {
  const agents = [{ name: "Ada", id: "7", extension: "207" }, { name: "Bo", id: "8", extension: null }];
  assert.deepEqual([agentsFound(agents, "AD"), agentsFound(agents, "207"), agentsFound(agents, " ")].map((found) => found.length), [1, 1, 0]);
});

test("a long table comes into the document some rows a frame, and begins again when it was away", () => {
  const growth = new Growth();
  const frames = [];
  for (let isThere = false; frames.length < 5; isThere = true) frames.push(growth.next(25, "a", isThere));
  assert.deepEqual(frames, [1, 2, 3, 4, 5].map((frame) => Math.min(25, frame * ROWS_A_FRAME)));
  assert.deepEqual([growth.isWhole(25), growth.isWhole(26)], [true, false]);
  assert.deepEqual([growth.next(25, "b", true), growth.next(25, "b", false), growth.next(0, "b", true)], [ROWS_A_FRAME, ROWS_A_FRAME, ROWS_A_FRAME]);
});
