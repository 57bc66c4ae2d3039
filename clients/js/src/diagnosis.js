/** Finds out why no attempt to connect succeeds: a browser does not say. */

import { reasonOf } from "./status.js";

/**
 * Find out whether the gateway refuses pages of this site: it says so in the answer to a request that is no handshake.
 *
 * @param {string} url the address of the gateway
 * @param {import("./env.js").Env} env
 * @returns {Promise<import("./types.js").Reason | null>} null: it does not, or it cannot be reached
 */
export async function originRefused(url, env) {
  const address = url.replace(/^ws/, "http").replace(/\?.*/, "");
  try {
    const answer = await env.fetch(address, { cache: "no-store", credentials: "omit" });
    if (answer.status !== 403) return null;
    const { error } = await answer.json();
    return reasonOf("origin_refused", `the gateway refuses pages of this site: ${error.message}`);
  } catch {
    return null; // nothing answers, or a proxy alone
  }
}
