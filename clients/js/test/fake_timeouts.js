/**
 * Replace the timeouts until a test ends; return what lets time pass. Those of `node:test` differ between versions, and fail
 * in Node 18 where an ended timeout is cleared.
 *
 * @param {{after: (restore: () => void) => void}} context the test
 * @returns {(ms: number) => void}
 */
export function fakeTimeouts(context) {
  const { setTimeout, clearTimeout } = globalThis;
  /** @type {Map<number, {at: number, callback: () => void}>} */
  const waiting = new Map();
  let now = 0;
  let last = 0;
  Object.assign(globalThis, {
    setTimeout: (callback, ms = 0) => (waiting.set(++last, { at: now + ms, callback }), last),
    clearTimeout: (id) => void waiting.delete(id),
  });
  context.after(() => Object.assign(globalThis, { setTimeout, clearTimeout }));
  return (ms) => {
    const end = now + ms;
    for (;;) {
      const [next] = [...waiting].filter(([, { at }]) => at <= end).sort(([, a], [, b]) => a.at - b.at);
      if (!next) break;
      waiting.delete(next[0]);
      now = next[1].at;
      next[1].callback();
    }
    now = end;
  };
}
