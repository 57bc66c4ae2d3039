// The pane of the desk with the user's chats.

import "../../staff/chats/texts.js";
import "./texts.js";
import { Chats } from "./chats.js";

/** Show the chats. @param {HTMLElement} root @param {import("../main.js").Context} context */
export function mountChats(root, context) {
  return new Chats(root, context);
}
