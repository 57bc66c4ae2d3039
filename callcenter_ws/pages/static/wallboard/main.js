// The page /wallboard: the client of the session, the settings of the board, and the board.
import { openClient, read } from "../session.js";
import { nextTask } from "../later.js";
import { text } from "../texts.js";
import { mountBoard } from "./board.js";
import { described, followBoard } from "./boards.js";
import { DayChart } from "./chart.js";
import { FIGURES } from "./figures.js";
import { count } from "./format.js";
import { complete, ofFragment } from "./settings.js";
import { followUpdates } from "./update.js";
import { keepAwake } from "./wake.js";

/** A dead line is noticed after five seconds. */
const HEARTBEAT = { idleMs: 2500, answerMs: 2500 };
const EVENTS = ["queue.*", "call.*", "agent.*", "source.*", "alert"];

const name = new URLSearchParams(location.search).get("board");

/** What the address says goes before what the gateway says. @param {any} given */
function settingsOf(given) {
  const settings = complete({ ...given, ...ofFragment(location.hash) }, (figure) => Object.keys(FIGURES).includes(figure));
  document.documentElement.dataset.theme = settings.theme;
  return settings;
}

async function open() {
  addEventListener("hashchange", () => location.reload());
  keepAwake();
  const client = openClient({ events: EVENTS, heartbeat: HEARTBEAT });
  await nextTask();
  // The first number of a page takes long.
  count(0);
  await nextTask();
  const chart = new DayChart({ ask: read, now: () => client.now(), changed: () => board.draw() });
  const board = mountBoard(
    /** @type {HTMLElement} */ (document.getElementById("board")),
    client,
    settingsOf({ note: { text: text("wallboard.connecting"), hint: "" } }),
    { chart: (queue, look) => chart.view(queue, look) },
  );
  followBoard(client, () => described(name, read), (given) => board.use(settingsOf(given)));
  followUpdates(client, location.pathname, import.meta.url);
}

open();
