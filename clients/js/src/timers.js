/** Timers with names. */

/** @typedef {{setTimeout: (callback: () => void, ms: number) => any, clearTimeout: (timer: any) => void}} Clock */
/** @typedef {ReturnType<typeof timersOf>} Timers */

/** @param {Clock} env */
export function timersOf(env) {
  /** @type {Map<string, any>} */
  const pending = new Map();

  /** @param {string} name */
  const cancel = (name) => {
    env.clearTimeout(pending.get(name));
    pending.delete(name);
  };

  return {
    cancel,
    /** @param {string} name */
    has: (name) => pending.has(name),
    /** Call back after a time, in place of what is pending under this name. @param {string} name @param {number} ms @param {() => void} callback */
    after(name, ms, callback) {
      cancel(name);
      const run = () => {
        pending.delete(name);
        callback();
      };
      pending.set(name, env.setTimeout(run, ms));
    },
    /** Cancel all but one. @param {string} [kept] */
    clear(kept) {
      for (const name of [...pending.keys()]) if (name !== kept) cancel(name);
    },
  };
}
