/** The address of a connection: what is subscribed to, and from where to resume. */
/** @typedef {import("./types.js").LinkOptions} LinkOptions */
/**
 * Return the address of the gateway for a URL that a page gives.
 *
 * @param {string} url
 * @param {string | undefined} base the address of the page
 */
export function socketUrl(url: string, base: string | undefined): string;
/**
 * Return the address with its parameters.
 *
 * @param {LinkOptions} options
 * @param {import("./types.js").Position | null} position after which to resume; null: ask for a snapshot
 */
export function addressOf({ url, tenant, events, queues, acknowledge }: LinkOptions, position: import("./types.js").Position | null): string;
export function subscribesLater(queues: string[] | undefined): boolean;
export type LinkOptions = import("./types.js").LinkOptions;
