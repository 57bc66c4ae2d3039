// Drawing at most once a frame.

const HIDDEN_MS = 250;

/**
 * Return a function that has `draw` called once before the next frame. In a hidden tab, which has no frames, that is after a
 * moment: what is shown there, as in the list of windows of the system, is right, too.
 * @param {() => void} draw
 * @returns {() => void}
 */
export function onceAFrame(draw) {
  /** @type {object | null} */
  let pending = null;
  return () => {
    if (pending) return;
    const own = (pending = {});
    const run = () => {
      // The other one has drawn: a late frame or timer does not draw for what was asked for since.
      if (pending !== own) return;
      pending = null;
      clearTimeout(timer);
      draw();
    };
    requestAnimationFrame(run);
    // Also a tab that is hidden before the next frame.
    const timer = setTimeout(run, HIDDEN_MS);
  };
}
