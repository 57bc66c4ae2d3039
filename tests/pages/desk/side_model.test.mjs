// The notifications of a user over tabs and reloads, and the figures of the user's day and queues.
import assert from "node:assert/strict";
import { test } from "node:test";

const AT = "../../../callcenter_ws/pages/static/desk/";
const { Kept } = await import(`${AT}chats/kept.js`);
const { MAX_NOTICES, Notices } = await import(`${AT}notices.js`);
const { dayOf, ownQueues } = await import(`${AT}own_figures.js`);

const START = Date.parse("2026-11-30T12:00:00Z");
const place = (values = new Map()) => ({
  get: (key, otherwise) => (values.has(key) ? JSON.parse(values.get(key)) : otherwise),
  set: (key, value) => (value === null ? values.delete(key) : values.set(key, JSON.stringify(value))),
});
const page = (at, tell = () => {}) => {
  const kept = new Kept(at);
  kept.setUser({ tenant_id: "acme", user_id: "ana" });
  return new Notices(kept, tell);
};
const event = (id, acknowledged = [], more = {}) => ({
  id, timestamp: new Date(START + Number(id) * 1000).toISOString(), acknowledge: () => acknowledged.push(id),
  payload: { type: "info", title: `title ${id}`, message: "m" }, ...more,
});
const shown = ({ list }) => list.map(({ id, isRead, isAway }) => [id, isRead, isAway]);

test("the newest is the first, and each is shown once", () => {
  const notices = page(place());
  assert.notEqual(notices.event(event("1"), START), null);
  notices.event(event("3", [], { offline: true }), START);
  notices.event(event("2"), START);
  assert.equal(notices.event(event("2"), START), null);
  assert.deepEqual(shown(notices), [["3", false, true], ["2", false, false], ["1", false, false]]);
  assert.equal(notices.unread, 3);
});

test("a notification is acknowledged when it is dismissed, and not before", () => {
  const acknowledged = [];
  const notices = page(place());
  notices.event(event("1", acknowledged), START);
  notices.event(event("2", acknowledged), START);
  notices.read(["1"]);
  assert.deepEqual(acknowledged, []);
  notices.dismiss(["1"]);
  assert.deepEqual([acknowledged, shown(notices)], [["1"], [["2", false, false]]]);
});

test("after a reload what was read stays read, and what was dismissed without being acknowledged is acknowledged", () => {
  const at = place();
  const before = page(at);
  before.event(event("1"), START);
  before.event({ ...event("2"), acknowledge: undefined }, START);
  before.read(["1"]);
  before.dismiss(["2"]);
  const acknowledged = [];
  const after = page(at);
  after.load();
  assert.deepEqual(shown(after), [["1", true, false]]);
  // The mailbox sends both again.
  after.event(event("1", acknowledged, { offline: true, redelivered: true }), START);
  after.event(event("2", acknowledged, { offline: true, redelivered: true }), START);
  assert.deepEqual([shown(after), acknowledged], [[["1", true, false]], ["2"]]);
});

test("other tabs of the user learn what was read and dismissed, and a new one what there is", () => {
  const acknowledged = [];
  const told = [];
  const first = page(place(), (message) => told.push(message));
  first.event(event("1", acknowledged), START);
  const second = page(place(), (message) => first.told(message));
  first.told({ type: "hello" });
  second.told(told.pop());
  assert.deepEqual(shown(second), [["1", false, false]]);
  second.read(["1"]);
  assert.deepEqual(shown(first), [["1", true, false]]);
  second.dismiss(["1"]);
  assert.deepEqual([shown(first), acknowledged], [[], ["1"]]);
  second.told({ type: "notices", notices: [{ id: 7 }, null] });
  assert.deepEqual(shown(second), []);
});

test("what has expired leaves, and the oldest of too many", () => {
  const notices = page(place());
  const until = (ms) => ({ payload: { type: "info", title: "t", message: "m", expires_at: new Date(START + ms).toISOString() } });
  notices.event(event("1", [], until(5000)), START);
  assert.equal(notices.event(event("2", [], until(-1)), START), null);
  assert.equal(notices.expire(START), START + 5000);
  assert.equal(notices.expire(START + 5000), null);
  assert.deepEqual(shown(notices), []);
  for (let id = 1; id <= MAX_NOTICES + 5; id += 1) notices.event(event(String(id)), START);
  assert.deepEqual([notices.list.length, notices.list[0].id], [MAX_NOTICES, String(MAX_NOTICES + 5)]);
});

test("the figures of a day, where they are known", () => {
  assert.equal(dayOf(null), null);
  const today = { handled: 4, missed: 0, talk_seconds: 600, average_handle_time: null, occupancy: 62.5, logged_in_seconds: 4000, state_seconds: { available: 1000, talking: 3000 } };
  const day = dayOf({ user_id: "ana", today, incomplete_since: null });
  assert.deepEqual([day.handled, day.talk, day.average, day.occupancy], [4, 600_000, null, 62.5]);
  assert.deepEqual(day.states, [{ state: "talking", ms: 3_000_000, share: 75 }, { state: "available", ms: 1_000_000, share: 25 }]);
});

test("own queues are those that the user is a member of", () => {
  const queue = (name, more) => ({ name, waiting: 0, longest_wait_since: START, service_level: { last_30m: null, today: 70, target: 80 }, members: [], ...more });
  const queues = [queue("support", { members: ["ana", "bob"], waiting: 2 }), queue("billing", { members: ["bob"] }), queue("sales")];
  const found = ownQueues(queues, { paused_in: ["support"], figures: { queues: ["sales"] } }, "ana");
  assert.deepEqual(found, [
    { name: "sales", waiting: 0, longestSince: null, level: 70, target: 80, isBelow: true, isPaused: false, isMember: false },
    { name: "support", waiting: 2, longestSince: START, level: 70, target: 80, isBelow: true, isPaused: true, isMember: true },
  ]);
  assert.deepEqual(ownQueues(queues, undefined, "eve"), []);
});
