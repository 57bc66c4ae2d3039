// Where the steps of the demo lead: to a page, as a user, at a host name of its own.

/**
 * A browser has one session for each host name, whatever the port: the agent and the supervisor use different ones.
 * @type {{[name: string]: {role: string, path: string, host: string}}}
 */
export const VISITS = {
  desk: { role: "agent", path: "/desk", host: "127.0.0.1" },
  supervisor: { role: "supervisor", path: "/supervisor", host: "localhost" },
  wallboard: { role: "supervisor", path: "/wallboard", host: "localhost" },
};

const LOCAL = new Set(["127.0.0.1", "localhost"]);

/** Whether this host has two names. @param {{hostname: string}} place */
export const hasTwoNames = ({ hostname }) => LOCAL.has(hostname);

/**
 * Return the address that signs in and opens a page.
 * @param {string} name one of `VISITS`
 * @param {{protocol: string, hostname: string, port: string}} place of this page
 */
export function addressOf(name, place) {
  const host = hasTwoNames(place) ? VISITS[name].host : place.hostname;
  return `${place.protocol}//${host}${place.port ? `:${place.port}` : ""}/demo#${name}`;
}
