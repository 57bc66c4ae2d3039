/** The address of a connection: what is subscribed to, and from where to resume. */

/** @typedef {import("./types.js").LinkOptions} LinkOptions */

/**
 * Return the address of the gateway for a URL that a page gives.
 *
 * @param {string} url
 * @param {string | undefined} base the address of the page
 */
export function socketUrl(url, base) {
  const { href } = new URL(url, base);
  return href.replace(/^http/, "ws").replace(/#.*/, "");
}

/**
 * Return the address with its parameters.
 *
 * @param {LinkOptions} options
 * @param {import("./types.js").Position | null} position after which to resume; null: ask for a snapshot
 */
export function addressOf({ url, tenant, events, queues, acknowledge }, position) {
  const address = new URL(url);
  const query = address.searchParams;
  if (tenant) query.set("tenant_id", tenant);
  if (events) query.set("events", events.join());
  const named = queues?.filter((queue) => !queue.includes(","));
  if (named?.length) query.set("queues", named.join());
  if (acknowledge) query.set("ack", "1");
  if (position) {
    query.set("epoch", position.epoch);
    query.set("seq", String(position.seq));
  } else if (!subscribesLater(queues)) {
    query.set("snapshot", "1");
  }
  return address.href;
}

/**
 * Return whether a queue cannot be named in the address, because of its comma: a replay before `subscribe` would not be
 * complete.
 *
 * @param {string[] | undefined} queues
 */
export const subscribesLater = (queues) => Boolean(queues?.some((queue) => queue.includes(",")));
