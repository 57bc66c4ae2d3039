export { CLOSE_NAMES } from "./closes.js";
export { Client, connect } from "./client.js";
export { RequestRefused } from "./requests.js";
export { Store } from "./store.js";
export { TokenRefused } from "./tokens.js";

/** @typedef {import("../types/events.js").Events} Events */
/** @typedef {import("./types.js").Identity} Identity */
/** @typedef {import("./types.js").Names} Names */
/** @typedef {import("./types.js").Options} Options */
/** @typedef {import("./types.js").Status} Status */
/** @typedef {import("./types.js").TokenRequest} TokenRequest */
/** @typedef {import("./views.js").Agent} Agent */
/** @typedef {import("./views.js").Alert} Alert */
/** @typedef {import("./views.js").Call} Call */
/** @typedef {import("./views.js").Chat} Chat */
/** @typedef {import("./views.js").Presence} Presence */
/** @typedef {import("./views.js").Queue} Queue */
/** @typedef {import("./views.js").Source} Source */
/**
 * @template {keyof Events} [T=keyof Events]
 * @typedef {import("../types/events.js").EventMessage<T>} EventMessage
 */
