// Loads the page again when the gateway serves another version of it: a wall is not touched for months.

const AGAIN_MS = 60_000;
const BUILD = /\/pages\/([0-9a-f]{16})\//;

/** @param {string} text @returns {string | null} the build in a URL or in the HTML of a page */
export const buildIn = (text) => BUILD.exec(text)?.[1] ?? null;

/** Decides when to load the page again: two answers a minute apart name the same other build. */
export class Updates {
  #own;
  /** @type {{build: string, at: number} | null} */
  #other = null;

  /** @param {string | null} own the build of the page */
  constructor(own) {
    this.#own = own;
  }

  /**
   * Note which build the gateway serves now; return whether to load the page again. While nodes of two versions serve,
   * the answers differ.
   * @param {string | null} build
   * @param {number} now
   */
  served(build, now) {
    if (build === null || build === this.#own) this.#other = null;
    else if (this.#other?.build !== build) this.#other = { build, at: now };
    else return now - this.#other.at >= AGAIN_MS;
    return false;
  }
}

/**
 * Ask for the page each time the client is live again, and a minute later if it is another.
 * @param {import("../client.js").Client} client
 * @param {string} page
 * @param {string} url of a script of this page
 */
export function followUpdates(client, page, url) {
  const updates = new Updates(buildIn(url));
  let state = "";
  const ask = async () => {
    try {
      const answer = await fetch(page, { cache: "no-cache" });
      const build = answer.ok ? buildIn(await answer.text()) : null;
      if (updates.served(build, performance.now())) setTimeout(() => location.reload(), Math.random() * AGAIN_MS);
      else if (build !== null && build !== buildIn(url)) setTimeout(ask, AGAIN_MS);
    } catch {
      // The next connection asks again.
    }
  };
  client.on("status", (status) => {
    if (status.state === "live" && state !== "live") ask();
    state = status.state;
  });
}
