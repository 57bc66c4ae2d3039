// callcenter_ws/pages/static/commands.js is built from src/: the pages are checked with its types.
export * from "../types/commands.js";
