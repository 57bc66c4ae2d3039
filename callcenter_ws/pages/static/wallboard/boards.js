// Which wallboard is shown: the one that the address names, else the first one of the tenant, else the defaults.
import { text } from "../texts.js";

const PATH = "/ws/wallboards";
/** A change of the settings of the gateway reaches a screen within this time. */
const AGAIN_MS = 300_000;
const RETRY_MS = 5_000;

/**
 * Return the settings of a wallboard, as the gateway describes it; with a `note` to be shown if there is none.
 * @param {string | null} name null or empty: the first one that the screen may see; without any, the defaults
 * @param {(path: string) => Promise<any>} ask rejects with an error that has a `status` if the gateway refuses
 * @returns {Promise<any>} rejects if that cannot be said now
 */
export async function described(name, ask) {
  try {
    if (!name) {
      const [first] = (await ask(PATH)).wallboards;
      return first ? await ask(`${PATH}/${encodeURIComponent(first.name)}`) : {};
    }
    // A browser takes these for folders, and asks for something else.
    if (name === "." || name === "..") return unknown(name);
    return await ask(`${PATH}/${encodeURIComponent(name)}`);
  } catch (error) {
    const status = /** @type {{status?: number}} */ (error).status ?? 0;
    // 400: no wallboard can have such a name.
    if (name && (status === 404 || status === 400)) return unknown(name);
    if (name && status === 403) return note("wallboard.forbidden", name, "wallboard.forbidden.hint");
    throw error;
  }
}

/** @param {string} id @param {string} name @param {string} hint */
const note = (id, name, hint) => ({ note: { text: text(id, { name }), hint: text(hint) } });

/** @param {string} name */
const unknown = (name) => note("wallboard.unknown", name, "wallboard.unknown.hint");

/**
 * Follow the settings of a wallboard: ask when the client is live, and again every five minutes.
 * @param {{status: any, on: (name: "status", callback: (status: any) => void) => unknown}} client
 * @param {() => Promise<any>} ask
 * @param {(settings: any) => void} use is called when they are known, and when they have changed
 */
export function followBoard(client, ask, use) {
  let known = "";
  let isLive = false;
  /** @type {any} */
  let timer = null;
  const read = async () => {
    clearTimeout(timer);
    let wait = AGAIN_MS;
    try {
      const settings = await ask();
      const text = JSON.stringify(settings);
      if (text !== known) use(settings);
      known = text;
    } catch {
      // While nothing is known the screen is empty.
      wait = known ? AGAIN_MS : RETRY_MS;
    }
    clearTimeout(timer);
    if (isLive) timer = setTimeout(read, wait);
  };
  const see = (/** @type {any} */ { state }) => {
    const became = state === "live" && !isLive;
    isLive = state === "live";
    if (became) read();
    if (!isLive) clearTimeout(timer);
  };
  client.on("status", see);
  see(client.status);
}
