// The keyboard shortcuts of the chats; those of the calls are in ../call_keys.js.

import { text } from "../../texts.js";

/** @param {import("./chats.js").Chats} chats @param {import("../../staff/keys.js").Keys} keys */
export function addShortcuts(chats, keys) {
  const { columns } = chats;
  /** @param {1 | -1} step */
  const go = (step) => {
    const next = columns.next(step);
    if (next !== null) chats.choose(next);
  };
  const has = () => chats.own.size > 0;
  const waits = () => chats.waiting.length > 0 && chats.actions.can("chat.accept");
  const group = "chats.title";
  keys.add({ id: "chat.next", keys: ["n", "Alt+N"], group, label: text("chats.key.next"), enabled: has, run: () => go(1) });
  keys.add({ id: "chat.previous", keys: ["p", "Alt+P"], group, label: text("chats.key.previous"), enabled: has, run: () => go(-1) });
  keys.add({ id: "chat.reply", keys: ["m", "Alt+M"], group, label: text("chats.key.reply"), enabled: has, run: () => chats.choose(columns.active ?? columns.all[0]) });
  keys.add({ id: "chat.accept", keys: ["v", "Alt+V"], group, label: text("chats.key.accept"), enabled: waits, run: () => void chats.accept(chats.waiting[0]) });
}
