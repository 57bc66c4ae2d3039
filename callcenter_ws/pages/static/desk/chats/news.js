// What the user should notice of chats: a message in a chat that it does not look at, a chat that waits, and one that it is given.

import { isolated, text } from "../../texts.js";
import { visitor } from "../../staff/chats/shown.js";

/**
 * Have an event of a chat noticed, if it should be.
 * @param {import("./chats.js").Chats} chats
 * @param {import("../main.js").Context} context
 * @param {{type: string, payload: any}} event
 */
export function tellNews({ actions, client, columns }, { announce, attention }, { type, payload }) {
  const chat = client.store.chat(payload.session_id);
  if (!chat) return;
  const user = client.identity?.user_id;
  const tag = `chat:${chat.id}`;
  const name = visitor(chat);
  if (type === "chat.message" && chat.agent_id === user && payload.sender_id !== user) {
    // The log of a chat that is shown is read to the user already.
    if (!columns.shown.includes(chat.id)) announce(text("chats.announced.message", { name: isolated(name) }));
    // A user who works in the chat needs no sound for it.
    if (document.hidden || columns.active !== chat.id) attention.notify({ kind: "chat", title: payload.sender_name || name, body: payload.body, tag });
  } else if (type === "chat.session.started" || type === "chat.transferred") {
    const isWaiting = chat.state === "waiting";
    // Of a chat that the user has accepted nothing needs to be said.
    if (!isWaiting && (chat.agent_id !== user || actions.isUnderWay("chat.accept", chat.id))) return;
    const words = text(isWaiting ? "chats.announced.waiting" : "chats.announced.assigned", { name: isolated(name) });
    announce(words);
    attention.notify({ kind: "chat", title: words, body: chat.queue ?? "", tag });
  }
}
