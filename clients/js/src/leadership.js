/** Decides which tab leads: the one that holds a lock of the browser. */

const LAST_QUESTION_MS = 1000;
/** After the end of a session the lock is kept for a moment, so that no other tab connects before the message about it has come. */
const RELEASE_MS = 1000;

/** @typedef {ReturnType<typeof leadershipOf>} Leadership */

/**
 * @param {import("./env.js").Env} env
 * @param {string} name of the lock
 * @param {{lead: () => void, lost: () => void, ask: () => void, mayReplace: () => boolean}} tab `lead`: it holds the lock;
 *   `lost`: another tab took the lock from it; `mayReplace`: the leader does not answer
 */
export function leadershipOf(env, name, tab) {
  /** Ends the wait for the lock. @type {AbortController | null} */
  let waiting = null;
  /** Releases the lock. @type {(() => void) | null} */
  let held = null;
  let closed = false;

  const mayReplace = () => !closed && !held && tab.mayReplace();

  const pause = () => new Promise((resolve) => env.setTimeout(() => resolve(undefined), LAST_QUESTION_MS));

  /** @param {object} options */
  const lock = async (options) => {
    /** @type {(() => void) | null} */
    let own = null;
    try {
      await env.locks.request(name, options, () => {
        if (closed) return;
        waiting = null;
        return new Promise((resolve) => {
          held = own = () => resolve(undefined);
          tab.lead();
        });
      });
    } catch {
      // The wait was ended, or another tab took the lock: this one was frozen, or the computer slept.
      if (own && own === held && !closed) tab.lost();
    }
  };

  /** Release the lock. */
  const release = () => {
    held?.();
    held = null;
  };

  return {
    release,
    /** Wait for the lock, which the leading tab has. */
    wait() {
      waiting = new AbortController();
      lock({ signal: waiting.signal });
    },
    /** Take the place of a leader that does not answer, unless another tab does so or it answers at last. */
    replace() {
      env.locks.request(`${name}:steal`, { ifAvailable: true }, async (/** @type {any} */ taken) => {
        if (!taken || !mayReplace()) return;
        tab.ask();
        await pause();
        if (!mayReplace()) return;
        waiting?.abort();
        lock({ steal: true });
        // Until this one leads, no other tab may take the lock away from it again.
        await pause();
      });
    },
    /** Neither lead nor wait any more. @param {boolean} later whether to release the lock after a moment */
    close(later) {
      closed = true;
      waiting?.abort();
      if (later && held) env.setTimeout(held, RELEASE_MS);
      else release();
    },
  };
}
