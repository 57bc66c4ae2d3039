/** Why no attempt to connect succeeds, which a browser does not tell. */

import { reasonOf } from "./status.js";

/**
 * Find out whether the gateway refuses pages of this site.
 *
 * @param {string} url the address of the gateway
 * @param {import("./env.js").Env} env
 * @returns {Promise<import("./types.js").Reason | null>} null: it does not, or it cannot be reached
 */
export async function originRefused(url, env) {
  const address = url.replace(/^ws/, "http").replace(/\?.*/, "");
  const answers = (/** @type {object} */ options) =>
    env.fetch(address, { cache: "no-store", credentials: "omit", ...options }).then(() => true, () => false);
  if (!(await answers({ mode: "no-cors" })) || (await answers({}))) return null;
  const origin = env.base ? new URL(env.base).origin : "the page's origin";
  const text = `the gateway answers, but refuses pages of this site: list ${origin} in web.allowed_origins`;
  return reasonOf("origin_refused", text);
}
