/** Acknowledgements of messages for the user, several at a time. */

const DELAY_MS = 200;
const MAX_IDS = 100;

/** @param {(frame: object) => void} send @param {import("./timers.js").Clock} env */
export function acksOf(send, env) {
  /** @type {string[]} */
  let ids = [];
  /** @type {any} */
  let timer = null;

  /** Send what was collected. What cannot be sent now is sent again by the gateway, and acknowledged then. */
  const flush = () => {
    env.clearTimeout(timer);
    timer = null;
    if (ids.length) send({ type: "ack", payload: { ids } });
    ids = [];
  };

  return {
    flush,
    /** @param {string} id */
    add(id) {
      ids.push(id);
      if (ids.length >= MAX_IDS) flush();
      else timer ??= env.setTimeout(flush, DELAY_MS);
    },
  };
}
