// What the desk makes of chats: rows with their states, columns and tabs, drafts, and chats that leave.
import assert from "node:assert/strict";
import { test } from "node:test";

const STATIC = "../../../callcenter_ws/pages/static/";
const AT = `${STATIC}desk/chats/`;
const SHARED = `${STATIC}staff/chats/`;
const { deliveredUpTo, isAddress, partChats, rowsOf, unanswered, unreadIn } = await import(`${SHARED}model.js`);
const { Columns } = await import(`${AT}columns.js`);
const { Departures, isDeparted } = await import(`${AT}departed.js`);
const { Drafts } = await import(`${AT}drafts.js`);
const { Kept } = await import(`${AT}kept.js`);
const { Outbox } = await import(`${AT}outbox.js`);
const { SHOWN_MS, Typing } = await import(`${SHARED}typing.js`);

const START = Date.parse("2026-11-30T12:00:00Z");
let seq = 0;
const said = (sender_type, body, more = {}) => ({
  type: "chat.message", seq: (seq += 1), id: `e${seq}`, timestamp: new Date(START + seq * 1000).toISOString(),
  payload: { session_id: "c", message_id: `m${seq}`, sender_id: sender_type === "agent" ? "ana" : "v", sender_type, body, ...more },
});
const chat = (messages = [], more = {}) => ({ id: "c", state: "assigned", agent_id: "ana", visitor_name: "Vic", since: START, delivered: null, messages, ...more });
const unsent = (id, more = {}) => ({ id, chat: "c", body: id, at: START, state: "sending", code: "", reason: "", ...more });
/** A storage, as the one of a tab. */
const place = (values = new Map()) => ({
  values,
  get: (key, otherwise) => (values.has(key) ? JSON.parse(values.get(key)) : otherwise),
  set: (key, value) => (value === null ? values.delete(key) : values.set(key, JSON.stringify(value))),
});
const kept = (at = place()) => {
  const made = new Kept(at);
  made.setUser({ tenant_id: "acme", user_id: "ana" });
  return made;
};
const settled = () => new Promise((done) => setTimeout(done));

test("own chats are parted from those that wait, the longest waiting first", () => {
  const late = chat([], { id: "late", state: "waiting", agent_id: null, since: START + 9 });
  const early = chat([], { id: "early", state: "waiting", agent_id: null });
  const other = chat([], { id: "other", agent_id: "bob" });
  const parted = partChats([late, chat(), early, other], "ana");
  assert.deepEqual([parted.own.map(({ id }) => id), parted.waiting.map(({ id }) => id)], [["c"], ["early", "late"]]);
  assert.deepEqual(partChats([chat()], undefined).own, []);
});

test("replies up to the one that the visitor's page has received are delivered", () => {
  const one = said("agent", "one");
  const two = said("agent", "two");
  const whole = chat([said("visitor", "hello"), one, two], { delivered: one.payload.message_id });
  assert.equal(deliveredUpTo(whole), 1);
  assert.deepEqual(rowsOf(whole, [], "ana").map(({ state }) => state), [null, "delivered", "sent"]);
  assert.equal(deliveredUpTo(chat([one], { delivered: "forgotten" })), -1);
  assert.deepEqual(rowsOf(chat([one, two], { delivered: two.payload.message_id }), [], "bob").map(({ state, sender }) => [state, sender]), [[null, "colleague"], [null, "colleague"]]);
});

test("a reply and the message that it becomes are one row", () => {
  const before = rowsOf(chat(), [unsent("k")], "ana");
  const after = rowsOf(chat([said("agent", "k", { client_message_id: "k" })]), [unsent("k")], "ana");
  assert.deepEqual(before.map(({ key, state }) => [key, state]), [["k", "sending"]]);
  assert.deepEqual(after.map(({ key, state }) => [key, state]), [["k", "sent"]]);
});

test("messages of one sender are grouped, and private ones are not mixed with others", () => {
  const rows = rowsOf(chat([said("visitor", "a"), said("visitor", "b"), said("agent", "c"), said("agent", "note", { private: true })]), [], "ana");
  assert.deepEqual(rows.map(({ isFirst, isPrivate, state }) => [isFirst, isPrivate, state]), [[true, false, null], [false, false, null], [true, false, "sent"], [true, true, null]]);
});

test("a chat is unanswered if the visitor spoke last, whatever was noted since", () => {
  assert.notEqual(unanswered(chat([said("agent", "a"), said("visitor", "b"), said("agent", "n", { private: true })])), null);
  assert.equal(unanswered(chat([said("visitor", "b"), said("agent", "a"), said("system", "s")])), null);
  assert.equal(unanswered(chat()), null);
});

test("unread are the messages of others after the last one that was seen", () => {
  const messages = [said("visitor", "a"), said("agent", "b"), said("visitor", "c")];
  assert.deepEqual([0, messages[0].seq, messages[2].seq].map((seen) => unreadIn(chat(messages), seen, "ana")), [2, 1, 0]);
});

test("only what is an address becomes a link", () => {
  assert.deepEqual(["a@b.example", "a@b", "a@b.c?bcc=x@y.z", "<a@b.c>", "", null, `${"a".repeat(300)}@b.c`].map(isAddress), [true, false, false, false, false, false, false]);
});

test("as many columns as fit, and the rest as tabs", () => {
  const columns = new Columns();
  columns.setFit(2.9);
  columns.update(["a", "b", "c", "d"]);
  assert.deepEqual([columns.shown, columns.others], [["a", "b"], ["c", "d"]]);
  columns.use("a");
  columns.choose("d");
  assert.deepEqual([columns.shown, columns.others, columns.active], [["a", "d"], ["c", "b"], "d"]);
  columns.update(["a", "b", "c"]);
  assert.deepEqual([columns.shown, columns.others, columns.active], [["a", "c"], ["b"], null]);
  columns.use("c");
  columns.setFit(1);
  assert.deepEqual([columns.shown, columns.others], [["c"], ["a", "b"]]);
  assert.deepEqual([columns.next(1), columns.next(-1)], ["a", "b"]);
  assert.equal(new Columns().next(1), null);
});

test("a reply fails with its reason, and is sent again with the same id", async () => {
  const sent = [];
  const changes = [];
  let answer = Promise.reject(Object.assign(new Error("ended"), { code: "unknown_session" }));
  const outbox = new Outbox(kept(), (_chat, body, { clientMessageId }) => (sent.push([clientMessageId, body]), answer), (failed) => failed && changes.push(failed.code), () => "k1");
  outbox.add("c", "hello", START);
  await settled();
  assert.deepEqual(outbox.of("c").map(({ state, code, reason }) => [state, code, reason]), [["failed", "unknown_session", "ended"]]);
  assert.deepEqual(changes, ["unknown_session"]);
  answer = Promise.resolve({});
  outbox.retry("k1");
  outbox.retry("k1");
  await settled();
  assert.deepEqual(sent, [["k1", "hello"], ["k1", "hello"]]);
  assert.equal(outbox.of("c")[0].state, "sent");
  outbox.compare([chat([said("agent", "hello", { client_message_id: "k1" })])]);
  assert.deepEqual(outbox.of("c"), []);
});

test("what was being sent is sent again by the next page, unless it was published meanwhile", async () => {
  const at = place();
  const first = new Outbox(kept(at), () => new Promise(() => {}), () => {}, () => `k${(first.last = (first.last ?? 0) + 1)}`);
  first.add("c", "one", START);
  first.add("c", "two", START);
  const sent = [];
  const next = new Outbox(kept(at), (_chat, body, { clientMessageId }) => (sent.push([clientMessageId, body]), new Promise(() => {})), () => {});
  next.load();
  next.compare([chat([said("agent", "one", { client_message_id: "k1" })])]);
  next.compare([chat([said("agent", "one", { client_message_id: "k1" })])]);
  assert.deepEqual(sent, [["k2", "two"]]);
});

test("what one user has typed is not shown to another, and what is not readable is left out", () => {
  const at = place();
  const drafts = new Drafts(kept(at));
  drafts.set("c", "half a sen", "Vic");
  const other = new Kept(at);
  other.setUser({ tenant_id: "acme", user_id: "bob" });
  const others = new Drafts(other);
  others.load();
  assert.equal(others.of("c"), "");
  const again = new Drafts(kept(at));
  again.load();
  assert.deepEqual([again.of("c"), again.names()], ["half a sen", new Map([["c", "Vic"]])]);
  assert.equal(again.take("c"), "half a sen");
  assert.equal(at.values.size, 0);
  at.set('desk.drafts:["acme","ana"]', { c: 7, d: { text: "x", name: "y" } });
  again.load();
  assert.deepEqual([again.of("c"), again.of("d")], ["", "x"]);
});

test("a chat that leaves is told of with what was typed, unless the user sent it away", () => {
  const departures = new Departures();
  const texts = { a: ["typed"], b: [], c: [], d: [] };
  const take = (id) => texts[id];
  departures.compare(["a", "b", "c", "d"].map((id) => chat([], { id, visitor_name: id })), START, take);
  departures.event({ type: "chat.transferred", payload: { session_id: "a", to_agent_id: "bob", agent_name: "Bob" } }, "ana");
  departures.event({ type: "chat.session.ended", payload: { session_id: "b", ended_by: "visitor" } }, "ana");
  departures.event({ type: "chat.transferred", payload: { session_id: "d", to_agent_id: "ana" } }, "ana");
  departures.event({ type: "chat.message", payload: { session_id: "b" } }, "ana");
  departures.ask("c");
  departures.compare([chat([], { id: "d", visitor_name: "d" })], START + 1, take);
  assert.deepEqual(departures.list.map(({ id, why, by, texts: kept }) => [id, why, by, kept]), [["a", "taken", "Bob", ["typed"]], ["b", "closed", "visitor", []]]);
  departures.compare([], START + 2, take);
  assert.equal(departures.list[0].why, "gone");
  assert.ok(departures.list.every(isDeparted));
  departures.dismiss("a");
  assert.deepEqual(departures.list.map(({ id }) => id), ["d", "b"]);
});

test("a draft whose chat left before the page was loaded is told of", () => {
  const departures = new Departures();
  departures.load([], new Map([["x", "Xen"]]));
  const left = departures.compare([], START, () => ["half"]);
  assert.deepEqual(left.map(({ name, why, texts }) => [name, why, texts]), [["Xen", "gone", ["half"]]]);
});

test("typing ends by itself, and the own is told now and then", () => {
  let now = 0;
  const timers = new Map();
  const clock = {
    now: () => now,
    setTimeout: (callback, ms) => (timers.set(callback, now + ms), callback),
    clearTimeout: (timer) => timers.delete(timer),
  };
  const pass = (ms) => {
    now += ms;
    for (const [callback, at] of [...timers]) if (at <= now && timers.delete(callback)) callback();
  };
  const sent = [];
  const typing = new Typing((chat, isTyping) => sent.push([chat, isTyping]), () => {}, { timers: clock });
  typing.event({ type: "chat.typing", payload: { session_id: 7, sender_type: "visitor", is_typing: true } });
  assert.equal(typing.isTyping("7"), true);
  pass(SHOWN_MS);
  assert.equal(typing.isTyping("7"), false);
  typing.event({ type: "chat.typing", payload: { session_id: 7, sender_type: "visitor", is_typing: true } });
  typing.event({ type: "chat.message", payload: { session_id: 7, sender_type: "visitor" } });
  assert.equal(typing.isTyping("7"), false);
  typing.typed("c", false);
  pass(1000);
  typing.typed("c", false);
  pass(2500);
  typing.typed("c", false);
  pass(4000);
  typing.typed("c", true);
  assert.deepEqual(sent, [["c", true], ["c", true], ["c", false]]);
});
