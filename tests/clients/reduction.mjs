// Reduces streams as the browser client does, for test_reduction.py: one JSON object a line in, one out.
import { createInterface } from "node:readline";
import { Store } from "../../clients/js/src/store.js";

/** @param {{messages: any[], mailbox: any[], before: any[], chat_messages: number, head: number}} stream */
function reduce({ before, mailbox, messages, chat_messages, head }) {
  const options = { chatMessages: chat_messages, now: () => 0 };
  const first = new Store(options);
  for (const message of before) first.apply(message);
  const store = new Store(options);
  store.load(JSON.parse(JSON.stringify(first.dump())));
  // Of a client that resumes: its mailbox, the events that it missed, and `resumed`.
  for (const message of mailbox) store.apply({ ...message, offline: true });
  for (const message of messages) store.apply(message);
  store.advance(head);
  return { events: store.dump().events, seq: store.seq };
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(JSON.stringify(reduce(JSON.parse(line))) + "\n");
}
