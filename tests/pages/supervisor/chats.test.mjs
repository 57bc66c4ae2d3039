// The open chats of the supervisor's page: their order, their limits, who wrote last.
import assert from "node:assert/strict";
import { test } from "node:test";
import { chatRow, chatRows, found, isOver, LIMIT_MS } from "../../../callcenter_ws/pages/static/supervisor/chat_rows.js";

const NOW = 1_000_000_000;
const at = (seconds) => new Date(NOW - seconds * 1000).toISOString();
const chat = (id, seconds, more = {}) => ({ id, state: "waiting", since: NOW - seconds * 1000, visitor_name: null, visitor_email: null, status: "waiting", queue: null, agent_id: null, agent_name: null, messages: [], ...more });
const said = (sender_type, seconds, more = {}) => ({ timestamp: at(seconds), payload: { sender_type, sender_id: sender_type, body: "", ...more } });
const assigned = (id, agent, seconds, more = {}) => chat(id, seconds, { state: "assigned", agent_id: agent, agent_name: agent.toUpperCase(), ...more });
const keys = (rows) => rows.map(({ key }) => key);

test("those that wait come first, the longest waiting on top, then those of each agent, then offline messages", () => {
  const left = chat("left", 9000, { status: "offline_message" });
  const rows = chatRows([assigned("b2", "b", 5), left, chat("late", 1), assigned("a", "a", 3), assigned("b1", "b", 50), chat("early", 90)], NOW);
  assert.deepEqual(keys(rows), ["early", "late", "a", "b1", "b2", "left"]);
  assert.deepEqual(rows.map(({ part }) => part), ["waiting", "waiting", "assigned", "assigned", "assigned", "later"]);
});

test("a chat is over the limit while it waits, and an offline message never", () => {
  const limit = LIMIT_MS / 1000;
  assert.equal(isOver(chat("1", limit), NOW), false);
  assert.equal(isOver(chat("1", limit + 1), NOW), true);
  assert.equal(isOver(assigned("1", "a", limit + 1), NOW), false);
  assert.equal(isOver(chat("1", 9000, { status: "offline_message" }), NOW), false);
});

test("a visitor waits for an answer since its first message after the last one of its agent; notes are no answer", () => {
  const messages = [said("visitor", 300), said("agent", 250), said("visitor", 200, { sender_name: "Vic" }), said("agent", 150, { private: true }), said("visitor", 100), said("system", 50)];
  const row = chatRow(assigned("1", "a", 400, { messages }), NOW);
  assert.deepEqual([row.unanswered, row.isLate], [NOW - 200_000, true]);
  assert.deepEqual(row.last, { sender: "system", name: "system", at: NOW - 50_000 });
  assert.equal(chatRow(assigned("1", "a", 400, { messages: messages.slice(0, 2) }), NOW).unanswered, null);
  // Who waits for an agent waits for no answer of one.
  assert.equal(chatRow(chat("1", 400, { messages }), NOW).unanswered, null);
  assert.equal(chatRow(assigned("1", "a", 400), NOW).last, null);
});

test("chats are found by visitor, address, queue and agent", () => {
  const rows = chatRows([chat("1", 1, { visitor_name: "Zoé", visitor_email: "z@shop.example" }), assigned("2", "ada", 1), chat("3", 1, { queue: "Sales" })], NOW);
  assert.deepEqual([" zoé", "SHOP", "ada", "sales", "none", ""].map((text) => keys(found(rows, text)).join()), ["1", "1", "2", "3", "", "1,3,2"]);
});
