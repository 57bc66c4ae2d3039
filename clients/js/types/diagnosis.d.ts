/**
 * Find out whether the gateway refuses pages of this site: it says so in the answer to a request that is no handshake.
 *
 * @param {string} url the address of the gateway
 * @param {import("./env.js").Env} env
 * @returns {Promise<import("./types.js").Reason | null>} null: it does not, or it cannot be reached
 */
export function originRefused(url: string, env: import("./env.js").Env): Promise<import("./types.js").Reason | null>;
