/** The views of the client's store for a visitor, who sees chats and nothing else: the bundle of the widget has no others. */

export { View, bySeq, chats, isEqual } from "../views.js";

/** @returns {Map<string, any>} of no type: none of them is ever used */
const none = () => new Map();

export { none as agents, none as alerts, none as calls, none as presence, none as queues, none as sources };
