// The page /wallboard: the client of the session, and the board.
import { openClient } from "../session.js";
import { mountBoard } from "./board.js";
import { FIGURES } from "./figures.js";
import { complete, ofFragment } from "./settings.js";
import { followUpdates } from "./update.js";
import { keepAwake } from "./wake.js";

/** A dead line is noticed after five seconds. */
const HEARTBEAT = { idleMs: 2500, answerMs: 2500 };
const EVENTS = ["queue.*", "call.*", "agent.*", "source.*", "alert"];

const settings = complete(ofFragment(location.hash), (name) => name in FIGURES);
document.documentElement.dataset.theme = settings.theme;
addEventListener("hashchange", () => location.reload());
keepAwake();
const client = openClient({ events: EVENTS, heartbeat: HEARTBEAT });
mountBoard(/** @type {HTMLElement} */ (document.getElementById("board")), client, settings);
followUpdates(client, location.pathname, import.meta.url);
