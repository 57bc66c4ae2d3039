// What the user should notice of chats: a message in a chat that it does not look at, and a chat that waits.

import { isolated, text } from "../../texts.js";
import { visitor } from "./column.js";

/**
 * Have an event of a chat noticed, if it should be.
 * @param {import("./chats.js").Chats} chats
 * @param {import("../main.js").Context} context
 * @param {{type: string, payload: any}} event
 */
export function tellNews({ client, columns }, { announce, attention }, { type, payload }) {
  const chat = client.store.chat(payload.session_id);
  if (!chat) return;
  const user = client.identity?.user_id;
  const tag = `chat:${chat.id}`;
  const name = visitor(chat);
  if (type === "chat.message" && chat.agent_id === user && payload.sender_id !== user) {
    // The log of a chat that is shown is read to the user already.
    if (!columns.shown.includes(chat.id)) announce(text("chats.announced.message", { name: isolated(name) }));
    // Who works in a chat needs no sound for it.
    if (document.hidden || columns.active !== chat.id) attention.notify({ kind: "chat", title: payload.sender_name || name, body: payload.body, tag });
  } else if (type === "chat.session.started" && chat.state === "waiting") {
    const words = text("chats.announced.waiting", { name: isolated(name) });
    announce(words);
    attention.notify({ kind: "chat", title: words, body: chat.queue ?? "", tag });
  }
}
