export { CLOSES } from "./closes.js";
export { RequestRefused } from "./requests.js";
export { Store } from "./store.js";
export { TokenRefused } from "./tokens.js";
export { Client, connect } from "./client.js";
