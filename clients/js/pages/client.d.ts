// callcenter_ws/pages/static/client.js is built from src/: the pages are checked with its types.
export * from "../types/index.js";
export type { Events, Message } from "../types/events.js";
